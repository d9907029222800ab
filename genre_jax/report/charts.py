"""Charts drawn by Matplotlib, as SVG that follows the page's colours; and how pages write numbers."""

import contextlib
import io
import re
import warnings
from collections.abc import Iterator, Sequence
from xml.etree import ElementTree

import markupsafe
import matplotlib
import matplotlib.figure
import numpy as np

# Light and dark value of every CSS variable. Charts are drawn in the light values, which `svg`
# turns into the variables, so that charts change with the page: keep the light values distinct.
PALETTE = {
    'paper': ('#ffffff', '#14171b'),
    'panel': ('#f4f6f8', '#1e2329'),
    'ink': ('#1b2026', '#e9ecef'),
    'muted': ('#59636e', '#a2acb7'),
    'rule': ('#d5dbe1', '#39414a'),
    'edge': ('#7d8792', '#78828d'),  # of what can be filled in
    'accent': ('#0a5fad', '#6db3f5'),
    'second': ('#bf4a0b', '#f7a263'),
    'alarm': ('#b00020', '#ff8a8f'),
    'heat': ('#1d6fc2', '#2a7fd6'),
    'on-heat': ('#fefefe', '#fefefe'),
}
LIGHT = {name: light for name, (light, _) in PALETTE.items()}
_CHART_STYLE = {
    'svg.fonttype': 'none',  # text stays text: searchable, in the page's font, and small
    'text.parse_math': False,  # a class may be called '$x_1$'
    'font.size': 12,
    'figure.facecolor': 'none',
    'axes.facecolor': 'none',
    'axes.edgecolor': LIGHT['rule'],
    'axes.labelcolor': LIGHT['muted'],
    'axes.spines.top': False,
    'axes.spines.right': False,
    'axes.grid.axis': 'y',
    'grid.color': LIGHT['rule'],
    'text.color': LIGHT['ink'],
    'xtick.color': LIGHT['muted'],
    'ytick.color': LIGHT['muted'],
    'legend.frameon': False,
    'legend.loc': 'lower left',
    'legend.borderaxespad': 0,
}


def percent(fraction: float) -> str:
    """Returns a share as a percentage without its sign."""
    return f'{100 * fraction:.1f}'


def interval(ci95: Sequence[float] | None, scale: float = 100, digits: int = 1) -> str:
    """Returns '[low, high]' scaled, '' for None."""
    return '' if ci95 is None else '[' + ', '.join(f'{scale * x:.{digits}f}' for x in ci95) + ']'


def duration(seconds: float, digits: int = 1) -> str:
    """Returns a time in words, '1 h 2 min'; `digits` of those that are shorter than a minute."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f'{hours} h {minutes} min'
    return f'{minutes} min {rest} s' if minutes else f'{seconds:.{digits}f} s'


def label(name: str, limit: int = 22) -> str:
    """Returns a name as a chart can show it: one line, printable, at most `limit` characters."""
    name = ''.join(c if c.isprintable() else ' ' for c in name)
    return name if len(name) <= limit else name[: limit - 1] + '…'


def share_rows(axes: matplotlib.axes.Axes, rows: int, xlabel: str) -> None:
    """Makes a line from 0 to 100 % for each of some rows, downwards, without a frame."""
    axes.hlines(range(rows), 0, 100, color=LIGHT['rule'], linewidth=1, zorder=0)
    axes.set(xlim=(-2, 102), yticks=[], xlabel=xlabel)
    axes.spines[['left', 'bottom']].set_visible(False)
    axes.tick_params(length=0)


def share(
    axes: matplotlib.axes.Axes,
    y: float,
    value: float,
    ci95: Sequence[float] | None,
    colour: str,
    hollow: bool = False,
) -> matplotlib.lines.Line2D:
    """Draws a share with its interval, None without, in a colour of LIGHT; returns the dot."""
    line = LIGHT[colour]
    if ci95 is not None:
        ends = 100 * np.array(ci95)
        axes.plot(ends, [y, y], color=line, linewidth=6, alpha=0.45, solid_capstyle='round')
    (dot,) = axes.plot(100 * value, y, 'o', color=line, markersize=8, markeredgewidth=2)
    dot.set_markerfacecolor(LIGHT['paper'] if hollow else line)
    return dot


@contextlib.contextmanager
def chart_style() -> Iterator[None]:
    """Sets matplotlib's style for the charts, and nothing of the user's own."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        # The browser draws the text: a script that matplotlib's own font lacks is no fault.
        warnings.filterwarnings('ignore', message='Glyph .* missing from')
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_CHART_STYLE)
        yield


def new_figure(width_px: float, height_px: float) -> tuple[matplotlib.figure.Figure, matplotlib.axes.Axes]:
    """Returns a figure and axes that fill it: labels go around it, and `svg` makes room."""
    # Matplotlib writes SVG in points, 72 an inch: one point becomes one CSS pixel.
    figure = matplotlib.figure.Figure(figsize=(width_px / 72, height_px / 72))
    return figure, figure.add_axes((0, 0, 1, 1))


def svg(figure: matplotlib.figure.Figure, name: str, summary: str, leaky: bool) -> markupsafe.Markup:
    """Returns a figure as an `<svg>` that stands inside the page and follows its colours.

    It was drawn in `chart_style()` with the colours of LIGHT. `name` is unique on the page, `summary` tells
    readers who do not see it what it shows.
    """
    if leaky:
        figure.axes[0].set_title('LEAKY', loc='right', color=LIGHT['alarm'], weight='bold', pad=22)
    buffer = io.BytesIO()
    matplotlib.rcParams['svg.hashsalt'] = name
    figure.savefig(buffer, format='svg', bbox_inches='tight', metadata={'Date': None})
    root = ElementTree.fromstring(buffer.getvalue())
    width, height = (round(float(size)) for size in root.get('viewBox').split()[2:])
    for element in root.iter():
        element.tag = element.tag.rpartition('}')[2]
        for key, value in list(element.attrib.items()):
            del element.attrib[key]
            if key == 'id':
                value = f'{name}-{value}'
            elif key == 'style':
                value = re.sub(r'font-family: [^;]*;? ?', '', value)
                for variable, light in LIGHT.items():
                    value = value.replace(light, f'var(--{variable})')
            # Ids are unique on a page, not only within a chart.
            value = re.sub(r'^(url\()?#', rf'\1#{name}-', value)
            element.set(key.rpartition('}')[2], value)
    for name in ('metadata', 'defs'):
        root.remove(root.find(name))
    root.attrib |= {'width': str(width), 'height': str(height)}
    root.attrib |= {'role': 'img', 'aria-label': summary}
    return markupsafe.Markup(ElementTree.tostring(root, encoding='unicode'))
