/* Looking and listening: excerpts of sound, spectrograms with what the network looks at, and the map of
   segments. A run without them has none of it. */
'use strict';

const excerpts = d3.group(drawn.excerpts, (each) => each.song);
const pictures = d3.group(drawn.pictures?.segments ?? [], (each) => each.song);
const KINDS = { grad_cam: 'Grad-CAM', attention_rollout: 'attention rollout', occlusion: 'occlusion' };

/* Players of a song's excerpts, or of the one that holds a second of it. */
function players(song, second = null) {
  const all = excerpts.get(song) ?? [];
  const chosen = second === null ? all : all.filter((each) => each.start_s <= second && second < each.end_s).slice(0, 1);
  return chosen.map(({ start_s: from, end_s: to, file_start_s: begins, source }) => {
    const words = `${clock(from)} to ${clock(to)}`;
    const note = element('span', { class: 'note', role: 'status' }, words);
    const audio = element('audio', { controls: true, preload: 'none', src: begins < from ? `${source}#t=${from - begins},${to - begins}` : source, 'aria-label': `${songs.track[song]}, ${words}` });
    audio.addEventListener('error', () => (note.textContent = `${words}: the excerpt is not beside the page, or of a format that this browser does not play`));
    if (second !== null) audio.currentTime = second - begins;
    return element('div', { class: 'player' }, audio, note);
  });
}

/* Plays a second of a song in one of its players, or says that none has it. */
function hear(own, song, second) {
  const at = (excerpts.get(song) ?? []).findIndex((each) => each.start_s <= second && second < each.end_s);
  if (at < 0) {
    own[0].querySelector('.note').textContent = `there is no excerpt of ${clock(second)}`;
    return;
  }
  const audio = own[at].querySelector('audio');
  audio.currentTime = second - excerpts.get(song)[at].file_start_s;
  audio.play().catch(() => {});
}

// One sound at a time.
document.addEventListener('play', (event) => {
  for (const audio of document.querySelectorAll('audio')) if (audio !== event.target) audio.pause();
}, true);

/* A spectrogram, and over it, in colour, what the network looks at, which the reader can take away. */
function picture({ song, start_s: start, png }) {
  const canvas = element('canvas', { role: 'img', 'aria-label': `Spectrogram of ${songs.track[song]} at ${clock(start)}` });
  const image = new Image();
  let layers;
  function draw() {
    const { width, height } = canvas, context = canvas.getContext('2d');
    const pixels = context.createImageData(width, height), weight = box.checked ? 0.75 : 0;
    for (let i = 0; i < layers.length; i += 4) {
      const own = layers[i], part = (weight * layers[i + 1]) / 255;
      [242, 112, 28].forEach((over, c) => (pixels.data[i + c] = own * (1 - part) + over * part));
      pixels.data[i + 3] = 255;
    }
    context.putImageData(pixels, 0, 0);
  }
  const box = element('input', { type: 'checkbox', checked: true, change: draw });
  image.addEventListener('load', () => {
    [canvas.width, canvas.height] = [image.width, image.height];
    const context = canvas.getContext('2d', { willReadFrequently: true });
    context.drawImage(image, 0, 0);
    layers = context.getImageData(0, 0, image.width, image.height).data;
    canvas.setAttribute('aria-label', `${canvas.getAttribute('aria-label')}; ${gaze(layers, image.width, image.height)}`);
    draw();
  });
  image.src = `data:image/png;base64,${png}`;
  const kind = KINDS[drawn.pictures.kind] ?? drawn.pictures.kind;
  return element('figure', { class: 'spectrogram' },
    element('figcaption', {}, marked(`Segment at ${clock(start)}: time to the right, frequency upwards`)),
    canvas,
    element('label', {}, box, ` what the network looks at (${kind})`),
  );
}

/* Where saliency is largest, in words. */
function gaze(layers, width, height) {
  const at = (x, y) => layers[4 * (y * width + x) + 1];
  const column = d3.greatestIndex(d3.range(width), (a, b) => d3.sum(d3.range(height), (y) => at(a, y)) - d3.sum(d3.range(height), (y) => at(b, y)));
  const line = d3.greatestIndex(d3.range(height), (a, b) => d3.sum(d3.range(width), (x) => at(x, a)) - d3.sum(d3.range(width), (x) => at(x, b)));
  const third = ['upper', 'middle', 'lower'][Math.floor((3 * line) / height)];
  return `looked at most at ${Math.round((100 * column) / width)} % of its time, in the ${third} third of the frequencies`;
}

/* The pictures of a song, folded; they are drawn when they are opened. */
function foldedPictures(song) {
  const own = pictures.get(song) ?? [];
  const details = element('details', {}, element('summary', {}, `What the network looks at, in ${plural(own.length, 'segment')}`));
  details.addEventListener('toggle', () => {
    if (details.open && details.children.length === 1) details.append(element('div', { class: 'charts' }, ...own.map(picture)));
  });
  return own.length ? [details] : [];
}

