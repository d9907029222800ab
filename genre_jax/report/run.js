/* The page of one run: charts of its figures, group by group. Confusions and songs: confusion.js, songs.js. */
'use strict';

const { classes, songs } = drawn;
const LEVELS = { segment: 'Segment', song_max_probability: 'Song, maximum probability', song_majority: 'Song, majority vote' };
const FIT = { labelArrow: 'none', tickSize: 0, labelAnchor: 'center' };
const SQUARE = { domain: [0, 100], ticks: 5, ...FIT };

/* Test accuracies, the majority class, what the tonic alone tells, and chance. */
{
  const rows = Object.entries(LEVELS).map(([kind, name]) => {
    const { accuracy: value, accuracy_ci95: ci95 } = drawn.accuracy[kind];
    return { name, figures: [{ value, ci95 }] };
  });
  const { class: winner, accuracy: value, accuracy_ci95: ci95 } = drawn.majority;
  rows.push({ name: `Always “${winner}”`, figures: [{ value, ci95, colour: 'muted' }] });
  if (drawn.tonic_alone) rows.push({ name: 'By the tonic alone', figures: [{ value: drawn.tonic_alone.accuracy, ci95: drawn.tonic_alone.accuracy_ci95, colour: 'muted' }] });
  dots('accuracy', {
    caption: 'Test accuracy in percent with 95 % intervals', series: [{ name: 'accuracy' }], rows, label: 'accuracy, %',
    lines: [{ name: 'chance', value: drawn.chance, colour: 'muted' }],
  });
}

/* Learning curves. */
{
  const CURVES = {
    loss: [
      ['train/loss', 'train', ACCENT],
      ['val/loss', 'validation', SECOND],
    ],
    accuracies: [
      ['train/accuracy', 'train, segment', ACCENT],
      ['val/segment/accuracy', 'validation, segment', SECOND, true],
      ['val/song_max_probability/accuracy', 'validation, song', SECOND],
    ],
    rate: [['train/learning_rate', 'learning rate', ACCENT]],
  };
  const OPTIONS = {
    loss: { y: 'loss, nats' },
    accuracies: { y: 'accuracy, %', scale: 100 },
    rate: { y: 'learning rate', tickFormat: '~e' },
  };
  for (const [id, lines] of Object.entries(CURVES)) {
    const series = lines.filter(([key]) => drawn.curves[key].length).map(([key, name, colour, dashed]) => ({
      name, colour, dashed, points: drawn.curves[key],
      marked: key.startsWith('val/') ? drawn.curves[key].filter((point) => point[2] === drawn.best.step) : [],
    }));
    const last = series.map((each) => `${each.name} ends at ${+(each.points.at(-1)[1]).toPrecision(3)}`);
    const summary = () => `${OPTIONS[id].y} over epochs: ${last.join('; ')}; chosen at epoch ${drawn.best?.epoch}`;
    chart(id, summary, (width) => curves(width, series, { x: 'epoch', at: drawn.best?.epoch, ...OPTIONS[id] }));
  }
}

