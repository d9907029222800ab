/* The confusion matrix: one stop of the keyboard, arrows go from cell to cell, Enter or a click lists songs. */
'use strict';

{
  const form = document.getElementById('confusion-controls');
  const place = document.getElementById('confusion-songs');
  const n = classes.length;
  const chosen = { row: 0, column: 0 };
  let numbers; // of the items that are shown: [true][predicted]

  const kind = () => form.elements.kind.value;
  const total = (i) => d3.sum(numbers[i]);
  const share = (i, j) => numbers[i][j] / (total(i) || 1);

  function words(i, j) {
    const items = plural(numbers[i][j], kind() === 'segment' ? 'segment' : 'song');
    return `${classes[i]} called ${classes[j]}: ${items}, ${percent(share(i, j))} % of the row`;
  }

  function count() {
    numbers = Array.from({ length: n }, () => new Array(n).fill(0));
    for (const [i, j, items] of drawn.confusion[kind()]) numbers[i][j] = items;
  }

  /* Songs of a cell, with how many segments, or null where the run keeps no predictions. */
  function songsOf(i, j) {
    if (!songs) return null;
    const found = [];
    songs.track.forEach((track, song) => {
      if (songs.label[song] !== i) return;
      const votes = songs.votes[song];
      const at = votes.findIndex((each, k) => k % 2 === 0 && each === j);
      const segments = at < 0 ? 0 : votes[at + 1];
      const inside = { segment: segments > 0, song_max_probability: songs.predicted[song] === j, song_majority: songs.majority[song] === j };
      if (inside[kind()]) found.push({ song, segments, of: d3.sum(votes.filter((_, k) => k % 2)) });
    });
    return d3.sort(found, (each) => -each.segments / each.of);
  }

  function open(i, j) {
    const found = songsOf(i, j), most = 50;
    if (!found || !numbers[i][j]) return place.replaceChildren(element('p', { class: 'note' }, numbers[i][j] ? '' : `${words(i, j)}.`));
    const row = ({ song, segments, of }) => element('li', {}, songName(song), element('span', { class: 'note' }, ` ${segments} of ${plural(of, 'segment')}`), ...players(song).slice(0, 1));
    place.replaceChildren(element('section', { class: 'panel', 'aria-label': 'Songs of the cell' },
      element('h3', {}, `${words(i, j)}`),
      element('ol', {}, ...found.slice(0, most).map(row)),
      ...(found.length > most ? [element('p', { class: 'note' }, `and ${plural(found.length - most, 'song')} more`)] : []),
    ));
  }

  /* The matrix as SVG, as large as the width allows, and larger where cells would be too small to hit. */
  function matrix(width) {
    const names = n <= 61;
    const margin = names ? 8 + 6.4 * Math.min(22, d3.max(classes, (name) => Array.from(name).length)) : 14;
    const cell = Math.max(n <= 61 ? 12 : 5, Math.min(46, Math.floor((width - margin - 4) / n)));
    const size = n * cell, top = drawn.mark ? 20 : 2, limit = 22;
    const svg = d3.create('svg').attr('width', margin + size + 4).attr('height', top + size + (names ? margin * (cell < 30 ? 1 : 0.75) : 14) + 16);
    const grid = svg.append('g').attr('transform', `translate(${margin},${top})`);
    grid.append('rect').attr('width', size).attr('height', size).attr('fill', 'var(--panel)');
    const cells = drawn.confusion[kind()];
    const place = (selection) => selection.attr('x', (d) => d[1] * cell).attr('y', (d) => d[0] * cell).attr('width', cell).attr('height', cell);
    grid.append('g').selectAll('rect').data(cells).join('rect').attr('class', 'cell').call(place)
      .attr('fill', 'var(--heat)').attr('fill-opacity', (d) => 0.06 + 0.94 * share(d[0], d[1]));
    const lines = d3.range(n + 1).map((i) => i * cell);
    grid.append('path').attr('stroke', RULE).attr('stroke-width', n > 61 ? 0.25 : 0.75)
      .attr('d', lines.map((at) => `M0,${at}H${size}M${at},0V${size}`).join(''));
    if (cell >= 20) {
      const text = (d) => (form.elements.unit.value === 'count' ? d[2] : percent(share(d[0], d[1]), 0));
      grid.append('g').attr('text-anchor', 'middle').attr('font-size', cell < 28 ? 10 : 12).style('pointer-events', 'none')
        .selectAll('text').data(cells).join('text').attr('x', (d) => (d[1] + 0.5) * cell).attr('y', (d) => (d[0] + 0.5) * cell).attr('dy', '.35em')
        .attr('fill', (d) => (share(d[0], d[1]) > 0.85 ? 'var(--on-heat)' : 'var(--ink)')).text(text);
    }
    if (names) {
      const label = svg.append('g').attr('font-size', Math.min(12, cell * 0.8)).attr('fill', 'var(--ink)').attr('text-anchor', 'end');
      classes.forEach((name, i) => {
        label.append('text').attr('x', margin - 6).attr('y', top + (i + 0.5) * cell).attr('dy', '.35em').text(shorten(name, limit));
        label.append('text').attr('transform', `translate(${margin + (i + 0.5) * cell + 4},${top + size + 8}) rotate(${cell < 30 ? -90 : -45})`).attr('dy', cell < 30 ? '0' : '.35em').text(shorten(name, limit));
      });
    }
    if (drawn.mark) svg.append('text').attr('x', margin + size).attr('y', 13).attr('text-anchor', 'end').attr('font-size', 12).attr('font-weight', 700).attr('fill', 'var(--alarm)').text(drawn.mark);
    const cursor = grid.append('rect').attr('class', 'cursor').attr('fill', 'none').attr('stroke', SECOND).attr('stroke-width', 2.5).style('pointer-events', 'none');
    cursor.datum([chosen.row, chosen.column]).call(place);
    return { svg, grid, cursor, cell, place };
  }

  const summary = () => {
    const right = d3.sum(d3.range(n), (i) => numbers[i][i]), all = d3.sum(drawn.confusion[kind()], (each) => each[2]);
    return `Confusion matrix of ${n} classes over ${plural(all, kind() === 'segment' ? 'test segment' : 'test song')}: ${right} on the diagonal`;
  };

  const redraw = chart('confusion', summary, (width) => {
    const { svg, grid, cursor, cell, place: at } = matrix(width);
    const readout = element('p', { class: 'readout note', 'aria-live': 'polite' }, songs ? 'Choose a cell.' : '');
    const show = (i, j) => (readout.textContent = words(i, j));
    const box = element('div', {
      class: 'wide matrix', tabindex: 0, role: 'application', 'aria-roledescription': 'matrix',
      'aria-label': `${summary()}. Arrow keys go from cell to cell, Enter lists its songs.`,
    }, svg.node());
    const move = (i, j) => {
      [chosen.row, chosen.column] = [i, j];
      cursor.datum([i, j]).call(at);
      show(i, j);
    };
    const under = (event) => d3.pointer(event, grid.node()).map((x) => Math.floor(x / cell)).reverse();
    const inside = ([i, j]) => i >= 0 && j >= 0 && i < n && j < n;
    svg.on('pointermove', (event) => inside(under(event)) && show(...under(event)));
    svg.on('click', (event) => {
      if (!inside(under(event))) return;
      move(...under(event));
      open(...under(event));
    });
    const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    box.addEventListener('keydown', (event) => {
      if (event.key in STEPS) {
        const [i, j] = [chosen.row + STEPS[event.key][0], chosen.column + STEPS[event.key][1]];
        if (inside([i, j])) move(i, j);
      } else if (event.key === 'Enter' || event.key === ' ') {
        open(chosen.row, chosen.column);
      } else {
        return;
      }
      event.preventDefault();
    });
    return [readout, box];
  });

  function list() {
    const most = 100;
    const cells = d3.sort(drawn.confusion[kind()].filter(([i, j]) => i !== j), (each) => -each[2]).slice(0, most);
    const rows = cells.map(([i, j, items]) => [
      classes[i], classes[j], String(items), percent(share(i, j)),
      ...(songs ? [element('button', { type: 'button', class: 'button', click: () => open(i, j), 'aria-label': `List songs: ${words(i, j)}` }, 'songs')] : []),
    ]);
    const unit = kind() === 'segment' ? 'Segments' : 'Songs';
    fillTable(document.getElementById('confusion-table'), `${LEVELS[kind()]}, at most ${most} cells`, [['True class'], ['Called'], [unit, true], ['% of the class', true], ...(songs ? [['Which']] : [])], rows);
  }

  function change() {
    count();
    redraw();
    list();
    place.replaceChildren();
  }
  form.addEventListener('change', change);
  form.addEventListener('submit', (event) => event.preventDefault());
  count();
  list();
}
