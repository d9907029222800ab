"""The tables of docs/papers.md: what the papers print, beside what was measured here.

    python -m docs.papers_tables

writes what stands there between `<!-- table NAME -->` and `<!-- end -->` anew: for the name of a paper from
genre_jax/reproduce/NAME.py and from docs/results/NAME.csv, the figures.csv that a reproduction left; for
another name from docs/results/NAME.csv, the leak.csv that genre_jax.leak left. Without results a table has
dashes.
"""

import csv
import pathlib
import re
from collections.abc import Mapping, Sequence

from genre_jax import program
from genre_jax.errors import UserError
from genre_jax.reproduce import paper as paper_lib
from genre_jax.reproduce.paper import Blend, Classical, Mean, Network, NotRun, Paper, Row, Trial

DOCS = pathlib.Path(__file__).parent
_PART = re.compile(r'(<!-- table (\w+) -->\n).*?(<!-- end -->)', re.DOTALL)


def page(docs: pathlib.Path) -> str:
    """Returns papers.md of a folder with its tables written anew."""
    file = docs / 'papers.md'

    def part(found: re.Match) -> str:
        name = found[2]
        results = _read(docs / 'results' / f'{name}.csv')
        if name in paper_lib.PAPERS:
            lines = _paper(paper_lib.load(name), results)
        elif results:
            lines = _leak(results)
        else:
            raise UserError(f'{file}: table {name} is neither of a paper nor a file of {docs / "results"}')
        return '\n'.join([found[1], *lines, '', found[3]])

    return _PART.sub(part, file.read_text())


def _read(file: pathlib.Path) -> list[dict[str, str]]:
    if not file.exists():
        return []
    with file.open(newline='') as stream:
        return list(csv.DictReader(stream))


def _paper(paper: Paper, results: Sequence[Mapping[str, str]]) -> list[str]:
    """Returns the tables of a paper, and what ours are of."""
    from genre_jax.study.table import markdown

    known = {(r['table'], r['row'], r['protocol'], r['figure']): r for r in results}
    if strange := {key[:2] for key in known} - {(t.title, row.name) for t, row in paper.rows()}:
        raise UserError(f'docs/results/{paper.name}.csv: {paper.name} has no row {min(strange)}')
    lines = _sources(paper, results)
    for table in paper.tables:
        cells = [['', 'command', 'paper', 'ours', 'ours, `protocol=paper`']]
        for row in table.rows:
            sides = [[figure.shown or '–' for figure in row.figures]]
            for side in ('grouped', 'paper'):
                keys = [(table.title, row.name, side, figure.path) for figure in row.figures]
                sides.append([_ours(known[key]) if key in known else '–' for key in keys])
            # One dash where there is nothing else.
            shown = [' / '.join(side) if set(side) != {'–'} else '–' for side in sides]
            cells.append([row.name, _command(paper, row), *shown])
        heading = f'**{table.title}**: {" / ".join(table.columns)}.'
        lines += ['', heading, '', *markdown(cells)]
        lines += ['', table.note] if table.note else []
    odd = [f'- {each}' for each in paper.differences]
    return [*lines, '', 'What differs, and what is odd:', '', *odd]


def _sources(paper: Paper, results: Sequence[Mapping[str, str]]) -> list[str]:
    """Returns which splits there are, and what our figures are of."""
    protocols = '; '.join(f'`{side}`: {words}' for side, (_, words) in paper.protocols.items())
    lines = [paper.citation, '', f'Protocols: {protocols}.']
    if not results:
        return [*lines, 'Ours: not run, the data are not available here.']
    sizes = '; '.join(
        f'`{side}` {r["n_segments"]} rows or segments, {r["n_songs"]} songs, {r["n_groups"]} groups'
        for side, r in {result['protocol']: result for result in results}.items()
    )
    data, device, commit = (
        ', '.join(dict.fromkeys(r[key] for r in results)) for key in ('data', 'device', 'commit')
    )
    return [*lines, f'Ours: {data}; test parts: {sizes}; {device}, commit {commit}.']


def _command(paper: Paper, row: Row) -> str:
    match row.way:
        case NotRun(reason):
            return f'not run: {reason}'
        case Blend() | Mean():
            words = f'reproduce {paper.name}'
        case Classical(page, model):
            words = f'classical {page}.py --models={model}'
        case Network(page, arguments) | Trial(page, arguments) as way:
            program = 'main' if isinstance(way, Network) else 'sweep'
            words = f'{program} {page}.py{arguments and f":{arguments}"}'
    return f'`{words}`'


def _ours(result: Mapping[str, str]) -> str:
    share = not result['figure'].endswith('loss')
    scale, digits = (100, 1) if share else (1, 3)
    text = f'{"LEAKY " * (result["leaky"] == "True")}{scale * float(result["value"]):.{digits}f}'
    if result['value_low']:
        low, high = (scale * float(result[f'value_{end}']) for end in ('low', 'high'))
        text += f' [{low:.{digits - 1}f}, {high:.{digits - 1}f}]'
    return text + (f' (mean of {result["runs"]})' if result['runs'] != '1' else '')


def _leak(results: Sequence[Mapping[str, str]]) -> list[str]:
    """Returns a table of genre_jax.leak."""
    from genre_jax.evaluation.paired import shown
    from genre_jax.loading import protocols
    from genre_jax.study.table import markdown

    cells = [['accuracy, %', 'by row or segment', 'by song']]
    for name in dict.fromkeys(result['protocol'] for result in results):
        own = {r['level']: r for r in results if r['protocol'] == name}
        leaky = ', LEAKY' * (own['segment']['leaky'] == 'True')
        figures = []
        for level in ('segment', 'song'):
            keys = ('accuracy', 'accuracy_low', 'accuracy_high')
            share, *ends = (float(own[level][key]) for key in keys)
            figures.append(shown(share, ends).strip())
        cells.append([f'{protocols.WORDS[name]} (`{name}`{leaky})', *figures])
    return markdown(cells)


def main(argv: list[str]) -> None:
    """Writes the page."""
    from genre_jax.logbook import write_text

    program.refuse_words(argv)
    write_text(DOCS / 'papers.md', page(DOCS))
    print(f'written: {DOCS / "papers.md"}')


if __name__ == '__main__':
    program.run(main, config=False)
