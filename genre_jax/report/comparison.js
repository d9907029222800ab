/* Runs beside one another: differences from the run that the reader chooses, curves, and songs of two runs. */
'use strict';

const { names, pairs, classes } = drawn;
const marksOf = (run) => (drawn.leaky[run] ? [element('strong', { class: 'mark' }, 'LEAKY'), ' '] : []);
const options = (select, chosen = 0) => {
  select.append(...names.map((name, i) => element('option', { value: i, selected: i === chosen }, name)));
};
// Where there is no room for a mark of its own it is part of the name.
const withMark = names.map((name, i) => (drawn.leaky[i] ? `LEAKY ${name}` : name));
const signed = (share) => (share > 0 ? '+' : '') + percent(share).replace('-', '−');
/* The figures of a run minus those of another, however their pair is ordered. */
function minus(run, reference) {
  const pair = pairs.find(({ runs }) => runs.includes(run) && runs.includes(reference));
  if (pair.why_not !== null || pair.runs[0] === run) return pair;
  const turned = ([low, high]) => [-high, -low];
  return {
    ...pair, song: -pair.song, song_ci95: turned(pair.song_ci95), segment: -pair.segment, segment_ci95: turned(pair.segment_ci95),
    only: [...pair.only].reverse(),
  };
}

/* Differences. */
{
  const form = document.getElementById('reference-controls'), table = document.getElementById('differences-table');
  const place = document.getElementById('differences'), caption = document.getElementById('differences-caption');
  options(form.elements.reference);
  const p = (value) => (value < 0.001 ? '< 0.001' : value.toFixed(3));
  function show() {
    const reference = Number(form.elements.reference.value);
    const others = d3.range(names.length).filter((run) => run !== reference);
    const found = others.map((run) => ({ run, ...minus(run, reference) }));
    const there = found.filter((each) => each.why_not === null);
    const leaky = (run) => (drawn.leaky[run] || drawn.leaky[reference] ? 'LEAKY' : '');
    caption.textContent = there.length ? `Accuracy of each run minus that of ${names[reference]}, on the songs of both, with 95 % intervals` : '';
    // A new place each time: what drew into the old one goes with it.
    place.replaceChildren(element('div', { class: 'chart', id: 'differences-chart' }));
    if (there.length) {
      dots('differences-chart', {
        caption: caption.textContent, difference: true, label: 'percentage points',
        series: [{ name: 'song, maximum probability' }, { name: 'segment', colour: 'second' }],
        rows: there.map((each) => ({
          name: names[each.run],
          figures: ['song', 'segment'].map((level) => ({ value: each[level], ci95: each[`${level}_ci95`], mark: leaky(each.run) })),
        })),
      });
    }
    const columns = [
      ['Run'], ['Songs of both', true], ['Song, points', true], ['Segment, points', true], ['Only it is right', true],
      [`Only ${names[reference]} is right`, true], ['McNemar’s p', true], ['by Holm', true],
    ];
    const figure = (each, level) => ({ text: `${signed(each[level])} [${each[`${level}_ci95`].map(signed).join(', ')}]`, value: each[level] });
    fillTable(table, `Each run minus ${names[reference]}`, columns, found.map((each) => {
      const name = element('span', {}, ...(leaky(each.run) ? [element('strong', { class: 'mark' }, 'LEAKY'), ' '] : []), names[each.run]);
      if (each.why_not !== null) return [name, String(each.songs), each.why_not, '–', '–', '–', '–', '–'];
      return [name, String(each.songs), figure(each, 'song'), figure(each, 'segment'), String(each.only[0]), String(each.only[1]), p(each.p), p(each.p_holm)];
    }));
    sortable(table);
  }
  form.addEventListener('change', show);
  form.addEventListener('submit', (event) => event.preventDefault());
  show();
}

/* Agreement: how often two runs say the same of a song that both have tested. */
{
  const table = document.getElementById('agreement');
  if (table) {
    const cell = (i, j) => {
      if (i === j) return element('td', { class: 'number' }, '–');
      const pair = minus(i, j);
      if (pair.why_not !== null) return element('td', { class: 'number', title: pair.why_not }, '·');
      return element('td', { class: 'cell', style: `--share:${pair.same.toFixed(3)}` }, percent(pair.same));
    };
    table.append(
      element('caption', {}, 'Songs of which both say the same class, %'),
      element('thead', {}, element('tr', {}, element('td', {}), ...withMark.map((name) => element('th', { scope: 'col', class: 'number' }, name)))),
      element('tbody', {}, ...withMark.map((name, i) => element('tr', {}, element('th', { scope: 'row', class: 'name' }, name), ...names.map((_, j) => cell(i, j))))),
    );
  }
}

