/* Songs: how they are named, heard, and shown over time. */
'use strict';

const groupOf = (song) => (drawn.groups ? drawn.groups.name[drawn.groups.of_song[song]] : null);
const songName = (song) => element('b', {}, songs.track[song]);
/* Colours of a timeline: the true class, the predicted one, the likeliest others, the rest. */
const SHADES = [[ACCENT, 85], [SECOND, 60], [MUTED, 60], [MUTED, 35]].map(([colour, part]) => `color-mix(in srgb, ${colour} ${part}%, var(--paper))`);

/* Shares over time as an SVG of areas; segments last until the next begins, the last as long as the one before. */
function timeline(each) {
  const bytes = Uint8Array.from(atob(each.shares), (byte) => byte.charCodeAt(0));
  const k = each.classes.length, starts = each.start_s;
  const step = starts.length > 1 ? starts.at(-1) - starts.at(-2) : 1;
  const ends = [...starts.slice(1), starts.at(-1) + (step || 1)];
  const [from, to] = [starts[0], ends.at(-1)];
  const x = (s) => (100 * (s - from)) / (to - from || 1);
  const paths = d3.range(k).map((c) => {
    // The true class stands on the ground, the predicted one hangs from the ceiling, the others lie between.
    const bar = (_, i) => {
      const own = bytes[i * k + c] / 255;
      const below = c === 1 ? 1 - own : d3.sum(d3.range(c), (other) => (other === 1 ? 0 : bytes[i * k + other] / 255));
      return `M${x(starts[i]).toFixed(3)},${(100 * (1 - below)).toFixed(2)}V${(100 * (1 - below - own)).toFixed(2)}H${x(ends[i]).toFixed(3)}V${(100 * (1 - below)).toFixed(2)}Z`;
    };
    return starts.map(bar).join('');
  });
  const likeliest = d3.range(starts.length).map((i) => d3.greatestIndex(bytes.slice(i * k, i * k + k)));
  const said = d3.rollups(likeliest, (all) => all.length, (c) => c).map(([c, times]) => `${classes[each.classes[c]]} in ${times}`);
  const svg = d3.create('svg').attr('class', 'timeline').attr('viewBox', '0 0 100 100').attr('preserveAspectRatio', 'none').attr('role', 'img')
    .attr('aria-label', marked(`Classes over ${plural(starts.length, 'stretch')} of time; the likeliest is ${said.join(', ')}`));
  svg.selectAll('path').data(paths).join('path').attr('d', (path) => path).attr('fill', (_, c) => SHADES[c]);
  return { svg: svg.node(), from, to: starts.at(-1), until: to };
}