/* The map of segments: colours, one class picked out, a click or Enter shows and plays the segment. */
if (drawn.map) {
  const { map } = drawn, n = map.song.length, groups = drawn.groups;
  const form = document.getElementById('map-controls'), panel = document.getElementById('map-segment');
  const label = (i) => songs.label[map.song[i]];
  const COLOURED = {
    true: { of: label, names: classes },
    predicted: { of: (i) => map.predicted[i], names: classes },
    right: { of: (i) => Number(map.predicted[i] === label(i)), names: ['wrong', 'right'], colours: [SECOND, ACCENT] },
    ...(groups && { group: { of: (i) => groups.of_song[map.song[i]], names: groups.name } }),
  };
  form.elements.picked.append(element('option', { value: '' }, 'all classes'), ...classes.map((name, i) => element('option', { value: i }, name)));
  if (!map.tsne) form.elements.method.querySelector('[value=tsne]').remove();
  if (!groups) form.elements.colour.querySelector('[value=group]').remove();
  let chosen = 0;
  const words = (i) => `${songs.track[map.song[i]]}, ${clock(map.start_s[i])}: ${classes[label(i)]}, called ${classes[map.predicted[i]]}`;
  const summary = () => `Map of ${n} test segments by ${form.elements.method.selectedOptions[0].text}, coloured by ${form.elements.colour.selectedOptions[0].text}`;

  function open(i, aloud) {
    const song = map.song[i], own = players(song, map.start_s[i]);
    const seen = (pictures.get(song) ?? []).find((each) => each.start_s === map.start_s[i]);
    const group = groupOf(song);
    panel.replaceChildren(element('section', { class: 'panel', 'aria-label': 'Segment of the map' },
      element('h3', {}, songs.track[song]),
      element('p', {}, `Segment at ${clock(map.start_s[i])}: ${classes[label(i)]}, called ${classes[map.predicted[i]]}${group ? `; group ${group}` : ''}`),
      ...own, ...(seen ? [picture(seen)] : []),
      ...(own.length ? [] : [element('p', { class: 'note' }, 'There is no excerpt of it.')]),
    ));
    if (aloud) own[0]?.querySelector('audio').play().catch(() => {});
  }

  const redraw = chart('map', summary, (width) => {
    const points = map[form.elements.method.value], { of, names, colours } = COLOURED[form.elements.colour.value];
    const picked = form.elements.picked.value;
    const faint = (i) => picked !== '' && label(i) !== Number(picked);
    const colour = (k) => (colours ? colours[k] : hue(k, names.length));
    const order = d3.sort(d3.range(n), (i) => !faint(i));
    const svg = plot({
      width, height: Math.min(width, 520), margin: 12, marginTop: 24, marginLeft: 12, marginBottom: 12,
      x: { axis: null, inset: 8 }, y: { axis: null, inset: 8 }, r: { type: 'identity' },
      marks: [
        Plot.dot(order, { x: (i) => points[i][0], y: (i) => points[i][1], r: (i) => (faint(i) ? 1.75 : 3.25), fill: (i) => (faint(i) ? RULE : colour(of(i))), fillOpacity: 0.85 }),
      ],
    });
    const [x, y] = ['x', 'y'].map((name) => svg.scale(name).apply);
    const places = points.map(([a, b]) => [x(a), y(b)]);
    const nearest = d3.Delaunay.from(places);
    const cursor = d3.select(svg).append('circle').attr('r', 7).attr('fill', 'none').attr('stroke', 'var(--ink)').attr('stroke-width', 2).style('pointer-events', 'none');
    const readout = element('p', { class: 'readout note', 'aria-live': 'polite' }, 'Choose a segment.');
    const show = (i) => {
      chosen = i;
      cursor.attr('cx', places[i][0]).attr('cy', places[i][1]);
      readout.textContent = words(i);
    };
    cursor.attr('cx', places[chosen][0]).attr('cy', places[chosen][1]);
    d3.select(svg).style('cursor', 'pointer')
      .on('pointermove', (event) => show(nearest.find(...d3.pointer(event, svg))))
      .on('click', (event) => {
        show(nearest.find(...d3.pointer(event, svg)));
        open(chosen, true);
      });
    const box = element('div', { class: 'wide', tabindex: 0, role: 'application', 'aria-roledescription': 'map', 'aria-label': `${summary()}. Arrow keys go from segment to segment, Enter plays it.` }, svg);
    const WAYS = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };
    box.addEventListener('keydown', (event) => {
      if (event.key in WAYS) {
        const [dx, dy] = WAYS[event.key], [cx, cy] = places[chosen];
        // The nearest one in a right angle that way.
        const ahead = d3.range(n).filter((i) => {
          const along = (places[i][0] - cx) * dx + (places[i][1] - cy) * dy, beside = Math.abs((places[i][0] - cx) * dy) + Math.abs((places[i][1] - cy) * dx);
          return along > 0.5 && beside <= along;
        });
        if (ahead.length) show(d3.least(ahead, (i) => Math.hypot(places[i][0] - cx, places[i][1] - cy)));
      } else if (event.key === 'Enter' || event.key === ' ') {
        open(chosen, true);
      } else {
        return;
      }
      event.preventDefault();
    });
    const shownNames = names.length <= FEW.length ? [legend(names.map((name, k) => [shorten(name), colour(k), 'area']))] : [];
    return [readout, box, ...shownNames];
  });
  form.addEventListener('change', redraw);
  form.addEventListener('submit', (event) => event.preventDefault());
}
