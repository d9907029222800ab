/* Songs that the run is wrong about: filtered, in an order, some at a time. */
'use strict';

{
  const list = document.getElementById('wrong');
  const form = document.getElementById('wrong-controls'), more = document.getElementById('wrong-more');
  let found = [];

  function item(each) {
    const { song } = each, { svg, from, to, until } = timeline(each), own = players(song);
    if (own.length) {
      svg.classList.add('heard');
      svg.addEventListener('click', (event) => {
        const { left, width } = svg.getBoundingClientRect();
        hear(own, song, from + ((event.clientX - left) / width) * (until - from));
      });
    }
    const key = (c, text) => element('span', {}, element('i', { class: 'key', style: `background:${SHADES[c]}` }), text);
    const group = groupOf(song);
    return element('li', {},
      element('div', { class: 'song-head' },
        songName(song),
        element('span', { class: 'note' }, group && !group.endsWith(songs.track[song]) ? `group ${group} · ` : '', plural(each.segments, 'segment')),
      ),
      element('ul', { class: 'legend' },
        ...each.classes.map((c, i) => element('li', {}, key(i, `${['true: ', 'predicted: ', '', ''][i]}${classes[c]}`
          + (i < 2 ? `, ${percent(i ? songs.probability[song] : songs.true_probability[song])} %` : '')))),
      ),
      svg,
      element('div', { class: 'ends', 'aria-hidden': 'true' }, element('span', {}, clock(from)), element('span', {}, each.segments > 1 ? `last segment at ${clock(to)}` : '')),
      ...own,
      ...foldedPictures(song),
    );
  }

  function filter() {
    const words = form.elements.words.value.toLowerCase();
    const text = ({ song }) => [songs.track[song], classes[songs.label[song]], classes[songs.predicted[song]], groupOf(song) ?? ''].join('\n').toLowerCase();
    found = drawn.wrong.filter((each) => text(each).includes(words));
    const order = form.elements.order.value;
    if (order === 'close') found.reverse();
    if (order === 'name') found = d3.sort(found, ({ song }) => songs.track[song]);
    show(found);
  }

  let show;
  if (list) {
    show = listed(list, more, 20, item, (first) => {
      document.getElementById('wrong-count').textContent =
        found.length === drawn.wrong.length ? `${first} of ${found.length} shown` : `${first} shown of ${found.length} that match, of ${drawn.wrong.length}`;
    });
    form.addEventListener('input', filter);
    form.addEventListener('submit', (event) => event.preventDefault());
    filter();
  }
}
