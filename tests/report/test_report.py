"""The page is checked by reading it as a browser would, against the files it was made from."""

import html
import html.parser
import json
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
from absl import flags

from genre_jax.errors import UserError
from genre_jax.report import __main__ as report_program
from genre_jax.report import page as report
from tests import program

VOID = {'area', 'br', 'col', 'hr', 'img', 'input', 'link', 'meta', 'source', 'wbr'}
HOSTILE = [
    '<b>bold</b>',
    '$x_1$ & "q" \'s\'',
    '<script>alert(1)</script>',
    'राग यमन',
    '</style><img src=x onerror=alert(1)>',
    '{{ 7 * 7 }}',
    '_under_score_',
    '#1b2026',
    'a class name far too long to stand beside any picture',
    'tab\tand\nnewline',
    '100 %',
    ']]>',
]
LEVELS = ('segment', 'song_max_probability', 'song_majority')


class Node:
    """An element: its tag, attributes, children, and the text inside it."""

    def __init__(self, tag, attributes):
        self.tag, self.attributes, self.children, self.texts = tag, dict(attributes), [], []

    def text(self):
        return ' '.join(''.join(self.texts).split())

    def walk(self):
        yield self
        for child in self.children:
            yield from child.walk()

    def all(self, tag):
        return [node for node in self.walk() if node.tag == tag]


class Page(html.parser.HTMLParser):
    """Parses a page into a tree and fails where tags do not balance."""

    def __init__(self, source):
        super().__init__(convert_charrefs=True)
        self.source = source
        self.root = Node('root', [])
        self._open = [self.root]
        self.feed(source)
        self.close()
        assert self._open == [self.root], f'left open: {[node.tag for node in self._open]}'

    def handle_starttag(self, tag, attributes):
        node = Node(tag, attributes)
        self._open[-1].children.append(node)
        if tag not in VOID:
            self._open.append(node)

    def handle_startendtag(self, tag, attributes):
        assert 'svg' in [node.tag for node in self._open], f'<{tag}/> outside of SVG'
        self._open[-1].children.append(Node(tag, attributes))

    def handle_endtag(self, tag):
        assert self._open.pop().tag == tag

    def handle_data(self, data):
        # What scripts and styles hold is nothing that a reader reads.
        hidden = self._open[-1].tag in ('script', 'style')
        for node in self._open[-1:] if hidden else self._open:
            node.texts.append(data)

    def all(self, tag):
        return self.root.all(tag)

    def text(self):
        return self.root.text()

    def table(self, caption):
        """Returns the rows of cell texts of the table whose caption holds `caption`."""
        (table,) = [
            table
            for table in self.all('table')
            if any(caption in node.text() for node in table.all('caption'))
        ]
        return [[cell.text() for cell in row.children if cell.tag in ('th', 'td')] for row in table.all('tr')]

    def drawn(self):
        """Returns what the scripts draw."""
        (script,) = [each for each in self.all('script') if each.attributes.get('id') == 'drawn']
        return json.loads(''.join(script.texts))

    def links(self):
        """Returns all that the page refers to; fails where a style imports another."""
        links = []
        for node in self.root.walk():
            for key, value in node.attributes.items():
                if key.rpartition(':')[2] in ('src', 'href', 'srcset', 'action', 'data', 'poster'):
                    links.append(value)
                links += re.findall(r'url\(\s*[\'"]?([^)\'"]*)', value or '')
        styles = ''.join(style.text() for style in self.all('style'))
        assert '@import' not in styles
        return links + re.findall(r'url\(\s*[\'"]?([^)\'"]*)', styles)

    def places(self):
        """Returns the ids of the places of charts."""
        return [div.attributes['id'] for div in self.all('div') if div.attributes.get('class') == 'chart']


def class_names(n):
    return (HOSTILE + [f'genre {i}' for i in range(n)])[:n]


def write_json(path, value):
    path.write_text(json.dumps(value), 'utf-8')


