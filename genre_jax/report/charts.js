/* What the charts of every page share: numbers in words, elements, charts that follow the width of their
   place, lists that sort. Drawn by Observable Plot; names reach the page as text only, never as markup. */
'use strict';

const drawn = JSON.parse(document.getElementById('drawn').textContent);

// Colours follow the page, light, dark or printed; of many things each gets a hue far from the last.
const ACCENT = 'var(--accent)', SECOND = 'var(--second)', MUTED = 'var(--muted)', RULE = 'var(--rule)';
const FEW = ['#4269d0', '#e08a00', '#d9473f', '#3f9f8a', '#8a9a2b', '#d65f97', '#8f5ae0', '#5aa5d6', '#9c6b4e', '#84898f'];
const hue = (i, n) => n <= FEW.length ? FEW[i] : `hsl(${(i * 137.508) % 360} 60% 52%)`;

const percent = (share, digits = 1) => (100 * share).toFixed(digits);
const interval = (ci95) => ci95 ? `[${ci95.map((end) => percent(end)).join(', ')}]` : '';
const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, '0')}`;
const plural = (n, word) => `${n} ${word}${n === 1 ? '' : word.endsWith('s') || word.endsWith('ch') ? 'es' : 's'}`;

function duration(seconds) {
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const minutes = Math.floor(Math.round(seconds) / 60);
  return minutes < 60 ? `${minutes} min ${Math.round(seconds) % 60} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/* Words of a figure behind the mark that all figures of the page bear, if there is one. */
const marked = (words) => (drawn.mark ? `${drawn.mark}: ${words}` : words);

/* A name as a chart can show it: one line, at most so many characters. */
function shorten(name, limit = 22) {
  const line = Array.from(name.replace(/\s+/g, ' '));
  return line.length <= limit ? line.join('') : `${line.slice(0, limit - 1).join('')}…`;
}

/* An element with attributes, a function being a listener, and children: elements or text. */
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === 'function') made.addEventListener(key, value);
    else if (value !== false && value !== null) made.setAttribute(key, value === true ? '' : value);
  }
  made.append(...children);
  return made;
}

/* Draws into a place, where the page has it, at its width, and anew whenever that changes. `draw(width)`
   returns an SVG or several elements, `summary()` what it shows in words. Returns what draws it anew. */
function chart(id, summary, draw) {
  const place = document.getElementById(id);
  if (!place) return () => {};
  let width = 0;
  function redraw() {
    if (!width) return;
    place.replaceChildren(...[draw(width)].flat());
    for (const svg of place.querySelectorAll('svg')) {
      // The library labels the parts of a picture, too, which is one to those who hear it.
      for (const part of svg.querySelectorAll('[aria-label]')) part.removeAttribute('aria-label');
      svg.setAttribute('role', 'img');
      svg.setAttribute('aria-label', marked(summary()));
    }
  }
  new ResizeObserver(([entry]) => {
    const now = Math.floor(entry.contentRect.width);
    if (now === width) return;
    width = now;
    requestAnimationFrame(redraw);
  }).observe(place);
  return redraw;
}

/* A plot in the page's look, with the mark of the page, if it has one. */
function plot({ marks, ...options }) {
  const mark = Plot.text([drawn.mark], {
    frameAnchor: 'top-right', textAnchor: 'end', dy: -18, fill: 'var(--alarm)', fontWeight: 700,
  });
  return Plot.plot({
    height: 240, marginTop: 26, marginBottom: 38, marginLeft: 44, marginRight: 14,
    style: { fontSize: '12px', background: 'none', color: MUTED, overflow: 'visible', '--plot-background': 'var(--paper)' },
    ...options,
    marks: [...marks, ...(drawn.mark ? [mark] : [])],
  });
}

/* What colours mean: name, colour, and 'dashed' or 'area' where it is not a line. */
function legend(entries) {
  const row = ([name, colour, kind = '']) =>
    element('li', {}, element('i', { class: kind, style: `background:${colour};--of:${colour}` }), name);
  return element('ul', { class: 'legend' }, ...entries.map(row));
}

const tip = (data, options) => Plot.tip(data, Plot.pointer({ fill: 'var(--panel)', stroke: RULE, ...options }));