/* Curves over thresholds: every class, their mean, and the class that the reader chooses. */
{
  const there = (drawn.thresholds ?? []).map((each, i) => ({ ...each, name: classes[i], there: each })).filter((each) => each.there);
  const select = document.getElementById('threshold-class');
  select?.append(
    element('option', { value: '' }, 'all, and their mean'),
    ...there.map((each, i) => element('option', { value: i }, each.name)),
  );
  const grid = d3.range(0.01, 1.001, 0.01);
  /* Straight between points, or the value of the next one, as precision is between recalls. */
  const read = (xs, ys, x, straight) => {
    const i = Math.min(d3.bisectLeft(xs, x), xs.length - 1);
    if (!straight || !i || xs[i] === xs[i - 1]) return ys[i];
    return ys[i - 1] + ((ys[i] - ys[i - 1]) * (x - xs[i - 1])) / (xs[i] - xs[i - 1]);
  };
  function thresholds(id, x, y, key, words, options) {
    if (!there.length) return () => {};
    const straight = id === 'roc';
    const lines = there.flatMap((each) => each[x].map((at, i) => ({ x: 100 * at, y: 100 * each[y][i], each })));
    const mean = grid.map((at) => ({ x: 100 * at, y: 100 * d3.mean(there, (each) => read(each[x], each[y], at, straight)) }));
    if (straight) mean.unshift({ x: 0, y: 0 });
    // From no recall on, the first threshold's precision.
    if (!straight) lines.push(...there.map((each) => ({ x: 0, y: 100 * each[y][0], each })));
    lines.sort((a, b) => a.x - b.x);
    const curve = straight ? 'linear' : 'step-before';
    const area = d3.mean(there, (each) => each[key]);
    const chosen = () => there[select.value];
    const summary = () => `${words} of ${plural(there.length, 'class')}, mean ${area.toFixed(3)}`
      + (chosen() ? `; of ${chosen().name} ${chosen()[key].toFixed(3)}` : '');
    return chart(id, summary, (width) => {
      const size = Math.min(width, 380);
      const only = lines.filter((point) => point.each === chosen());
      return [
        legend([
          chosen() ? [`${shorten(chosen().name)}, ${chosen()[key].toFixed(3)}`, ACCENT] : ['each class', 'color-mix(in srgb, var(--accent) 45%, var(--paper))'],
          [`mean, ${area.toFixed(3)}`, SECOND],
        ]),
        plot({
          width: size, height: size, marginTop: 10, x: { ...SQUARE, label: options.x }, y: { ...SQUARE, label: options.y, grid: true },
          marks: [
            straight ? Plot.link([0], { x1: 0, y1: 0, x2: 100, y2: 100, stroke: MUTED, strokeDasharray: '2 3' }) : null,
            Plot.line(lines, { x: 'x', y: 'y', z: 'each', curve, stroke: ACCENT, strokeOpacity: chosen() ? 0.1 : 0.35 }),
            Plot.line(mean, { x: 'x', y: 'y', curve, stroke: SECOND, strokeWidth: 2.25 }),
            Plot.line(only, { x: 'x', y: 'y', curve, stroke: ACCENT, strokeWidth: 2.25 }),
            tip(chosen() ? only : lines, { x: 'x', y: 'y', title: (p) => `${shorten(p.each.name, 40)}\n${options.x} ${p.x.toFixed(0)}\n${options.y} ${p.y.toFixed(0)}` }),
          ],
        }),
      ];
    });
  }
  const redraw = [
    thresholds('roc', 'false', 'true', 'area', 'Receiver operating characteristic, area', { x: 'false positives, %', y: 'true positives, %' }),
    thresholds('precision-recall', 'recall', 'precision', 'average', 'Precision and recall, average precision', { x: 'recall, %', y: 'precision, %' }),
  ];
  select?.addEventListener('change', () => redraw.forEach((each) => each()));
}

/* Reliability, as it was and calibrated. */
for (const level of ['segment', 'song']) {
  const test = drawn.reliability?.[level];
  const sides = [['before', 'as it was', SECOND], ['after', 'calibrated', ACCENT]];
  const said = test && sides.map(([key, name]) => `${name}, expected error ${percent(test[key].expected_error)} points`);
  chart(`reliability-${level}`, () => `How often a ${level} is right by its probability, on test: ${said.join('; ')}`, (width) => {
    const size = Math.min(width, 380);
    const marks = sides.flatMap(([key, name, colour]) => {
      const { bins } = test[key];
      const options = { x: (bin) => 100 * bin.probability, y: (bin) => 100 * bin.accuracy };
      const total = d3.sum(bins, (bin) => bin.n);
      return [
        Plot.line(bins, { ...options, stroke: colour, strokeWidth: 1.5 }),
        Plot.dot(bins, { ...options, r: (bin) => 2 + 9 * Math.sqrt(bin.n / total), fill: colour, fillOpacity: 0.75 }),
      ];
    });
    const diagonal = Plot.link([0], { x1: 0, y1: 0, x2: 100, y2: 100, stroke: MUTED, strokeDasharray: '2 3' });
    const all = sides.flatMap(([key, name]) => test[key].bins.map((bin) => ({ ...bin, name })));
    const title = (bin) => `${bin.name}\n${plural(bin.n, level)} of mean probability ${percent(bin.probability)} %\n${percent(bin.accuracy)} % right`;
    return [
      legend(sides.map(([, name, colour]) => [name, colour])),
      plot({
        width: size, height: size, marginTop: 14, r: { type: 'identity' },
        x: { ...SQUARE, label: 'probability, %' }, y: { ...SQUARE, label: 'right, %', grid: true },
        marks: [diagonal, ...marks, tip(all, { x: (bin) => 100 * bin.probability, y: (bin) => 100 * bin.accuracy, title })],
      }),
    ];
  });
}