def make_run(run_dir, n_classes=3, leaky=False, n_songs=64, quarantined=(), **changes):
    """Writes a run folder whose every number is drawn anew, so that a mixed-up key shows."""
    rng = np.random.default_rng(n_classes)
    classes = class_names(n_classes)

    def fraction():
        return float(rng.uniform(0.01, 0.99))

    def interval(low, high):
        return sorted(rng.uniform(low, high, 2).tolist())

    def metrics(level):
        confusion = rng.integers(0, 6, (n_classes, n_classes)) * rng.integers(0, 2, n_classes)
        has_probabilities = level != 'song_majority'
        return {
            'n': n_songs * 7 if level == 'segment' else n_songs,
            'accuracy': fraction(),
            'accuracy_ci95': interval(0, 1),
            'macro_f1': fraction(),
            'macro_f1_ci95': interval(0, 1),
            'log_loss': float(rng.uniform(0.1, 4)) if has_probabilities else None,
            'log_loss_ci95': interval(0.1, 4) if has_probabilities else None,
            'confusion': confusion.tolist(),
            'per_class': {
                name: {
                    'precision': fraction(),
                    'recall': fraction(),
                    'f1': fraction(),
                    'support': int(rng.integers(1, 50)),
                }
                for name in classes
            },
        }

    def parts():
        return {part: int(rng.integers(100, 9999)) for part in ('train', 'val', 'test')}

    result = {
        'protocol': 'grouped',
        'protocol_detail': 'random by artist, seed 0',
        'leaky': leaky,
        'classes': classes,
        'n_songs': parts(),
        'n_groups': parts(),
        'n_segments': parts(),
        'songs_per_class': {name: parts() for name in classes},
        'chance': 1 / n_classes,
        'majority': {'class': classes[0], 'accuracy': 0.2, 'accuracy_ci95': [0.1, 0.3]},
        'steps': 400,
        'epochs': 10.0,
        'best_step': 320,
        'best_epoch': 8.0,
        'selected_on': 'val/song_max_probability/accuracy',
        'parameters_sha256': 'a1' * 32,
        'state_sha256': 'b2' * 32,
        'best_parameters_sha256': 'c3' * 32,
        'parts': {part: {level: metrics(level) for level in LEVELS} for part in ('val', 'test')},
        'quarantined': {'count': len(quarantined), 'files': list(quarantined)},
        'warnings': ['3 recordings are <short>'],
    }
    (run_dir / 'predictions').mkdir(parents=True)
    write_json(run_dir / 'result.json', result | changes)
    write_json(
        run_dir / 'config.json',
        {
            'seed': 0,
            'model': {'name': 'shallow_cnn'},
            'features': {'name': 'schindler'},
            'optim': {'name': 'adam'},
            'data': {'root': '<i>music</i>'},
        },
    )
    write_json(
        run_dir / 'environment.json',
        {
            'python': '3.12.4',
            'platform': 'Linux',
            'packages': {'jax': '0.10.2'},
            'backend': 'cpu',
            'devices': 1,
            'device_kind': 'cpu',
            'processes': 1,
            'git_commit': 'd4' * 20,
            'dataset': {
                'name': 'tunes',
                'description': 'dance tunes',
                'fingerprint': 'e5' * 32,
                'sample_rate_hz': 22050,
                'recordings': 640,
                'hours': 5.25,
                'group_key': 'artist',
            },
            'split_fingerprint': 'f6' * 32,
        },
    )
    write_json(
        run_dir / 'timing.json',
        {'prepare_s': 41.2, 'train_s': 3725.0, 'evaluate_s': 6.3, 'examples_per_s': 512.4},
    )
    (run_dir / 'parameters.txt').write_text('dense/kernel 4800x200 960000\n')
    rows = []
    for epoch in range(1, 11):
        step = {'step': 40 * epoch, 'epoch': float(epoch)}
        rows.append(step | {'train/loss': 2 / epoch, 'train/accuracy': epoch / 11})
        rows.append(
            step
            | {
                'val/loss': 2.5 / epoch,
                'val/segment/accuracy': epoch / 13,
                'val/song_max_probability/accuracy': epoch / 12,
            }
        )
    (run_dir / 'metrics.jsonl').write_text(''.join(json.dumps(row) + '\n' for row in rows))
    save_predictions(run_dir, classes, [('song', 0, np.eye(n_classes)[1])])
    return run_dir


def save_predictions(run_dir, classes, segments):
    tracks, labels, probabilities = zip(*segments, strict=True)
    np.savez(
        run_dir / 'predictions' / 'test.npz',
        track=np.array(tracks),
        start_s=np.zeros(len(tracks), np.float32),
        label=np.array(labels, np.int32),
        probabilities=np.array(probabilities, np.float32),
        classes=np.array(classes),
    )


def read_page(run_dir):
    return Page(report.write_report(run_dir).read_text('utf-8'))


