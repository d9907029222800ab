"""Mistakes of the user: one line that names the culprit, exit code 2, nothing written is lost."""

import ast
import errno
import os
import shutil
import signal
import sys
import time
import types

import pytest

from genre_jax import errors, logbook
from genre_jax.data import folder, prepare
from genre_jax.errors import UserError
from tests import program

# Parameters that are larger than all other files together.
LARGE = '--config.model.hidden_units=32'


@pytest.fixture(scope='module')
def places(tmp_path_factory):
    path = tmp_path_factory.mktemp('bad_input')
    program.write_tones(path / 'tones')
    return path


@pytest.fixture(scope='module')
def unharmed(places):
    """A run to its end, with a W&B that cannot be imported."""
    (places / 'broken').mkdir()
    (places / 'broken' / 'wandb.py').write_text('raise ImportError("broken")')
    workdir, path = places / 'unharmed', str(places / 'broken')
    ended = run(places, workdir, LARGE, '--config.tracking.wandb=auto', PYTHONPATH=path)
    assert ended.returncode == 0, ended.stderr
    return workdir, ended


def run(places, workdir, *flags, root=None, prepared=None, prefix=(), **variables):
    """Runs one epoch of the tiny page; the runs share what XLA compiled."""
    short = '--config.train.length=1 epochs'
    prepared = prepared or places / 'prepared'
    words = program.command(workdir, root or places / 'tones', prepared, short, *flags)
    cache = {
        'JAX_COMPILATION_CACHE_DIR': str(places / 'compiled'),
        'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
    }
    return program.run([*prefix, *words], env=program.environment(**(cache | variables)))


def assert_refused(ended, *words):
    """The last line, and no other, is the error; it names what the user has to look at."""
    assert ended.returncode == 2, ended.stdout + ended.stderr
    assert 'Traceback' not in ended.stdout + ended.stderr
    lines = ended.stderr.splitlines()
    assert [line for line in lines if line.startswith('error: ')] == lines[-1:]
    for word in words:
        assert word in lines[-1]


# --- the command line: found before anything heavy is imported -----------------------------------


@pytest.mark.parametrize(
    ('flags', 'said'),
    [
        # Unknown keys, at every level and in every way to write them.
        ('--config.sed=1', "config.sed; did you mean 'config.seed'?"),
        ('--config.trian.batch_size=1', "did you mean 'config.train.batch_size'?"),
        ('--config.train.batchsize 1', "did you mean 'config.train.batch_size'?"),
        ('--config.data.rot=x', "did you mean 'config.data.root'?"),
        ('--config.model.hiden_units=1', "did you mean 'config.model.hidden_units'?"),
        ('--noconfig.model.batch_nrm', "did you mean 'config.model.batch_norm'?"),
        ('--config.split.fractions[0]=1', "did you mean 'config.split.fractions'?"),
        ('--config.train=5', 'config.train is a section: set its keys, config.train.'),
        # Values of the wrong type, or out of range.
        ('--config.train.batch_size=abc', '--config.train.batch_size=abc: expected int'),
        ('--config.train.batch_size=1.5', '--config.train.batch_size=1.5: expected int'),
        ('--config.train.batch_size=-3', 'config.train.batch_size=-3: expected a whole number'),
        ('--config.optim.learning_rate=x', '--config.optim.learning_rate=x: expected float'),
        ('--config.model.batch_norm=maybe', '--config.model.batch_norm=maybe: expected bool'),
        ('--config.split.fractions=(0.5,0.5)', 'config.split.fractions=(0.5, 0.5): expected three'),
        ('--config.split.fractions=(1,"b","c")', 'config.split.fractions=('),
        ('--config.train.length=10', "config.train.length='10': expected a duration"),
        ('--config.seed=4294967296', 'config.seed=4294967296: expected'),
        ('--config.data.prepared_dir=', "config.data.prepared_dir=''"),
        # Flags.
        ('--wokdir=x', "'wokdir'. Did you mean: workdir"),
        ('--distributed=maybe', '--distributed=maybe: expected bool'),
        ('--config=configs/folder.py', '--config is given 2 times'),
        ('extra', "unexpected argument 'extra'"),
    ],
)
def test_command_line(tmp_path, flags, said):
    workdir = tmp_path / 'run'
    words = program.command(workdir, 'nowhere', tmp_path / 'prepared', *flags.split())
    assert_refused(program.run(words), said)
    assert not workdir.exists()


