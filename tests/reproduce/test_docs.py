"""docs/papers.md against what it is written from: the files of the papers, and the results that are kept."""

import csv
import re
import shutil

import pytest

from docs import papers_tables as docs
from genre_jax.errors import UserError
from genre_jax.reproduce import paper
from tests.program import ROOT


def rows(text):
    """The cells of the lines of Markdown tables."""
    lines = [line for line in text.splitlines() if line.startswith('| ')]
    return [[cell.strip() for cell in line.strip('|').split(' | ')] for line in lines]


def test_the_page_is_that_of_its_sources():
    file = ROOT / 'docs' / 'papers.md'
    assert docs.page(ROOT / 'docs') == file.read_text(), 'run python -m docs.papers_tables'


@pytest.mark.parametrize('name', paper.PAPERS)
def test_every_printed_figure_stands_in_its_row(name):
    text = (ROOT / 'docs' / 'papers.md').read_text()
    part = text.split(f'<!-- table {name} -->')[1].split('<!-- end -->')[0]
    for table in paper.load(name).tables:
        own = rows(part.split(f'**{table.title}**')[1].split('**')[0])
        found = {row[0]: row[2] for row in own}
        for row in table.rows:
            numbers = re.findall(r'[\d.]+', found[row.name])
            values = [f for f in row.figures if f.printed]
            assert len(numbers) == len(values)
            for number, figure in zip(numbers, values, strict=True):
                scale = 100 if figure.is_share else 1
                assert float(number) == pytest.approx(scale * figure.value, abs=0.006 * scale / 100 + 5e-5)


def test_our_figures_are_those_that_were_kept():
    part = (ROOT / 'docs' / 'papers.md').read_text().split('<!-- table ma -->')[1]
    shown = {row[0]: row[3:5] for row in rows(part)}
    with (ROOT / 'docs' / 'results' / 'ma.csv').open(newline='') as stream:
        lines = [line for line in csv.DictReader(stream) if 'Figure 9' not in line['table']]
    assert len(lines) > 40
    for line in lines:
        cell = shown[line['row']][line['protocol'] == 'paper']
        value, low, high = (100 * float(line[key]) for key in ('value', 'value_low', 'value_high'))
        assert f'{value:.1f} [{low:.0f}, {high:.0f}]' in cell
        assert ('LEAKY' in cell) == (line['leaky'] == 'True')


def test_a_stale_page_and_strange_results_are_found(tmp_path):
    shutil.copytree(ROOT / 'docs' / 'results', tmp_path / 'results')
    whole = (ROOT / 'docs' / 'papers.md').read_text()
    (tmp_path / 'papers.md').write_text(whole.replace('87.75', '97.75'))
    assert docs.page(tmp_path) == whole
    file = tmp_path / 'results' / 'ma.csv'
    file.write_text(file.read_text().replace('[58,258,258,10] ReLU', '[58,10] ReLU'))
    with pytest.raises(UserError, match=r'ma.csv: ma has no row .*\[58,10\] ReLU'):
        docs.page(tmp_path)
    (tmp_path / 'papers.md').write_text('<!-- table mah -->\n<!-- end -->')
    with pytest.raises(UserError, match='table mah is neither of a paper nor a file of'):
        docs.page(tmp_path)