def result_of(run_dir):
    return json.loads((run_dir / 'result.json').read_text('utf-8'))


@pytest.fixture(scope='module', params=[2, 3, 40])
def run(request, tmp_path_factory):
    """Returns a run folder and its page."""
    run_dir = make_run(tmp_path_factory.mktemp('runs') / 'a <run> & co', n_classes=request.param)
    return run_dir, read_page(run_dir)


def numbers(text):
    return [float(number) for number in re.findall(r'-?\d+\.?\d*', text)]


def check_score(cell, metrics, key, scale, half_digit):
    printed = numbers(cell)
    if metrics[key] is None:
        assert cell == '–'
    else:
        stored = scale * np.array([metrics[key], *metrics[f'{key}_ci95']])
        np.testing.assert_allclose(printed, stored, rtol=0, atol=half_digit * 1.0001)


@pytest.mark.parametrize('part, caption', [('test', 'Test part'), ('val', 'Validation part')])
def test_scores_are_those_of_the_result(run, part, caption):
    run_dir, page = run
    rows = page.table(caption)[1:]
    assert len(rows) == 3
    for level, (_, accuracy, f1, log_loss, n) in zip(LEVELS, rows, strict=True):
        metrics = result_of(run_dir)['parts'][part][level]
        check_score(accuracy, metrics, 'accuracy', 100, 0.05)
        check_score(f1, metrics, 'macro_f1', 100, 0.05)
        check_score(log_loss, metrics, 'log_loss', 1, 0.0005)
        assert int(n) == metrics['n']


def test_headline_and_chart_show_the_song_accuracy_beside_chance_and_majority(run):
    run_dir, page = run
    result = result_of(run_dir)
    song = result['parts']['test']['song_max_probability']
    (big,) = [p for p in page.all('p') if p.attributes.get('class') == 'big']
    assert numbers(big.text()) == [round(100 * song['accuracy'], 1)]
    drawn = page.drawn()
    for level in LEVELS:
        metrics = result['parts']['test'][level]
        assert drawn['accuracy'][level] == {key: metrics[key] for key in ('accuracy', 'accuracy_ci95')}
    assert (drawn['chance'], drawn['majority']) == (result['chance'], result['majority'])
    assert drawn['tonic_alone'] is None


def test_per_class_table_keeps_order_and_numbers(run):
    run_dir, page = run
    result = result_of(run_dir)
    song = result['parts']['test']['song_max_probability']
    rows = page.table('precision, recall and F1')[1:]
    assert [row[0] for row in rows] == [' '.join(name.split()) for name in result['classes']]
    for index, (name, row) in enumerate(zip(result['classes'], rows, strict=True)):
        scores = song['per_class'][name]
        assert int(row[1]) == result['songs_per_class'][name]['train']
        assert int(row[2]) == scores['support']
        printed = [
            numbers(cell)[0] if cell != 'never named' else 100 * scores['precision'] for cell in row[3:6]
        ]
        stored = [100 * scores[key] for key in ('precision', 'recall', 'f1')]
        np.testing.assert_allclose(printed, stored, rtol=0, atol=0.0501)
        others = {
            other: count
            for i, (other, count) in enumerate(zip(result['classes'], song['confusion'][index], strict=True))
            if i != index
        }
        most = max(others.values())
        called = [other for other, count in others.items() if count == most]
        if most == 0:
            assert row[8] == '–'
        elif len(called) == 1:
            assert row[8] == f'{" ".join(called[0].split())} ({most})'
        else:
            assert row[8].endswith(f'({most} each)')


def test_names_are_text_and_never_markup(run):
    run_dir, page = run
    written = page.source
    for script in page.all('script'):
        written = written.replace(''.join(script.texts), '')
        assert '<' not in ''.join(script.texts) or 'id' not in script.attributes
    for name in result_of(run_dir)['classes']:
        if html.escape(name) != name:
            assert name not in written
    assert page.drawn()['classes'] == result_of(run_dir)['classes']
    tags = {node.tag for node in page.root.walk()}
    assert not tags & {'b>', 'img', 'iframe', 'object', 'embed', 'link'}
    # The data, two libraries, what all pages share and this page's own: no name has opened another.
    own = ('look.js', 'run.js', 'songs.js', 'confusion.js', 'wrong.js', 'tonic.js')
    assert len(page.all('script')) == 1 + 2 + 1 + len(own)
    assert page.all('h1')[0].text() == 'a <run> & co'
    assert '<i>music</i>' in page.text()
    assert '3 recordings are <short>' in page.text()
    assert '49' not in [row[0] for row in page.table('precision, recall and F1')]