@pytest.mark.parametrize(
    ('flags', 'said'),
    [
        ((), '--config=PAGE and --workdir=DIR are needed'),
        ((f'--config={program.PAGE}',), '--config=PAGE and --workdir=DIR are needed'),
        (('--workdir=x', '--config.seed=1'), '--config=PAGE is needed'),
        (
            ('--workdir=x', '--config=nowhere.py'),
            "nowhere.py', and the package has no page 'nowhere'",
        ),
        (('--workdir=x', '--config=configs'), "configs', and the package has no page 'configs'"),
        (('--workdir=x', '--config=configs/folder.py:foo=1'), 'configs/folder.py:foo=1'),
        (
            ('--workdir=x', '--config=configs/shallow_cnn_gtzan.py:foo=1'),
            "config argument 'foo=1': expected one of",
        ),
    ],
)
def test_missing_flags_and_pages(flags, said):
    assert_refused(program.run([sys.executable, '-m', 'genre_jax.main', *flags]), said)


@pytest.mark.parametrize(
    ('lines', 'said'),
    [
        (('def get_config(:',), 'line 1: SyntaxError'),
        (('x = 1',), 'it has no function get_config()'),
        (('import nowhere_to_be_found',), "line 1: ModuleNotFoundError: No module named 'nowhere"),
        (('def get_config():', '    return 1 / 0'), 'line 2: ZeroDivisionError'),
        (('def get_config():', '    pass'), 'returned NoneType'),
        (
            ('from configs import common', 'def get_config():', '    config = common.get_config()',
             '    config.train.batchsize = 3', '    return config'),
            "line 4: unknown key batchsize; did you mean 'batch_size'?",
        ),
        (
            ('from configs import common', 'def get_config():', '    config = common.get_config()',
             '    config.train.batch_size = "many"', '    return config'),
            "line 4: TypeError: Could not override field 'batch_size'",
        ),
        (
            ('import ml_collections', 'def get_config():',
             '    return ml_collections.ConfigDict({"seed": 1})'),
            'is missing: begin a page with common.get_config()',
        ),
    ],
)  # fmt: skip
def test_mistakes_in_a_page(tmp_path, lines, said):
    page = tmp_path / 'page.py'
    page.write_text('\n'.join(lines))
    words = [sys.executable, '-m', 'genre_jax.main', f'--config={page}', f'--workdir={tmp_path}']
    assert_refused(program.run(words), said)


@pytest.mark.parametrize(
    ('arguments', 'said'),
    [
        ('', 'usage: python -m genre_jax.data.prepare NAME'),
        ('foldr', "config.data.name='foldr'; did you mean 'folder'?"),
        ('folder --rot=x', "did you mean 'root'?"),
        ('folder --root=nowhere', 'nowhere does not exist'),
        ('folder --root=nowhere --chunk_s=abc', '--chunk_s=abc: expected float'),
    ],
)
def test_prepare_alone(arguments, said):
    words = [sys.executable, '-m', 'data.prepare', *arguments.split()]
    assert_refused(program.run(words), said)


# --- the machine and the folders -----------------------------------------------------------------


@pytest.mark.parametrize(
    ('variables', 'flag', 'said'),
    [
        ({'JAX_PLATFORMS': 'nonsense'}, '--nodistributed', "backend 'nonsense'"),
        ({'JAX_PLATFORMS': 'cuda'}, '--nodistributed', 'with JAX_PLATFORMS=cuda: '),
        ({'JAX_NUM_CPU_DEVICES': 'many'}, '--nodistributed', 'JAX_'),
        ({'JAX_NUM_PROCESSES': 'two'}, '--distributed', "'two'"),
        ({'JAX_NUM_CPU_DEVICES': '8'}, '--config.train.batch_size=12', 'train.batch_size=12'),
    ],
)
def test_machines(places, tmp_path, variables, flag, said):
    assert_refused(run(places, tmp_path / 'run', flag, **variables), said)


def test_folders_that_cannot_be_written(places, tmp_path):
    """Root may write everywhere but below what is no folder."""
    (tmp_path / 'file').touch()
    for workdir in (tmp_path / 'file', '/dev/null/run'):
        assert_refused(run(places, workdir), f'--workdir={workdir} cannot be used')
    source = folder.Source(root=str(places / 'tones'))
    with pytest.raises(UserError, match=r'config\.data\.prepared_dir: .*file.* cannot be used'):
        prepare.prepare(source, tmp_path / 'file', 5.0)


