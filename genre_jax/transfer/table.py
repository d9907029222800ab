"""What a transfer study came to, as text and as a page (genre_jax/transfer/__main__.py)."""

import pathlib
from collections.abc import Mapping, Sequence

from genre_jax.errors import printable
from genre_jax.evaluation.paired import shown
from genre_jax.report import dots
from genre_jax.study import page as study_page
from genre_jax.study import table as study_table
from genre_jax.transfer import attention
from genre_jax.transfer.heads import TITLES

_TEMPLATE = pathlib.Path(__file__).with_name('page.html.j2')


def _leaky(own: Mapping[str, Mapping]) -> bool:
    return any(figure['leaky'] for figure in own.values())


def _controlled(own: Mapping[str, Mapping]) -> bool:
    return any(figure['control'] for figure in own.values())


def _cells(
    own: Mapping[str, Mapping], heads: Sequence[str], key: str, sign: str, stem: str = ''
) -> list[str]:
    """Returns a source's figures by head, '' where it has none."""
    known = [own.get(head) for head in heads]
    return [
        '' if each is None or each[key] is None else shown(each[key], each[f'{stem or key}_ci95'], sign)
        for each in known
    ]


def table(result: Mapping) -> str:
    """Returns what fits.measure returns as text: sources by heads, and the difference to the control."""
    rows = study_table.nested(result['figures'], 'source', 'head')
    heads = result['heads']
    folds = f'{result["folds"]} folds, every song tested once' if result['folds'] else 'one split'
    first_of = 'all folds, of which the first is ' if result['folds'] else ''
    cells = [['', *heads]]
    for name, own in rows.items():
        cells.append([name, *_cells(own, heads, 'accuracy', '')] + ['LEAKY'] * _leaky(own))
        if _controlled(own):
            cells.append(['  above its control', *_cells(own, heads, 'above_control', '+', 'above')])
        if any(figure['first'] for figure in own.values()):
            cells.append([f'  above {next(iter(rows))}', *_cells(own, heads, 'above_first', '+')])
    cells += [
        ['always the commonest', f'{100 * result["majority"]:5.1f}'],
        ['chance', f'{100 / result["classes"]:5.1f}'],
    ]
    lines = [
        f'{result["dataset"]}: tested on {result["songs"]} songs, {result["groups"]} groups '
        f'({result["group_key"]}), {result["classes"]} classes; {folds}',
        f'protocol {result["protocol"]}: {first_of}{result["protocol_detail"]}',
        f'accuracy by song in %, 95 % intervals by groups; one answer for each {result["bag"]}',
        '',
        *study_table.aligned(cells),
        '',
        *(f'{name}: {words}' for name, words in result['words'].items()),
        *result['layers'],
        *result['times'],
        'the best of many cells is chosen on the test part, and looks better than it is',
    ]
    return '\n'.join(lines + [printable(f'note: {warning}') for warning in result['warnings']])


def write_page(result: Mapping, workdir: pathlib.Path) -> None:
    """Writes index.html: accuracies, how far they are above the control, and what the attention looks at."""
    sources = study_table.nested(result['figures'], 'source', 'head')
    heads = result['heads']
    titles = [TITLES[head] for head in heads]
    series = [{'name': each} for each in titles]
    charts = {
        'accuracy': dots.chart(
            'Accuracy by song in %, with 95 % intervals',
            series,
            [(name, [_figure(own.get(head), 'accuracy') for head in heads]) for name, own in sources.items()],
            lines=[
                dots.line('chance', 1 / result['classes']),
                dots.line('always the commonest class', result['majority'], 'ink'),
            ],
        )
    }
    controlled = {name: own for name, own in sources.items() if _controlled(own)}
    if controlled:
        charts['above'] = dots.chart(
            'In points above the same network untrained, on the same songs, with 95 % intervals',
            series,
            [
                (name, [_figure(own.get(head), 'above_control', 'above') for head in heads])
                for name, own in controlled.items()
            ],
            difference=True,
        )
    looks = [
        {
            'source': name,
            'fold': place.rpartition('/')[2],
            'mark': 'LEAKY' if own['attention']['leaky'] else '',
            'songs': songs,
        }
        for name, own in sources.items()
        for place in result['folders'][name].get('attention', ())
        if (songs := attention.shown(workdir / place))
    ]
    lead, _, words = table(result).split('\n\n', 2)
    study = study_page.Study(
        program='transfer',
        lead=lead.splitlines(),
        compared='source',
        charts=charts,
        words=words.splitlines(),
        run_columns=titles,
        runs=[(name, [own.get(head, []) for head in heads]) for name, own in result['folders'].items()],
    )
    more = [('attention', 'Attention')] if looks else []
    study_page.write(study, workdir, _TEMPLATE, more, attention=looks)


def _figure(figure: Mapping | None, key: str, stem: str = '') -> dict | None:
    return figure and dots.figure(figure[key], figure[f'{stem or key}_ci95'], figure['leaky'])