def test_nothing_is_loaded_from_outside(run):
    _, page = run
    links = page.links()
    assert links
    assert all(link.startswith(('#', 'data:image/png;base64,')) for link in links)
    ids = {node.attributes['id'] for node in page.root.walk() if 'id' in node.attributes}
    assert {link[1:] for link in links if link.startswith('#')} <= ids


def test_ids_are_unique_and_headers_have_a_scope(run):
    _, page = run
    ids = [node.attributes['id'] for node in page.root.walk() if 'id' in node.attributes]
    assert len(ids) == len(set(ids))
    assert all(th.attributes['scope'] in ('row', 'col') for th in page.all('th'))


def of_own(page):
    """Returns how many bytes of a page are neither libraries nor scripts."""
    scripts = [each for each in page.all('script') if 'id' not in each.attributes]
    return len(page.source.encode()) - sum(len(''.join(each.texts).encode()) for each in scripts)


def test_page_is_small(run):
    _, page = run
    assert len(page.source.encode()) < 1_000_000
    assert of_own(page) < 200_000


def test_sixty_classes_on_a_long_run_stay_small(tmp_path):
    run_dir = make_run(tmp_path / 'run', n_classes=60)
    noise = np.random.default_rng(0).random((20_000, 3)).tolist()
    with (run_dir / 'metrics.jsonl').open('w') as file:
        for step, (train_loss, accuracy, val_loss) in enumerate(noise):
            file.write(
                json.dumps(
                    {
                        'step': step,
                        'epoch': step / 40,
                        'train/loss': train_loss,
                        'train/accuracy': accuracy,
                        'val/loss': val_loss,
                    }
                )
                + '\n'
            )
    assert of_own(read_page(run_dir)) < 200_000


def test_same_folder_gives_same_bytes_also_from_the_command_line(tmp_path):
    run_dir = make_run(tmp_path / 'run')
    first = report.write_report(run_dir).read_bytes()
    assert report.write_report(run_dir).read_bytes() == first
    done = subprocess.run(
        [sys.executable, '-m', 'genre_jax.report', 'run'],
        cwd=tmp_path,
        text=True,
        check=True,
        capture_output=True,
        env=os.environ | {'PYTHONPATH': str(program.ROOT), 'PYTHONHASHSEED': '7'},
    )
    assert done.stdout.strip() == str(run_dir.resolve() / 'report.html')
    assert (run_dir / 'report.html').read_bytes() == first
    assert not list(run_dir.glob('*.tmp'))


def test_leaky_is_said_on_top_and_at_every_figure(tmp_path):
    clean = read_page(make_run(tmp_path / 'clean'))
    assert 'leaky' not in clean.text().lower()
    leaky = read_page(make_run(tmp_path / 'dirty', leaky=True))
    banner = leaky.all('body')[0].children[0].children[0]
    assert banner.attributes['role'] == 'alert'
    assert banner.text().startswith('LEAKY')
    assert leaky.all('title')[0].text().startswith('LEAKY')
    assert 'LEAKY' in [p.text() for p in leaky.all('p') if p.attributes.get('class') == 'big'][0]
    assert (leaky.drawn()['mark'], clean.drawn()['mark']) == ('LEAKY', '')  # on charts: tests/browser
    of_scores = [c.text() for c in leaky.all('caption') + leaky.all('figcaption')]
    assert len(leaky.all('figcaption')) == len(leaky.places())
    unmarked = [text for text in of_scores if not text.startswith('LEAKY')]
    assert unmarked == ['3 classes', 'Key facts']


def test_no_wrong_song(tmp_path):
    run_dir = make_run(tmp_path / 'run', n_classes=2)
    save_predictions(run_dir, class_names(2), [('song', 1, [0.4, 0.6])])
    assert 'every test song is classified correctly' in read_page(run_dir).text()


def test_few_songs_are_called_few(tmp_path):
    few = read_page(make_run(tmp_path / 'few', n_songs=29)).text()
    many = read_page(make_run(tmp_path / 'many', n_songs=30)).text()
    assert 'wide because the test holds only 29 songs' in few
    assert '3.4 points' in few  # one song of 29
    assert 'wide because' not in many
    result = result_of(tmp_path / 'few')
    for text in (few, many):
        assert 'how alike the songs of one group are (group key: artist)' in text
        assert (
            f'rest on {result["n_songs"]["test"]} test songs in {result["n_groups"]["test"]} groups'
        ) in text