def test_a_damaged_run_folder(places, tmp_path):
    for name in ('config.json', 'result.json'):
        workdir = tmp_path / name
        workdir.mkdir()
        (workdir / name).write_text('{"seed": 0')
        assert_refused(run(places, workdir), f'{workdir / name} is damaged')
        assert (workdir / name).read_text() == '{"seed": 0'


def test_damaged_metrics_are_not_dropped(tmp_path):
    """Only the line that a kill cut off is: the last, without its end."""
    file = tmp_path / 'metrics.jsonl'
    config = types.SimpleNamespace(tracking=types.SimpleNamespace(wandb='off', tensorboard=False))
    book = logbook.Logbook(tmp_path, config)
    whole = b'{"step": 4}\n{"step": 8}\n'
    file.write_bytes(whole + b'{"step": 12')
    book.rewind(8)
    assert file.read_bytes() == whole
    for damage in (b'{"st\n', b'null\n', b'\xff\xfe\n', b'{"epoch": 1}\n'):
        file.write_bytes(damage + whole)
        with pytest.raises(UserError, match=r'metrics\.jsonl, line 1 is damaged'):
            book.rewind(8)
        assert file.read_bytes() == damage + whole


def test_a_machine_without_git(monkeypatch, tmp_path):
    """As the container is."""
    (tmp_path / 'sh').symlink_to('/bin/sh')
    monkeypatch.setenv('PATH', str(tmp_path))
    assert logbook.environment()['git_commit'] == 'unknown'


@pytest.mark.parametrize('damage', ['', '{"tracks"', 'null', '{}'])
def test_a_damaged_manifest(places, damage):
    source = folder.Source(root=str(places / 'tones'))
    prepared = prepare.prepare(source, places / 'prepared', 5.0)
    file = prepared / 'manifest.json'
    whole = file.read_text()
    try:
        file.write_text(damage)
        with pytest.raises(UserError, match=rf'{prepared}, it is prepared again'):
            prepare.prepare(source, places / 'prepared', 5.0)
    finally:
        file.write_text(whole)


@pytest.mark.slow
def test_a_mistake_is_corrected_in_the_same_run_folder(places, tmp_path):
    """What fails before the first step leaves no config behind that forbids the right one."""
    for flag, said in (
        ('--config.optim.warmup=200 percent', "config.optim.warmup='200 percent'"),
        ('--config.windows.window_s=0.05', 'config.windows.window_s'),
        ('--config.windows.window_s=1e9', 'out of memory'),
    ):
        assert_refused(run(places, tmp_path / 'run', flag), said)
        assert not (tmp_path / 'run' / 'config.json').exists()


# --- the recordings ------------------------------------------------------------------------------


def copy_songs(places, target, songs, classes=('low', 'mid', 'high')):
    for label in classes:
        (target / label).mkdir(parents=True)
        for song in range(songs):
            shutil.copy(places / 'tones' / label / f'{song:02d}.wav', target / label)


@pytest.mark.slow
def test_folders_without_enough_music(places, tmp_path):
    def refused(name, *said):
        ended = run(places, tmp_path / 'run', root=tmp_path / name, prepared=tmp_path / 'prepared')
        assert_refused(ended, *said)

    copy_songs(places, tmp_path / 'one', 3, classes=('low',))
    refused('one', "one holds 1 class ('low')")
    copy_songs(places, tmp_path / 'few', 2)
    few = (f"class '{name}' has 2 songs in 2 groups" for name in ('high', 'low', 'mid'))
    refused('few', *few, 'too few for train, val, test')
    copy_songs(places, tmp_path / 'text', 2)
    for file in (tmp_path / 'text').glob('*/*.wav'):
        file.write_text('This is no audio.')
    refused('text', 'none of the 6 files', 'text is usable audio', 'high/00.wav')
    (tmp_path / 'songs.csv').write_text('path,lable\na.wav,low\n')
    refused('songs.csv', 'songs.csv, line 1', 'lable -> label')