/* Where the time went. */
if (drawn.time) {
  const NAMES = {
    prepare: 'preparation', compile: 'compiling', data: 'waiting for data', compute: 'computing', evaluate: 'validation',
    save: 'saving', other: 'other', train: 'training', test: 'test and page',
  };
  const COLOURS = { compute: ACCENT, train: ACCENT, compile: SECOND, data: FEW[2], evaluate: FEW[3], save: FEW[6], prepare: FEW[9], test: FEW[8] };
  const total = d3.sum(drawn.time, (part) => part[1]);
  const parts = drawn.time.map(([key, seconds]) => ({ key, seconds, name: NAMES[key] ?? key, colour: COLOURS[key] ?? MUTED }));
  const words = (part) => `${part.name} ${duration(part.seconds)}`;
  chart('time', () => `Time, ${duration(total)} in all: ${parts.map(words).join(', ')}`, (width) => [
    plot({
      width, height: 44, marginTop: 6, marginBottom: 6, marginLeft: 0, marginRight: 0, axis: null,
      marks: [
        Plot.barX(parts, Plot.stackX({ x: 'seconds', fill: 'colour', stroke: 'var(--paper)', title: words })),
      ],
    }),
    legend(parts.map((part) => [words(part), part.colour, 'area'])),
  ]);
}

/* Groups: which it never gets right, and how many of such there would be if mistakes fell evenly. */
if (drawn.groups) {
  const rows = drawn.groups.name.map((name, i) => ({ name, songs: drawn.groups.songs[i], right: drawn.groups.right[i] }));
  drawn.groups.of_song.forEach((group, song) => (rows[group].classes ??= new Set()).add(classes[songs.label[song]]));
  const never = rows.filter((row) => !row.right), accuracy = d3.sum(rows, (row) => row.right) / d3.sum(rows, (row) => row.songs);
  const expected = d3.sum(rows, (row) => (1 - accuracy) ** row.songs);
  document.getElementById('groups-words').append(
    never.length
      ? `Of ${never.length} of ${plural(rows.length, 'group')} it gets no song right: ${plural(d3.sum(never, (row) => row.songs), 'song')}. `
      : `Of each of ${plural(rows.length, 'group')} it gets a song right. `,
    `If its mistakes fell evenly over all songs, it would get none right of about ${expected.toFixed(expected < 10 ? 1 : 0)} groups`
      + (d3.max(rows, (row) => row.songs) === 1 ? ': every group is a single song here.' : '.'),
  );
  const BINS = ['none', '< 20', '< 40', '< 60', '< 80', '< 100', 'all'];
  const bin = (row) => (!row.right ? 'none' : row.right === row.songs ? 'all' : BINS[1 + Math.floor((5 * row.right) / row.songs)]);
  const counts = d3.rollup(rows, (each) => each.length, bin);
  const bars = BINS.map((name) => ({ name, n: counts.get(name) ?? 0 }));
  const said = bars.filter((each) => each.n).map((each) => `${each.name}: ${each.n}`).join(', ');
  chart('groups', () => `Groups by the share of their songs that is right, %: ${said}`, (width) => plot({
    width: Math.min(width, 560), height: 190, marginTop: 22,
    x: { domain: BINS, label: 'songs of the group that are right, %', ...FIT }, y: { label: null, ticks: 4, grid: true, tickSize: 0 },
    marks: [
      Plot.barY(bars, { x: 'name', y: 'n', fill: (each) => (each.name === 'none' ? SECOND : ACCENT), insetLeft: 3, insetRight: 3 }),
      Plot.text(bars.filter((each) => each.n), { x: 'name', y: 'n', text: 'n', dy: -8, fill: 'var(--ink)' }),
    ],
  }));
  const SHOWN = { never: (row) => !row.right, some: (row) => row.right && row.right < row.songs, always: (row) => row.right === row.songs, all: () => true };
  const select = document.getElementById('groups-shown'), table = document.getElementById('groups-table'), most = 200;
  function list() {
    const chosen = d3.sort(rows.filter(SHOWN[select.value]), (row) => -row.songs, (row) => row.name);
    const caption = `${plural(chosen.length, 'group')}${chosen.length > most ? `, the ${most} with most songs` : ''}`;
    fillTable(table, caption, [['Group'], ['Songs', true], ['Right', true], ['Right, %', true], ['Classes']], chosen.slice(0, most).map((row) => [
      row.name, String(row.songs), String(row.right), percent(row.right / row.songs), Array.from(row.classes).join(', '),
    ]));
    sortable(table);
  }
  select.addEventListener('change', list);
  list();
}

document.querySelectorAll('table.sortable:not([id])').forEach(sortable);