@pytest.mark.parametrize('low, above', [(0.39, False), (0.41, True)])
def test_a_result_no_better_than_guessing_is_called_so(tmp_path, low, above):
    run_dir = make_run(tmp_path / 'run')
    result = result_of(run_dir)
    result['majority']['accuracy'] = 0.4
    result['parts']['test']['song_max_probability']['accuracy_ci95'] = [low, 0.9]
    write_json(run_dir / 'result.json', result)
    text = read_page(run_dir).text()
    assert ('The whole interval lies above chance' in text) == above
    assert ('does not show that the model tells the classes apart' in text) == (not above)


def test_what_the_tonic_alone_tells_stands_beside_the_result(tmp_path):
    run_dir = make_run(tmp_path / 'run')
    assert 'Who knows the tonic' not in read_page(run_dir).text()
    told = {'n': 9, 'accuracy': 0.709, 'accuracy_ci95': [0.56, 0.82], 'commonest': 0.4}
    write_json(run_dir / 'result.json', result_of(run_dir) | {'tonic_alone': told})
    page = read_page(run_dir)
    assert 'and nothing else names 70.9 % [56.0, 82.0] rightly' in page.text()
    assert page.drawn()['tonic_alone'] == told


@pytest.mark.parametrize('count', [0, 1, 250])
def test_quarantined_files_and_reasons(tmp_path, count):
    files = [{'path': f'jig/{i} <x> \udcff.wav', 'reason': f'reason & {i}'} for i in range(count)]
    page = read_page(make_run(tmp_path / 'run', quarantined=files))
    rows = [row.text() for row in page.all('tr') if 'jig/' in row.text()]
    assert len(rows) == min(count, 200)
    said = {0: 'No file was left out.', 1: '1 file was left out', 250: '250 files were left out'}
    assert said[count] in page.text()
    assert ('50 more stand in result.json' in page.text()) == (count == 250)
    for i, row in enumerate(rows):
        assert row == f'jig/{i} <x> \\udcff.wavreason & {i}'


def test_page_says_what_is_not_there(tmp_path):
    run_dir = make_run(tmp_path / 'run')
    optional = ('predictions/test.npz', 'timing.json', 'environment.json', 'metrics.jsonl')
    for name in (*optional, 'parameters.txt'):
        (run_dir / name).unlink()
    page = read_page(run_dir)
    for name in optional:
        assert f'{name} is absent' in page.text()
    assert 'Parameters of the model' not in page.text()
    assert page.places() == ['accuracy', 'confusion']


def test_a_last_program_that_trained_nothing_has_no_goodput(tmp_path):
    run_dir = make_run(tmp_path / 'run')
    timing = json.loads((run_dir / 'timing.json').read_text())
    for parts, told in (({'compute': 3.0, 'other': 1.0}, True), ({'compile': 3.0}, False), ({}, False)):
        write_json(run_dir / 'timing.json', timing | {'train_s': 4.0, 'train_parts_s': parts})
        assert ('75.0 % was computing' in read_page(run_dir).text()) == told


def test_page_does_without_validation(tmp_path):
    run_dir = make_run(tmp_path / 'run')
    result = result_of(run_dir)
    del result['parts']['val']
    for counts in (result['n_songs'], result['n_groups'], result['n_segments']):
        del counts['val']
    write_json(run_dir / 'result.json', result)
    rows = [json.loads(row) for row in (run_dir / 'metrics.jsonl').read_text().splitlines()]
    (run_dir / 'metrics.jsonl').write_text('\n'.join(json.dumps(row) for row in rows if 'train/loss' in row))
    page = read_page(run_dir)
    assert 'There is no validation part' in page.text()
    assert not page.drawn()['curves']['val/loss'] and {'loss', 'accuracies'} <= set(page.places())


def test_key_facts(tmp_path):
    text = read_page(make_run(tmp_path / 'run')).text()
    for fact in (
        '400 steps, 10 epochs',
        'step 320, epoch 8',
        'd4d4d4d4d4d4',
        'training 1 h 2 min',
        'preparation 41.2 s',
        '640 recordings, 5.25 h at 22050 Hz',
        'Python 3.12.4, jax 0.10.2',
    ):
        assert fact in text, fact


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-20])