@pytest.mark.slow(but='data')
@pytest.mark.parametrize('name', ['data.prepare', 'data.audit', 'main'])
def test_names_that_move_the_cursor_are_written_out(name, places, tmp_path):
    """A file's and a class's name may hold line breaks and escapes; the terminal gets neither."""
    copy_songs(places, tmp_path / 'songs', 4)
    odd = tmp_path / 'songs' / 'high' / 'a\n\x1b[2Jerror: b.wav'
    odd.write_text('This is no audio.')
    (tmp_path / 'songs' / 'low').rename(tmp_path / 'songs' / 'lo\x1b[31mw')
    if name == 'main':
        ended = run(places, tmp_path / 'run', root=tmp_path / 'songs', prepared=tmp_path / 'prepared')
    else:
        words = ('folder', f'--root={tmp_path / "songs"}', '--sample_rate_hz=22050')
        ended = program.run([sys.executable, '-m', f'genre_jax.{name}', *words, f'--prepared_dir={tmp_path}'])
    assert ended.returncode == 0, ended.stderr
    said = ended.stdout + ended.stderr
    assert '\x1b' not in said.replace('\x1b[A', '')  # which tqdm may write
    (line,) = (line for line in ended.stderr.splitlines() if 'quarantined' in line)
    assert line.startswith(r'note: quarantined high/a\n\x1b[2Jerror: b.wav: ')
    assert not [line for line in ended.stderr.splitlines() if line.startswith('error: ')]


def test_names_in_the_last_lines_are_written_out(tmp_path):
    figures = {'accuracy': 0.5, 'accuracy_ci95': (0.2, 0.8)}
    kinds = ('segment', 'song_max_probability', 'song_majority')
    result = {
        'parts': {'test': dict.fromkeys(kinds, figures)}, 'leaky': False, 'classes': ['a', 'b'],
        'n_songs': {'test': 2}, 'n_groups': {'test': 2}, 'protocol': 'grouped', 'protocol_detail': 'x',
        'majority': {'class': 'lo\x1b[31mw', **figures}, 'chance': 0.5, 'quarantined': {'count': 0},
        'warnings': ['2 files are copies (a\n\x1b[2Jerror: b.wav)'],
    }  # fmt: skip
    lines = logbook.summary_lines(result, tmp_path)
    assert all(line.isprintable() for line in lines)
    assert any('always lo\\x1b[31mw' in line for line in lines)
    assert r'note: 2 files are copies (a\n\x1b[2Jerror: b.wav)' in lines


def test_lines_of_programs_are_written_out(capsys):
    errors.say('', 'lo\x1b[31mw\n\u202e', 'mid')
    assert capsys.readouterr().out == '\n' + r'lo\x1b[31mw\n\u202e' + '\nmid\n'


def test_no_program_prints_in_another_way():
    """But for those that print what the package itself says, and commands for a shell."""
    package = program.ROOT / 'genre_jax'
    other = 'errors program programs config/__main__ launch/command launch/local'.split()
    found = [
        f'{file.relative_to(package)}:{node.lineno}'
        for file in package.rglob('*.py')
        if str(file.relative_to(package).with_suffix('')) not in other
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == 'print'
    ]
    assert not found


@pytest.mark.parametrize(
    ('name', 'words'),
    [
        ('main', ['--fl\x1b[31mag=1']),
        ('main', ['--distributed=\x1b[31m']),
        ('label', ['a', 'b', '--batch_size=\x1b[31m']),
        ('convert', ['--checkpoint=\x1b[31m', '--out=\x1b[32m']),
        ('fo\x1b[31m', []),
    ],
)
def test_flags_that_move_the_cursor_are_written_out(name, words):
    ended = program.run([sys.executable, '-m', f'genre_jax.{name}', *words])
    assert_refused(ended, r'\x1b[31m')
    assert '\x1b' not in ended.stderr


@pytest.mark.parametrize(
    ('name', 'words'),
    [
        ('label', ['MODEL', 'a.wav', '--out=gs://bucket/labels']),
        ('convert', ['--checkpoint=yamnet', '--out=s3://bucket/model']),
        ('report', ['run', 'other', '--out=gs://bucket/page']),
        ('gallery', ['--out=gs://bucket/page']),
    ],
)
def test_what_is_written_lies_on_a_file_system(name, words):
    ended = program.run([sys.executable, '-m', f'genre_jax.{name}', *words])
    assert_refused(ended, words[-1], 'file system')
    assert not (program.ROOT / words[-1].removeprefix('--out=')).parent.exists()


def test_a_flag_that_is_needed_is_named():
    ended = program.run([sys.executable, '-m', 'genre_jax.convert', 'cnn14'])
    assert_refused(ended, '--checkpoint is missing: file of the checkpoint, or the name')


