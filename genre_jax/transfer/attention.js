/* What the attention looks at: for each song, how much its windows count, of a source and fold of the reader's choice. */
'use strict';

{
  const { attention } = drawn;
  const place = document.getElementById('attention'), controls = document.getElementById('attention-controls');
  const chosen = () => attention[controls.fold.value];
  const said = (song) => `${song.track}: ${song.true}, ${song.true === song.said ? 'right' : `taken for ${song.said}`}`;
  const figures = d3.range(d3.max(attention, (each) => each.songs.length) ?? 0).map((i) => {
    const song = () => chosen().songs[i];
    const caption = element('figcaption'), box = element('div', { class: 'chart', id: `attention-${i}` });
    const figure = element('figure', {}, caption, box);
    place.append(figure);
    function summary() {
      const most = d3.maxIndex(song().mean);
      return `${chosen().mark} ${said(song())}. Weight of ${plural(song().mean.length, 'window')}; the largest, ${song().mean[most].toFixed(3)}, from ${clock(song().start_s[most])} on`;
    }
    const redraw = chart(box.id, summary, (width) => {
      if (!song()) return [];
      const windows = d3.range(song().mean.length);
      const at = (key) => (k) => song()[key][k];
      const middle = (k) => (song().start_s[k] + song().end_s[k]) / 2;
      const title = (k) => `from ${clock(song().start_s[k])}: ${song().mean[k].toPrecision(2)}\nseeds ${song().low[k].toPrecision(2)} to ${song().high[k].toPrecision(2)}`;
      return plot({
        width, height: 170, marginTop: 10,
        x: { label: 'seconds', labelAnchor: 'center', labelArrow: 'none', tickSize: 0, ticks: 5 },
        y: { label: null, grid: true, ticks: 4, tickSize: 0, zero: true },
        marks: [
          Plot.rectY(windows, { x1: at('start_s'), x2: at('end_s'), y: at('mean'), fill: ACCENT, fillOpacity: 0.45, insetLeft: 0.5 }),
          Plot.ruleX(windows, { x: middle, y1: at('low'), y2: at('high'), stroke: 'var(--ink)', strokeOpacity: 0.7 }),
          Plot.ruleY([d3.mean(song().mean)], { stroke: SECOND, strokeDasharray: '4 3' }),
          tip(windows, { x: middle, y: at('mean'), title }),
        ],
      });
    });
    return () => {
      figure.hidden = !song();
      if (song()) caption.replaceChildren(...(chosen().mark ? [element('strong', { class: 'mark' }, chosen().mark), ' '] : []), said(song()));
      redraw();
    };
  });
  const show = () => figures.forEach((each) => each());
  if (controls) {
    controls.fold.append(...attention.map((each, i) => element('option', { value: i }, `${each.source}, ${each.fold.replace('_', ' ')}`)));
    controls.addEventListener('change', show);
    controls.addEventListener('submit', (event) => event.preventDefault());
    show();
  }
}