/* Shares with their intervals, one below the other: {name, value, ci95, colour}; and one of chance. */
function shares(width, rows, chance, label) {
  const y = (row) => row.name, name = (row) => shorten(row.name, Math.floor(width / 13));
  const words = (row) => `${percent(row.value)} ${interval(row.ci95)}`;
  const above = { y, dy: -11, fill: 'var(--ink)' };
  return plot({
    width, height: 46 * rows.length + 56, marginLeft: 6, marginRight: 6, marginTop: drawn.mark ? 22 : 4, marginBottom: 40,
    x: { domain: [0, 100], label, labelAnchor: 'center', labelArrow: 'none', ticks: 5, tickSize: 0 },
    y: { domain: rows.map(y), axis: null, padding: 0 },
    marks: [
      Plot.ruleY(rows, { y, x1: 0, x2: 100, stroke: RULE, dy: 5 }),
      Plot.tickX(rows, { y, x: 100 * chance, stroke: SECOND, strokeWidth: 2, insetTop: 22, insetBottom: 9 }),
      Plot.link(rows.filter((row) => row.ci95), {
        y, x1: (row) => 100 * row.ci95[0], x2: (row) => 100 * row.ci95[1], dy: 5,
        stroke: 'colour', strokeWidth: 6, strokeOpacity: 0.4, strokeLinecap: 'round',
      }),
      Plot.dot(rows, { y, x: (row) => 100 * row.value, r: 4.5, fill: 'colour', dy: 5 }),
      Plot.text(rows, { ...above, x: 0, text: name, textAnchor: 'start' }),
      Plot.text(rows, { ...above, x: 100, text: words, textAnchor: 'end' }),
    ],
  });
}

/* Curves over something: {name, colour, dashed, points: [[x, y]], marked: [[x, y]]}; a dotted line at `at`. */
function curves(width, series, { x, y, at, scale = 1, ...options }) {
  const points = series.flatMap((each) => each.points.map(([px, py]) => ({ x: px, y: scale * py, name: each.name })));
  const marks = series.flatMap((each) => [
    Plot.line(each.points, { x: '0', y: (p) => scale * p[1], stroke: each.colour, strokeWidth: 1.75, strokeDasharray: each.dashed ? '4 3' : null }),
    Plot.dot(each.points.length <= 40 ? each.points : [], { x: '0', y: (p) => scale * p[1], r: 1.75, fill: each.colour }),
    Plot.dot(each.marked ?? [], { x: '0', y: (p) => scale * p[1], r: 4.5, fill: each.colour }),
  ]);
  const axis = { labelArrow: 'none', tickSize: 0 };
  const svg = plot({
    width,
    x: { ...axis, label: x, labelAnchor: 'center', ticks: Math.max(3, width / 80), nice: true },
    y: { ...axis, label: y, grid: true, ticks: 5, nice: true, ...options },
    marks: [
      ...(at === undefined ? [] : [Plot.ruleX([at], { stroke: MUTED, strokeDasharray: '2 3' })]),
      ...marks,
      tip(points, { x: 'x', y: 'y', title: (p) => `${p.name}\n${x} ${+p.x.toFixed(2)}: ${+p.y.toPrecision(4)}` }),
    ],
  });
  const names = series.map((each) => [each.name, each.colour, each.dashed ? 'dashed' : '']);
  return names.length > 1 ? [svg, legend(names)] : svg;
}

/* Lets the reader sort a table by a click on a header; cells may say what they weigh, in data-value. */
function sortable(table) {
  const headers = Array.from(table.tHead.rows[0].cells);
  const value = (row, column) => {
    const cell = row.cells[column];
    const text = cell.dataset.value ?? cell.textContent.trim();
    const number = parseFloat(text);
    return headers[column].classList.contains('number') ? (Number.isNaN(number) ? -Infinity : number) : text.toLowerCase();
  };
  headers.forEach((header, column) => {
    const button = element('button', { type: 'button' }, ...header.childNodes);
    header.append(button);
    button.addEventListener('click', () => {
      const numeric = header.classList.contains('number');
      const before = header.getAttribute('aria-sort');
      const up = before ? before === 'descending' : !numeric;
      for (const other of headers) other.removeAttribute('aria-sort');
      header.setAttribute('aria-sort', up ? 'ascending' : 'descending');
      const order = up ? d3.ascending : d3.descending;
      const rows = Array.from(table.tBodies[0].rows);
      table.tBodies[0].append(...d3.sort(rows, (a, b) => order(value(a, column), value(b, column))));
    });
  });
}

/* A table of columns [title, number?] and rows of texts, or of {text, value}. */
function fillTable(table, caption, columns, rows) {
  const cell = (content, column) => {
    const { text, value } = typeof content === 'object' && !(content instanceof Node) ? content : { text: content };
    const options = { class: columns[column][1] ? 'number' : 'name', 'data-value': value ?? null };
    return column ? element('td', options, text) : element('th', { ...options, scope: 'row' }, text);
  };
  const head = columns.map(([title, number]) => element('th', { scope: 'col', class: number ? 'number' : null }, title));
  const words = drawn.mark ? [element('strong', { class: 'mark' }, drawn.mark), ` ${caption}`] : [caption];
  table.replaceChildren(
    element('caption', {}, ...words),
    element('thead', {}, element('tr', {}, ...head)),
    element('tbody', {}, ...rows.map((row) => element('tr', {}, ...row.map(cell)))),
  );
}

// On paper nothing can be opened.
let closed = [];
addEventListener('beforeprint', () => {
  closed = Array.from(document.querySelectorAll('details:not([open])'));
  for (const details of closed) details.open = true;
});
addEventListener('afterprint', () => {
  for (const details of closed) details.open = false;
});