@pytest.mark.slow
def test_home_folders_and_object_stores(places, tmp_path):
    ended = run(
        places, '~/run', '--config.model.name=none', root='~/tones', prepared='~/prepared',
        HOME=str(tmp_path),
    )  # fmt: skip
    assert_refused(ended, "config.model.name='none'")
    ended = run(places, '~/run', root='~/tones', prepared='~/prepared', HOME=str(tmp_path))
    assert_refused(ended, f'{tmp_path}/tones')
    assert (tmp_path / 'run').is_dir() and not (program.ROOT / '~').exists()
    assert_refused(run(places, 'gs://bucket/run'), '--workdir=gs://bucket/run', 'file system')


@pytest.mark.parametrize('name', ['images', 'feature_table'])
def test_a_home_folder_in_any_flag(name, tmp_path):
    words = [sys.executable, '-m', 'genre_jax.data.prepare', name, '--root=~/none']
    ended = program.run(words, env=program.environment(HOME=str(tmp_path)))
    assert_refused(ended, f'{tmp_path}/none')


def test_home_folders_in_a_list(tmp_path):
    (tmp_path / 'one').mkdir()
    words = [sys.executable, '-m', 'genre_jax.blend', '--members=~/one,~/two', '--workdir=~/run']
    ended = program.run(words, env=program.environment(HOME=str(tmp_path)))
    assert_refused(ended, f'--members: {tmp_path}/two is no folder')


# --- while it trains -----------------------------------------------------------------------------


@pytest.mark.slow
def test_a_loss_that_is_not_finite(places, tmp_path):
    workdir = tmp_path / 'run'
    flags = ('--config.optim.learning_rate=1e30', '--config.checkpoint.every=1 steps')
    ended = run(places, workdir, *flags, '--config.optim.schedule=constant')
    assert_refused(ended, 'the loss became nan at step 2', 'config.optim.learning_rate')
    assert not list((workdir / 'checkpoints').iterdir())
    assert not (workdir / 'result.json').exists()


@pytest.mark.slow
def test_a_full_disk(places, unharmed, tmp_path):
    """A limit on the size of files fails where a full disk does; then there is room again."""

    def refused(limit_kib, prepared):
        prefix = ('bash', '-c', f'ulimit -S -f {limit_kib}; exec "$0" "$@"')
        ended = run(places, tmp_path / 'run', LARGE, prepared=prepared, prefix=prefix)
        assert_refused(ended, os.strerror(errno.EFBIG), '--workdir', 'config.data.prepared_dir')

    refused(40, tmp_path / 'prepared')
    refused(100, places / 'prepared')
    assert (tmp_path / 'run' / 'environment.json').exists()
    assert run(places, tmp_path / 'run', LARGE).returncode == 0
    for name in ('result.json', 'metrics.jsonl'):
        assert (tmp_path / 'run' / name).read_bytes() == (unharmed[0] / name).read_bytes(), name


@pytest.mark.slow(but='100')
@pytest.mark.parametrize('decoded', [1, 100])
def test_ctrl_c_during_preparation(decoded, places, tmp_path):
    """The signal reaches all processes, as from a terminal; none of them prints a traceback."""
    # Enough of them that the signal comes long before the last, however fast they are decoded; after
    # the first, jobs are still being handed out.
    for file in list(program.write_tones(tmp_path / 'many', songs=20).glob('*/*.wav')):
        content = bytearray(file.read_bytes())
        for i in range(30):  # no two alike: copies are decoded once
            content[1000 + i] ^= 1
            file.with_stem(f'{file.stem}_{i}').write_bytes(content)
    words = program.command(tmp_path / 'run', tmp_path / 'many', tmp_path / 'prepared')
    process = program.start(words)
    while len(list((tmp_path / 'prepared').glob('folder/records/*.partial/decoded/*.npy'))) < decoded:
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert output.splitlines()[-1] == 'interrupted: the same command continues'
    assert 'Traceback' not in output


@pytest.mark.slow
def test_tracking_never_stops_a_run(unharmed):
    workdir, ended = unharmed
    assert 'W&B does not start offline: broken' in ended.stderr
    assert (workdir / 'result.json').exists()


def test_the_gallery_refuses_a_file(tmp_path):
    (tmp_path / 'file').touch()
    for name in ('file', 'pictures.png'):
        words = [sys.executable, '-m', 'genre_jax.gallery', f'--out={tmp_path / name}']
        assert_refused(program.run(words), name, 'expected a folder')
    assert not (tmp_path / 'pictures.png').exists()
