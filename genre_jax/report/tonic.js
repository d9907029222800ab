/* The tonic: how far off it is found, and for a song what the model holds for likely, tonics beside classes. */
'use strict';

if (drawn.tonics) {
  const { bins, most, true_hz: trueHz, found_hz: foundHz, cents, likely } = drawn.tonics;
  const bytes = Uint8Array.from(atob(drawn.tonics.shares), (byte) => byte.charCodeAt(0));
  const NOTES = ['A', 'A♯', 'B', 'C', 'C♯', 'D', 'D♯', 'E', 'F', 'F♯', 'G', 'G♯'];
  const semitones = (hz) => 12 * Math.log2(hz / 55);
  const noteOf = (hz) => {
    const nearest = Math.round(semitones(hz));
    const above = Math.round(100 * (semitones(hz) - nearest));
    return `${NOTES[nearest % 12]} ${above < 0 ? '−' : '+'}${Math.abs(above)}`;
  };
  const off = (value) => `${value < 0 ? '−' : '+'}${Math.abs(value).toFixed(0)} cents`;

  const known = cents.filter((each) => each !== null);
  if (known.length) {
    const bin = d3.bin().domain([-600, 600]).thresholds(d3.range(-587.5, 600, 25))(known);
    const bars = bin.filter((each) => each.length).map((each) => ({ x1: each.x0, x2: each.x1, n: each.length }));
    const near = known.filter((each) => Math.abs(each) <= 25).length;
    chart('tonic-errors', () => `Tonics by how far off they are found, in cents: ${plural(near, 'song')} of ${known.length} within 25 cents; `
      + bars.filter((bar) => bar.x1 < -25 || bar.x2 > 25).map((bar) => `${bar.n} near ${((bar.x1 + bar.x2) / 2).toFixed(0)}`).join(', '), (width) => plot({
      width: Math.min(width, 640), height: 190, marginTop: 22,
      x: { domain: [-600, 600], label: 'too high by, cents', ticks: d3.range(-600, 601, width < 450 ? 300 : 100), ...FIT },
      y: { label: 'songs', type: 'sqrt', ticks: 4, grid: true, tickSize: 0, labelArrow: 'none' },
      marks: [
        Plot.rectY(bars, { x1: 'x1', x2: 'x2', y: 'n', fill: (bar) => (bar.x1 >= -37.5 && bar.x2 <= 37.5 ? ACCENT : SECOND), title: (bar) => `${plural(bar.n, 'song')}, ${bar.x1} to ${bar.x2} cents` }),
        Plot.text(bars, { x: (bar) => (bar.x1 + bar.x2) / 2, y: 'n', text: 'n', dy: -7, fill: 'var(--ink)' }),
      ],
    }));
  }

  const select = document.getElementById('tonic-song');
  const order = d3.sort(d3.range(most.length), (song) => (cents[song] === null ? 1 : -Math.abs(cents[song])), (song) => songs.track[song]);
  select.append(...order.map((song) => element('option', { value: song }, `${shorten(songs.track[song], 60)}${cents[song] === null ? '' : `, ${off(cents[song])}`}`)));
  const chosen = () => Number(select.value);
  const shares = (song) => d3.range(bins).map((i) => ({ x: (12 * i) / bins, p: (most[song] * bytes[song * bins + i]) / 255 }));
  const words = (song) => `Found ${noteOf(foundHz[song])}, ${foundHz[song].toFixed(1)} Hz`
    + (trueHz[song] ? `; true ${noteOf(trueHz[song])}, ${trueHz[song].toFixed(1)} Hz: ${off(cents[song])}` : '; the true one is not known');
  const redraw = [
    chart('tonic-posterior', () => `Probabilities of the tonic of ${songs.track[chosen()]}. ${words(chosen())}`, (width) => {
      const song = chosen(), points = shares(song);
      return [
        legend([['probability of the tonic', ACCENT], ...(trueHz[song] ? [['the true tonic', SECOND]] : [])]),
        plot({
          width, height: 200,
          x: { domain: [0, 12], label: null, ticks: d3.range(12), tickFormat: (i) => NOTES[i], tickSize: 0 },
          y: { label: '%', grid: true, ticks: 4, tickSize: 0, labelArrow: 'none' },
          marks: [
            ...(trueHz[song] ? [Plot.ruleX([semitones(trueHz[song])], { stroke: SECOND, strokeWidth: 2 })] : []),
            Plot.areaY(points, { x: 'x', y: (point) => 100 * point.p, fill: ACCENT, fillOpacity: 0.25, curve: 'step' }),
            Plot.lineY(points, { x: 'x', y: (point) => 100 * point.p, stroke: ACCENT, curve: 'step' }),
          ],
        }),
      ];
    }),
    chart('tonic-classes', () => `Likeliest classes: ${likely[chosen()].map(([c, p]) => `${classes[c]} ${percent(p)} %`).join(', ')}`, (width) => {
      const song = chosen(), rows = likely[song].map(([c, p]) => ({ c, p }));
      return plot({
        width, height: 26 * rows.length + 44, marginLeft: Math.min(width / 2.5, 150), marginTop: drawn.mark ? 26 : 6,
        x: { domain: [0, 100], label: 'probability, %', ticks: 5, ...FIT },
        y: { domain: rows.map((row) => row.c), label: null, tickSize: 0, tickFormat: (c) => shorten(classes[c], 20) },
        marks: [Plot.barX(rows, { y: 'c', x: (row) => 100 * row.p, fill: (row) => (row.c === songs.label[song] ? ACCENT : SECOND), insetTop: 3, insetBottom: 3 })],
      });
    }),
  ];
  const say = () => document.getElementById('tonic-words').replaceChildren(`${words(chosen())}. True class: ${classes[songs.label[chosen()]]}.`, ...players(chosen()).slice(0, 1));
  select.addEventListener('change', () => {
    redraw.forEach((each) => each());
    say();
  });
  say();
}
