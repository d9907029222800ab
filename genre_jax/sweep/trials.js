/* The page of a sweep: trials side by side, what each hyperparameter does, progress; and a table that is filtered. */
'use strict';

{
  const { space, trials, metric, scale, lower } = drawn;
  const percents = scale === 100;
  const table = document.getElementById('trials'), controls = document.getElementById('sweep-controls');
  const valued = trials.filter((trial) => trial.value !== null);
  const finished = valued.filter((trial) => trial.status === 'finished');
  // Colours go by rank, the best in the one of figures that stand out.
  const share = new Map(finished.map((trial, i) => [trial, finished.length > 1 ? 1 - i / (finished.length - 1) : 1]));
  const SCALE = (part) => `color-mix(in oklab, var(--second) ${(100 * part).toFixed(0)}%, var(--accent))`;
  const STATUS = { pruned: MUTED, failed: 'var(--alarm)', running: MUTED, waiting: MUTED };
  const colour = (trial) => (share.has(trial) ? SCALE(share.get(trial)) : STATUS[trial.status] ?? MUTED);
  const asText = (value) => (percents ? `${percent(value)} %` : value.toFixed(3));
  const words = (axis, place) => (axis.kind === 'choice' ? axis.values[place] : String(+place.toPrecision(3)));
  function said(trial) {
    const values = space.map((axis, i) => (trial.point[i] === null ? null : `${axis.key} ${words(axis, trial.point[i])}`));
    const figure = trial.value === null ? '' : `: ${metric} ${asText(trial.value)}`;
    return [`trial ${trial.number}, ${trial.status}${figure}`, ...values.filter((each) => each)];
  }

  /* What the reader wants to see; and the trial that is picked out. */
  const number = (input) => (input && input.value !== '' ? input.valueAsNumber : null);
  function passes(trial) {
    if (!controls) return true;
    const boxes = Array.from(controls.querySelectorAll('[name=status]'));
    if (boxes.length && !boxes.some((box) => box.checked && box.value === trial.status)) return false;
    const most = number(controls.most);
    if (most !== null && finished.indexOf(trial) >= most) return false;
    if (most !== null && !share.has(trial)) return false;
    return space.every((axis, i) => {
      const place = trial.point[i];
      if (axis.kind === 'choice') return controls[`choice-${i}`].value === '' || place === +controls[`choice-${i}`].value;
      const [from, to] = ['from', 'to'].map((end) => number(controls[`${end}-${i}`]));
      return (from === null || (place !== null && place >= from)) && (to === null || (place !== null && place <= to));
    });
  }
  const shown = () => trials.filter(passes);
  const picked = () => trials.find((trial) => String(trial.number) === controls?.picked.value);

  const ends = d3.extent(valued.flatMap((trial) => [trial.value, ...trial.values]), (value) => scale * value);
  const pad = ends[0] === ends[1] ? Math.abs(ends[0]) / 20 || 1 : 0;
  const range = valued.length ? d3.nice(ends[0] - pad, ends[1] + pad, 5) : null;
  const last = { key: `${metric}${percents ? ', %' : ''}`, kind: 'linear', low: range?.[0], high: range?.[1] };

  /* Where a value lies on its axis, from 0 to 1; those of a choice a little apart, so that none hides another. */
  function part(axis, place, trial) {
    if (axis.kind === 'choice') return (place + 0.5 + 0.5 * (((trial.number * 0.618034) % 1) - 0.5)) / axis.values.length;
    if (axis.low === axis.high) return 0.5;
    const on = axis.kind === 'log' ? Math.log : (value) => value;
    return (on(place) - on(axis.low)) / (on(axis.high) - on(axis.low));
  }
  function ticks(axis, most) {
    if (axis.kind === 'choice') return axis.values.map((value, i) => ({ at: (i + 0.5) / axis.values.length, text: value }));
    const found = axis.kind === 'log' ? axis.ticks : d3.ticks(axis.low, axis.high, most)
      .filter((value) => !axis.whole || Number.isInteger(value)).map((value) => [value, String(value)]);
    return found.map(([value, text]) => ({ at: part(axis, value), text }));
  }

  const STEP = 74;
  const best = finished[0];
  const summary = () => `${plural(shown().length, 'trial')} over ${plural(space.length, 'hyperparameter')} and ${metric}`
    + (best ? `; the best is ${said(best).join(', ')}` : '');
  const drawParallel = chart('parallel', summary, (width) => {
    const axes = [...space, last], x = { domain: [0, 1], axis: null }, height = STEP * axes.length - 26;
    const lines = shown().map((trial) => ({
      trial,
      points: [...trial.point.map((place, i) => [space[i], place]), [last, trial.value === null ? null : scale * trial.value]].flatMap(
        ([axis, place], i) => (place === null ? [] : [{ x: part(axis, place, trial), y: STEP * i + 26, trial }])),
    }));
    const line = (chosen, options) => Plot.line(lines.filter(({ trial }) => chosen(trial)).flatMap((each) => each.points), {
      x: 'x', y: 'y', z: (p) => p.trial.number, stroke: (p) => colour(p.trial), ...options,
    });
    const apart = (trial) => !share.has(trial), of = picked();
    const marks = axes.flatMap((axis, i) => {
      const y = STEP * i + 26, texts = ticks(axis, width / 90), halo = { stroke: 'var(--paper)', strokeWidth: 4 };
      const room = Math.max(4, Math.floor(width / texts.length / 7.5));
      return [
        Plot.ruleY([y], { x1: 0, x2: 1, stroke: 'var(--edge)' }),
        Plot.text([shorten(axis.key, Math.floor(width / 7.5))], { x: 0, y: y - 15, textAnchor: 'start', fill: 'var(--ink)', fontWeight: 600, ...halo }),
        Plot.text(texts, { x: 'at', y: y + 13, text: (tick) => shorten(tick.text, room), title: 'text', fill: MUTED, ...halo }),
      ];
    });
    return [
      legend([
        ['best', SCALE(1)], ['worst', SCALE(0)],
        ...['pruned', 'failed', 'running'].filter((status) => trials.some((trial) => trial.status === status)).map((status) => [status, STATUS[status], 'dashed']),
      ]),
      plot({
        width, height: height + (drawn.mark ? 24 : 0), marginTop: drawn.mark ? 24 : 0, marginBottom: 0, marginLeft: 16, marginRight: 16,
        x, y: { domain: [0, height], range: drawn.mark ? [24, height + 24] : [0, height], axis: null },
        marks: [
          line(apart, { strokeDasharray: '4 3', strokeOpacity: of ? 0.2 : 0.8 }),
          line((trial) => share.has(trial), { strokeWidth: 1.75, strokeOpacity: of ? 0.15 : Math.max(0.35, Math.min(0.9, 12 / lines.length)) }),
          line((trial) => trial === (of ?? best), { strokeWidth: 3.5 }),
          ...marks,
          tip(lines.flatMap((each) => each.points), { x: 'x', y: 'y', title: (p) => said(p.trial).join('\n') }),
        ],
      }),
    ];
  });

  /* A dot for each trial, hollow if it was pruned; the best and the one that is picked out are larger. */
  const dot = (chosen, options) => Plot.dot(chosen, {
    r: (trial) => (trial === (picked() ?? best) ? 6 : 3.5), stroke: colour, fill: (trial) => (trial.status === 'pruned' ? 'var(--paper)' : colour(trial)),
    y: (trial) => scale * trial.value, ...options,
  });
  const spread = (chosen, x) => Plot.ruleX(chosen.filter((trial) => trial.values.length > 1), {
    x, y1: (trial) => scale * d3.min(trial.values), y2: (trial) => scale * d3.max(trial.values), stroke: colour, strokeOpacity: 0.6,
  });
  const FIT = { label: null, tickSize: 0 };
  const y = { ...FIT, domain: range, grid: true, ticks: 5 };
  const effects = space.map((axis, i) => {
    const own = () => shown().filter((trial) => trial.value !== null && trial.point[i] !== null);
    const summary = () => `${metric} over ${axis.key}, ${plural(own().length, 'trial')}; the best at ${best ? words(axis, best.point[i]) : 'none yet'}`;
    return chart(`effect-${i}`, summary, (width) => {
      const chosen = own(), place = (trial) => part(axis, trial.point[i], trial);
      const medians = axis.kind !== 'choice' ? [] : d3.rollups(
        chosen.filter((trial) => share.has(trial)), (each) => d3.median(each, (trial) => scale * trial.value), (trial) => trial.point[i],
      ).map(([at, median]) => ({ from: (at + 0.12) / axis.values.length, to: (at + 0.88) / axis.values.length, median }));
      const texts = ticks(axis, 4), room = Math.floor((width - 60) / texts.length / 6.5);
      const slanted = axis.kind === 'choice' && d3.max(texts, (tick) => tick.text.length) > room;
      return plot({
        width, height: slanted ? 255 : 210, marginBottom: slanted ? 75 : 28, marginTop: drawn.mark ? 26 : 12,
        x: {
          ...FIT, domain: [-0.04, 1.04], ticks: texts.map((tick) => tick.at), tickRotate: slanted ? -35 : 0,
          tickFormat: (at, k) => shorten(texts[k].text, slanted ? 16 : 40),
        },
        y, r: { type: 'identity' },
        marks: [
          Plot.link(medians, { x1: 'from', x2: 'to', y1: 'median', y2: 'median', stroke: MUTED, strokeWidth: 2.5 }),
          spread(chosen, place),
          dot(chosen, { x: place }),
          tip(chosen, { x: place, y: (trial) => scale * trial.value, title: (trial) => said(trial).join('\n') }),
        ],
      });
    });
  });

  /* The best so far, over trials in their order. */
  {
    const inOrder = d3.sort(trials, (trial) => trial.number);
    const done = inOrder.filter((trial) => share.has(trial)), failed = inOrder.filter((trial) => trial.status === 'failed');
    let most = null;
    const steps = done.map((trial) => {
      most = most === null ? trial.value : (lower ? Math.min : Math.max)(most, trial.value);
      return { x: trial.number, y: scale * most };
    });
    if (steps.length) steps.push({ x: inOrder.at(-1).number, y: steps.at(-1).y });
    const first = best && done.findIndex((trial) => trial.value === best.value);
    const summary = () => `${metric} of ${plural(valued.length, 'trial')} in their order`
      + (best ? `; the best, ${asText(best.value)}, since trial ${done[first].number}` : '') + (failed.length ? `; ${failed.length} failed` : '');
    chart('progress', summary, (width) => [
      legend([['the best so far', SECOND], ['trials', ACCENT, 'dot'], ...(failed.length ? [['failed', 'var(--alarm)', 'area']] : [])]),
      plot({
        width, height: 230, marginTop: drawn.mark ? 26 : 12,
        x: { ...FIT, label: 'trial', labelAnchor: 'center', labelArrow: 'none', ticks: Math.min(inOrder.length, width / 60), tickFormat: (n) => (Number.isInteger(n) ? n : ''), inset: 8 },
        y, r: { type: 'identity' },
        marks: [
          Plot.line(steps, { x: 'x', y: 'y', curve: 'step-after', stroke: SECOND, strokeWidth: 2 }),
          spread(valued, 'number'),
          dot(valued, { x: 'number', r: 3.5 }),
          Plot.dot(failed, { x: 'number', y: () => range?.[0], symbol: 'times', stroke: 'var(--alarm)', strokeWidth: 2 }),
          tip(valued, { x: 'number', y: (trial) => scale * trial.value, title: (trial) => said(trial).join('\n') }),
        ],
      }),
    ]);
  }

  sortable(table);
  function show() {
    const numbers = new Set(shown().map((trial) => trial.number));
    document.getElementById('sweep-count').textContent = `${numbers.size} of ${plural(trials.length, 'trial')} shown, in the charts of hyperparameters and in the table.`;
    document.getElementById('sweep-picked').textContent = picked() ? said(picked()).join(' · ') : '';
    for (const row of table.tBodies[0].rows) row.hidden = !numbers.has(+row.dataset.trial);
    drawParallel();
    effects.forEach((redraw) => redraw());
  }
  if (controls) {
    controls.addEventListener('input', show);
    controls.addEventListener('submit', (event) => event.preventDefault());
    show();
  }
}
