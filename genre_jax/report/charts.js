/* What the charts of every page share: numbers in words, elements, charts that follow the width of their
   place, lists that sort. Drawn by Observable Plot; names reach the page as text only, never as markup. */
'use strict';

const drawn = JSON.parse(document.getElementById('drawn').textContent);

// Colours follow the page, light, dark or printed; of many things each gets a hue far from the last.
const ACCENT = 'var(--accent)', SECOND = 'var(--second)', MUTED = 'var(--muted)', RULE = 'var(--rule)';
const FEW = ['#4269d0', '#e08a00', '#d9473f', '#3f9f8a', '#8a9a2b', '#d65f97', '#8f5ae0', '#5aa5d6', '#9c6b4e', '#84898f'];
const SERIES = [ACCENT, SECOND, FEW[3], FEW[6], FEW[5], FEW[4], FEW[9]];
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

/* What colours mean: name, colour, and 'dashed', 'area', 'dot', 'ring' or 'diamond' where it is not a line. */
function legend(entries) {
  const row = ([name, colour, kind = '']) =>
    element('li', {}, element('i', { class: kind, style: `background:${colour};--of:${colour}` }), name);
  return element('ul', { class: 'legend' }, ...entries.map(row));
}

const tip = (data, options) => Plot.tip(data, Plot.pointer({ fill: 'var(--panel)', stroke: RULE, ...options }));

/* Dots with their intervals, in a place of the page: a row for each of what is compared, and in it a line for
   each of `series`, {name, colour, symbol}. A row is {name, figures}, a figure {value, ci95, mark, colour} or
   null; all are shares. `lines`, {name, value, colour}, cross every row, as one at 0 does where the figures are
   differences. What bears a mark of its own is hollow. */
function dots(id, { caption, series, rows, label, lines = [], difference = false }) {
  const HEAD = 21, LINE = 19, GAP = 11, top = drawn.mark ? 22 : 0;
  const sign = (share) => (difference && share > 0 ? '+' : '') + percent(share).replace('-', '−');
  const number = (figure) => sign(figure.value), ends = ({ ci95 }) => (ci95 ? ` [${ci95.map(sign).join(', ')}]` : '');
  const words = (figure) => number(figure) + ends(figure);
  const colourOf = (name, i) => (name ? `var(--${name})` : SERIES[i % SERIES.length]);
  let height = top;
  const flat = [], heads = [];
  for (const { name, figures } of rows) {
    heads.push({ name, y: height + HEAD / 2, from: height + HEAD });
    height += HEAD;
    figures.forEach((figure, i) => {
      if (!figure) return;
      const colour = colourOf(figure.colour ?? series[i].colour, i);
      flat.push({ ...figure, row: name, of: series[i].name, symbol: series[i].symbol ?? 'circle', colour, y: height + LINE / 2 });
      height += LINE;
    });
    heads.at(-1).to = height;
    height += GAP;
  }
  const drawnLines = [...(difference ? [{ value: 0, colour: 'edge' }] : []), ...lines];
  const values = flat.flatMap((figure) => [figure.value, ...(figure.ci95 ?? [])]);
  const domain = difference ? d3.nice(100 * Math.min(0, ...values), 100 * Math.max(0, ...values), 5) : [0, 100];
  const hollow = flat.filter((figure) => figure.mark);
  const longest = (text) => 6.3 * (d3.max(flat, (figure) => text(figure).length) ?? 0);
  const column = 12 + longest(number), margin = column + longest(ends);
  const said = (figure) => `${figure.row}${series.length > 1 ? `, ${figure.of}` : ''}${figure.mark ? `, ${figure.mark}` : ''} ${words(figure)}`;
  const summary = () => `${caption}: ${flat.map(said).join('; ')}`
    + lines.map((line) => `; ${line.name} ${percent(line.value)}`).join('');
  const used = series.map((each, i) => ({ ...each, i, own: flat.filter((figure) => figure.of === each.name) }));
  const names = [
    ...(series.length > 1 ? used.filter((each) => each.own.length).map((each) => [
      each.name, colourOf(each.colour, each.i), each.symbol ?? (each.own.every((figure) => figure.mark) ? 'ring' : 'dot'),
    ]) : []),
    ...lines.map((line) => [`${line.name}, ${percent(line.value)} %`, `var(--${line.colour})`]),
    ...(hollow.length ? [[`hollow: ${hollow[0].mark}`, MUTED, 'ring']] : []),
  ];
  const marginLeft = difference ? 14 : 6, marginRight = margin + (hollow.length ? 50 : 2);
  return chart(id, summary, (width) => [
    legend(names),
    plot({
      width, height: height + 40, marginTop: top, marginBottom: 40, marginLeft, marginRight,
      x: { domain, label, labelAnchor: 'center', labelArrow: 'none', ticks: Math.min(5, (width - marginRight) / 45), tickSize: 0 },
      y: { domain: [0, height], range: [0, height], axis: null },
      marks: [
        Plot.ruleY(flat, { y: 'y', x1: domain[0], x2: domain[1], stroke: RULE }),
        ...drawnLines.map((line) => Plot.link(heads, {
          x1: 100 * line.value, x2: 100 * line.value, y1: 'from', y2: 'to', stroke: `var(--${line.colour})`, strokeWidth: 2,
        })),
        Plot.link(flat.filter((figure) => figure.ci95), {
          y: 'y', x1: (figure) => 100 * figure.ci95[0], x2: (figure) => 100 * figure.ci95[1],
          stroke: 'colour', strokeWidth: 6, strokeOpacity: 0.4, strokeLinecap: 'round',
        }),
        Plot.dot(flat, {
          y: 'y', x: (figure) => 100 * figure.value, r: 4.5, symbol: (figure) => figure.symbol, stroke: 'colour', strokeWidth: 2,
          fill: (figure) => (figure.mark ? 'var(--paper)' : figure.colour),
        }),
        Plot.text(heads, {
          y: 'y', x: domain[0], text: (row) => shorten(row.name, Math.floor(width / 7.5)), title: 'name', textAnchor: 'start', fill: 'var(--ink)',
        }),
        Plot.text(flat, { y: 'y', x: domain[1], dx: column, text: number, textAnchor: 'end', fill: 'var(--ink)' }),
        Plot.text(flat, { y: 'y', x: domain[1], dx: column, text: ends, textAnchor: 'start', fill: 'var(--ink)' }),
        Plot.text(hollow, { y: 'y', x: domain[1], dx: margin + 6, text: 'mark', textAnchor: 'start', fill: 'var(--alarm)', fontWeight: 700 }),
      ],
    }),
  ]);
}

Object.entries(drawn.charts ?? {}).forEach(([id, each]) => dots(id, each));

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

/* Lists things so many at a time, each as `item` makes it, and more at the press of a button. `said` is called
   with how many are shown. Returns what lists other things. */
function listed(list, more, page, item, said = () => {}) {
  let things = [], shown = page;
  function show() {
    list.replaceChildren(...things.slice(0, shown).map(item));
    more.hidden = things.length <= shown;
    said(Math.min(shown, things.length));
  }
  more.addEventListener('click', () => {
    const next = shown;
    shown += page;
    show();
    // The keyboard goes on where the new ones begin.
    list.children[next].tabIndex = -1;
    list.children[next].focus();
  });
  return (others) => {
    [things, shown] = [others, page];
    show();
  };
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
