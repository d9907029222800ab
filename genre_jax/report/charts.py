"""The charts of the report page, as SVG that follows the page's colours."""

import contextlib
import io
import re
import warnings
from collections.abc import Iterator, Sequence
from typing import Any
from xml.etree import ElementTree

import markupsafe
import matplotlib
import matplotlib.colors
import matplotlib.figure
import numpy as np

LEVELS = {
    'segment': 'Segment',
    'song_max_probability': 'Song, maximum probability',
    'song_majority': 'Song, majority vote',
}
# Light and dark value of every CSS variable. Charts are drawn in the light values, which `svg`
# turns into the variables, so that charts change with the page: keep the light values distinct.
PALETTE = {
    'paper': ('#ffffff', '#14171b'),
    'panel': ('#f4f6f8', '#1e2329'),
    'ink': ('#1b2026', '#e9ecef'),
    'muted': ('#59636e', '#a2acb7'),
    'rule': ('#d5dbe1', '#39414a'),
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
MAX_NUMBERED_CLASSES = 25
_MAX_CURVE_POINTS = 300


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


def interval_chart(result: dict[str, Any]) -> markupsafe.Markup:
    """Draws the test accuracies with their intervals, beside the majority class and chance."""
    test, majority, chance = result['parts']['test'], result['majority'], 100 * result['chance']
    rows = [(name, test[level], 'accent') for level, name in LEVELS.items()]
    rows.append((f'Always “{label(majority["class"])}”', majority, 'muted'))
    figure, axes = new_figure(380, 205)
    share_rows(axes, len(rows), 'accuracy, %')
    said = []
    for y, (name, metrics, colour) in enumerate(rows):
        values = f'{percent(metrics["accuracy"])} {interval(metrics["accuracy_ci95"])}'
        said.append(f'{name} {values}')
        axes.text(0, y - 0.24, name)
        axes.text(100, y - 0.24, values, ha='right')
        share(axes, y, metrics['accuracy'], metrics['accuracy_ci95'], colour)
        # The line of chance pauses where the names stand.
        axes.vlines(chance, y - 0.16, y + 0.3, color=LIGHT['second'], linewidth=1.5)
    side = 'right' if chance > 75 else 'center' if chance > 15 else 'left'
    words = f'chance {chance:.1f}'
    axes.text(chance, len(rows) - 0.62, words, color=LIGHT['second'], va='top', ha=side)
    axes.set_ylim(len(rows) - 0.25, -0.65)
    summary = f'Test accuracy in percent with 95 % intervals: {"; ".join([*said, words])}'
    return svg(figure, 'intervals', summary, result['leaky'])


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


def curve_charts(metrics: list[dict], result: dict[str, Any]) -> list[tuple[str, markupsafe.Markup]]:
    """Returns caption and chart of the losses and of the accuracies, where there are any."""
    lines = {
        'loss': (('train/loss', 'train', 'accent', '-'), ('val/loss', 'validation', 'second', '-')),
        'accuracy': (
            ('train/accuracy', 'train, segment', 'accent', '-'),
            ('val/segment/accuracy', 'val, segment', 'second', '--'),
            ('val/song_max_probability/accuracy', 'val, song', 'second', '-'),
        ),
    }
    charts = []
    for quantity, scale, unit in (('loss', 1, 'nats'), ('accuracy', 100, '%')):
        figure, axes = new_figure(330, 190)
        axes.set(xlabel='epoch', ylabel=f'{quantity}, {unit}')
        for key, legend, colour, style in lines[quantity]:
            rows = [m for m in metrics if m.get(key) is not None]
            if not rows:
                continue
            points = np.array([(m['epoch'], scale * m[key]) for m in rows])
            # Means over blocks keep the page small however long the run was.
            blocks = np.array_split(points, min(len(points), _MAX_CURVE_POINTS))
            means = np.array([block.mean(axis=0) for block in blocks]).T
            marker = '.' if len(points) <= 30 else None
            axes.plot(*means, style, label=legend, color=LIGHT[colour], marker=marker)
            if key.startswith('val/'):
                chosen = points[[m['step'] == result['best_step'] for m in rows]]
                axes.plot(*chosen.T, 'o', color=LIGHT[colour], markersize=8)
        if not axes.lines:
            continue
        axes.axvline(result['best_epoch'], color=LIGHT['muted'], linestyle=':', linewidth=1.5)
        axes.set_xlim(left=0)
        axes.grid(linewidth=0.6)
        axes.legend(bbox_to_anchor=(0, 1), ncols=3, handlelength=1.5, columnspacing=1.2)
        summary = f'{quantity} in training and validation over epochs'
        charts.append((quantity.title(), svg(figure, quantity, summary, result['leaky'])))
    return charts


def confusion_chart(result: dict[str, Any]) -> markupsafe.Markup:
    """Draws the confusion matrix of the test songs as a heat map with counts."""
    counts = np.array(result['parts']['test']['song_max_probability']['confusion'])
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    classes = [label(name) for name in result['classes']]
    n = len(classes)
    cell_px = float(np.clip(560 / n, 13, 44))
    font = float(np.clip(0.5 * cell_px, 9, 12))
    figure, axes = new_figure(n * cell_px, n * cell_px)
    # One colour, its opacity the share: the same picture does on light and on dark paper.
    colour = matplotlib.colors.to_rgb(PALETTE['heat'][0])
    axes.imshow(np.dstack([np.broadcast_to(colour, (n, n, 3)), shares]), interpolation='none')
    if n <= MAX_NUMBERED_CLASSES:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                ink = LIGHT['on-heat' if shares[row, column] > 0.55 else 'ink']
                place = {'ha': 'center', 'va': 'center'}
                axes.text(column, row, str(count), color=ink, fontsize=font, **place)
    slant = {'rotation': 45, 'va': 'top'} if n <= 12 else {'rotation': 90, 'va': 'center'}
    axes.set_xticks(range(n), classes, fontsize=font, ha='right', rotation_mode='anchor', **slant)
    axes.set_yticks(range(n), classes, fontsize=font)
    axes.set(xlabel='predicted class', ylabel='true class')
    borders = np.arange(n + 1) - 0.5
    for lines in (axes.hlines, axes.vlines):
        lines(borders, -0.5, n - 0.5, color=LIGHT['rule'], linewidth=0.5)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    summary = (
        f'Confusion matrix of {n} classes over {counts.sum()} test songs: '
        f'{np.trace(counts)} on the diagonal; the table below names the mistakes'
    )
    return svg(figure, 'confusion', summary, result['leaky'])


def reliability_chart(level: str, found: dict[str, Any], leaky: bool) -> markupsafe.Markup:
    """Draws how often the most probable class is right by its probability, on test, as it was and calibrated.

    `found` is what confidence.json holds of a level, 'segment' or 'song'.
    """
    figure, axes = new_figure(300, 260)
    axes.plot([0, 100], [0, 100], ':', color=LIGHT['muted'], linewidth=1)
    for key, legend, colour in (('before', 'as it was', 'second'), ('after', 'calibrated', 'accent')):
        bins = found['test'][key]['bins']
        points = 100 * np.array([(each['probability'], each['accuracy']) for each in bins])
        sizes = 10 + 200 * np.array([each['n'] for each in bins]) / sum(each['n'] for each in bins)
        axes.plot(*points.T, color=LIGHT[colour], linewidth=1.5, label=legend)
        axes.scatter(*points.T, s=sizes, color=LIGHT[colour])
    axes.set(xlim=(-1, 101), ylim=(-1, 101), xlabel='probability, %', ylabel='right, %')
    axes.legend(bbox_to_anchor=(0, 1), ncols=2)
    summary = f'Reliability of the probability of a {level} on test, before and after calibration'
    return svg(figure, f'reliability-{level}', summary, leaky)


def roc_chart(
    curves: list[tuple[np.ndarray, np.ndarray, float] | None], result: dict[str, Any]
) -> markupsafe.Markup:
    """Draws the receiver operating characteristic of each class, from `roc_curves`, and their mean."""
    figure, axes = new_figure(300, 300)
    axes.plot([0, 100], [0, 100], ':', color=LIGHT['muted'], linewidth=1)
    there = [curve for curve in curves if curve is not None]
    # On a grid the page stays small however many songs there are.
    grid = np.linspace(0, 1, 101)
    drawn = np.array([np.r_[0, np.interp(grid, false, true)] for false, true, _ in there])
    axes.plot(100 * np.r_[0, grid], 100 * drawn.T, color=LIGHT['accent'], alpha=0.35)
    axes.plot(100 * np.r_[0, grid], 100 * drawn.mean(0), color=LIGHT['second'], linewidth=2)
    area = np.mean([auc for *_, auc in there])
    axes.text(98, 4, f'mean area {area:.3f}', ha='right', color=LIGHT['second'])
    axes.set(xlim=(-1, 101), ylim=(-1, 101), xlabel='false positives, %', ylabel='true positives, %')
    summary = f'ROC curves of {len(there)} classes, each against the others; mean area {area:.3f}'
    return svg(figure, 'roc', summary, result['leaky'])


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