/* Curves over one another: a few in colours; of many one in front of the others. */
{
  const form = document.getElementById('curves-controls');
  const many = names.length > SERIES.length;
  if (form) {
    form.elements.front.append(element('option', { value: '' }, many ? 'none' : 'all alike'));
    options(form.elements.front, -1);
    const redraw = Array.from(document.querySelectorAll('[data-key]'), (place) => {
      const each = drawn.curves[place.dataset.key], scale = place.dataset.key.endsWith('accuracy') ? 100 : 1;
      const ends = () => withMark.map((name, i) => (each[i].length ? `${name} ends at ${+(scale * each[i].at(-1)[1]).toPrecision(3)}` : `${name} has none`)).join('; ');
      return chart(place.id, () => `${place.previousElementSibling.textContent}, by epoch: ${ends()}`, (width) => {
        const front = form.elements.front.value;
        const colour = (i) => {
          if (front !== '') return i === Number(front) ? ACCENT : RULE;
          return many ? MUTED : SERIES[i];
        };
        const series = d3.sort(d3.range(names.length).filter((i) => each[i].length), (i) => i === Number(front) && front !== '')
          .map((i) => ({ name: shorten(withMark[i], 40), colour: colour(i), points: each[i] }));
        const [svg, names_] = [curves(width, series, { x: 'epoch', y: null, scale })].flat();
        return names_ && (!many || front !== '') ? [svg, names_] : [svg];
      });
    });
    form.addEventListener('change', () => redraw.forEach((each) => each()));
  }
}

/* Songs of two runs. */
{
  const form = document.getElementById('songs-controls');
  if (form) {
    const { first, second, which, label } = form.elements;
    const count = document.getElementById('songs-count');
    options(first, 0);
    options(second, 1);
    label.append(element('option', { value: '' }, 'all'), ...classes.map((name, i) => element('option', { value: i }, name)));
    const { said, percent: sure, track, label: truth } = drawn.songs;
    const right = (run, song) => said[run][song] === truth[song];
    const kind = (a, b, song) => (right(a, song) ? (right(b, song) ? 'both' : 'first') : right(b, song) ? 'second' : 'neither');
    const says = (run, song) => element('span', { class: 'note' }, ...marksOf(run), `${names[run]}: ${classes[said[run][song]]}, ${sure[run][song]} %`);
    function item(song) {
      const [a, b] = [Number(first.value), Number(second.value)];
      return element('li', {},
        element('div', { class: 'song-head' }, element('b', {}, track[song]), element('span', { class: 'note' }, `true: ${classes[truth[song]]}`)),
        element('div', {}, says(a, song)), element('div', {}, says(b, song)));
    }
    const show = listed(document.getElementById('songs'), document.getElementById('songs-more'), 25, item);
    function filter() {
      const [a, b] = [Number(first.value), Number(second.value)];
      const both = d3.range(track.length).filter((song) => said[a][song] >= 0 && said[b][song] >= 0);
      const kinds = d3.rollup(both, (each) => each.length, (song) => kind(a, b, song));
      const of = (key) => kinds.get(key) ?? 0;
      const wanted = label.value === '' ? () => true : (song) => truth[song] === Number(label.value);
      const found = d3.sort(both.filter((song) => kind(a, b, song) === which.value && wanted(song)), (song) => -Math.max(sure[a][song], sure[b][song]));
      count.textContent = a === b ? 'Choose two different runs.'
        : `Of ${plural(both.length, 'song')} of both, ${of('both')} both have right, ${of('first')} only the first, ${of('second')} only the second, ${of('neither')} neither. `
          + `Here are ${found.length}, the surest first.`;
      show(a === b ? [] : found);
    }
    form.addEventListener('change', filter);
    form.addEventListener('submit', (event) => event.preventDefault());
    filter();
  }
}

document.querySelectorAll('table.sortable').forEach(sortable);