def drop(*keys):
    def change(path):
        value = json.loads(path.read_text())
        inner = value
        for key in keys[:-1]:
            inner = inner[key]
        del inner[keys[-1]]
        write_json(path, value)

    return change


@pytest.mark.parametrize(
    'name, damage, said',
    [
        ('result.json', pathlib.Path.unlink, 'expected the folder of a finished run'),
        ('result.json', cut_short, 'cannot be read as JSON'),
        ('result.json', lambda path: path.write_text('[]'), 'lacks'),
        ('result.json', lambda path: path.write_bytes(b'\xff\xfe'), 'cannot be read as JSON'),
        ('result.json', drop('chance'), 'lacks chance'),
        ('result.json', drop('parts', 'test'), 'lacks parts.test.segment.n,'),
        (
            'result.json',
            drop('parts', 'test', 'segment', 'macro_f1'),
            'parts.test.segment.macro_f1',
        ),
        ('config.json', pathlib.Path.unlink, 'expected the folder of a finished run'),
        ('config.json', cut_short, 'cannot be read as JSON'),
        ('config.json', drop('model'), 'lacks model.name'),
        ('environment.json', cut_short, 'cannot be read as JSON'),
        ('metrics.jsonl', cut_short, 'line 20'),
        ('predictions/test.npz', cut_short, 'cannot be read'),
        ('predictions/test.npz', lambda path: path.write_bytes(b''), 'cannot be read'),
        ('predictions/test.npz', lambda path: np.savez(path, track=['a']), 'cannot be read'),
    ],
)
def test_damage_is_one_line_and_the_old_page_stays(tmp_path, name, damage, said):
    run_dir = make_run(tmp_path / 'run')
    (run_dir / 'report.html').write_text('old page')
    damage(run_dir / name)
    with pytest.raises(UserError) as caught:
        report.write_report(run_dir)
    message = str(caught.value)
    assert said in message
    assert pathlib.Path(name).name in message
    assert '\n' not in message
    assert (run_dir / 'report.html').read_text() == 'old page'
    flags.FLAGS.mark_as_parsed()
    with pytest.raises(UserError) as of_the_program:
        report_program.main(['report', str(run_dir)])
    assert str(of_the_program.value) == message


def test_predictions_of_another_run_are_refused(tmp_path):
    run_dir = make_run(tmp_path / 'run')
    save_predictions(run_dir, ['a', 'b', 'c'], [('song', 0, [1, 0, 0])])
    with pytest.raises(UserError, match='classes are not those of result.json'):
        report.write_report(run_dir)


def test_learnt_weights_of_layers_are_drawn(tmp_path):
    page = read_page(make_run(tmp_path / 'run', layer_weights=[0.5, 0.125, 0.25, 0.125]))
    drawn = page.drawn()['charts']['layers']
    assert [(row['name'], row['figures'][0]['value']) for row in drawn['rows']] == [
        ('layer 0', 0.5), ('layer 1', 0.125), ('layer 2', 0.25), ('layer 3', 0.125),
    ]  # fmt: skip
    assert drawn['lines'][0]['value'] == 0.25 and 'layers' in page.places()
    assert 'layers' not in read_page(make_run(tmp_path / 'other')).places()


@pytest.mark.parametrize(
    ('licence', 'said'),
    [
        ({'licence': 'CC BY-NC-SA 4.0 <x>'}, 'CC BY-NC-SA 4.0 <x>'), ({'licence': None}, 'not told'),
        ({}, 'not told'),
    ],
)  # fmt: skip
def test_the_licence_of_what_it_began_with_is_a_key_fact(tmp_path, licence, said):
    """Runs of a time when none was kept have no such key."""
    run_dir = make_run(tmp_path / 'run')
    environment = json.loads((run_dir / 'environment.json').read_text())
    init = {'title': 'MAEST', 'parameters_sha256': 'ab' * 32, **licence}
    write_json(run_dir / 'environment.json', environment | {'init': init})
    facts = read_page(run_dir).text()
    assert f'MAEST, parameters {"ab" * 6}; licence of the weights: {said}' in facts
    # Of models tested elsewhere no digest was kept at first.
    del init['parameters_sha256']
    write_json(run_dir / 'environment.json', environment | {'init': init})
    assert f'MAEST; licence of the weights: {said}' in read_page(run_dir).text()
