"""Beginning at a checkpoint: what is taken, what stays new, and what does not fit."""

import dataclasses
import functools
import hashlib
import http.server
import json
import threading

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genre_jax import features, models
from genre_jax.convert import checkpoint, engine, fetch, init_from, store, tables
from genre_jax.convert.engine import Converted
from genre_jax.errors import UserError
from genre_jax.features.melody import Melody
from genre_jax.features.stored import Table
from tests import golden, program


@functools.cache
def cnn6():
    tensors = golden.state_dict(golden.cnn_shapes((64, 128, 256, 512), 5, 1, num_classes=5))
    return engine.convert(tensors, engine.recognise(tensors, tables.TABLES, 'x'), {}, 'x')


def begin(source, name='cnn14', new='', labels=('a', 'b', 'c'), picture=(40, 64), **settings):
    model = models.build({'name': name, **settings}, len(labels))
    zeros = jnp.zeros((1, *picture))
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(1), zeros, train=False))
    rng = np.random.default_rng(1)
    fresh = jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape, np.float32), shapes)
    variables, notes = init_from.variables(
        source, model, fresh, name=name, new=new, labels=labels, picture=picture
    )
    return *(flax.traverse_util.flatten_dict(v, sep='/') for v in (variables, fresh)), notes


def test_everything_but_the_head_is_taken():
    source = cnn6()
    variables, fresh, notes = begin(source, variant='cnn6')
    assert variables.keys() == fresh.keys()
    for path, value in variables.items():
        expected = fresh if 'fc_audioset' in path else source.variables
        np.testing.assert_array_equal(value, expected[path], err_msg=path)
    assert 'new: fc_audioset' in notes[0]


@pytest.mark.parametrize('name', fetch.PUBLISHED)
def test_the_licence_of_a_published_name(name, tmp_path, monkeypatch):
    """That of conversions of a time when none was kept, too."""
    monkeypatch.setattr(init_from, 'cache', lambda: tmp_path)
    store.save(cnn6(), tmp_path / 'converted' / name, {})
    licence = init_from.find(name).licence
    known = {'cnn': 'CC BY 4.0', 'musicnn': 'ISC', 'vgg_': 'ISC', 'crepe': 'MIT'}
    known |= {'passt': 'Apache-2.0', 'dasheng': 'Apache-2.0', 'maest': 'CC BY-NC-SA 4.0', 'mn': 'MIT'}
    assert licence.startswith(next((known[k] for k in known if name.startswith(k)), 'unknown: see https://'))


@pytest.mark.parametrize('name', [name for name, each in fetch.PUBLISHED.items() if each.settings])
def test_settings_of_a_published_name_are_those_that_a_user_may_name(name):
    """And the front end that an EfficientAT is told to have can be."""
    published = fetch.PUBLISHED[name]
    key, value = next(iter(published.settings.items()))
    with pytest.raises(UserError, match=f'^{name} has {key}={value}, and {key}={value + 1} is named'):
        checkpoint.convert_checkpoint(name, overrides={key: value + 1})
    sizes = {size for table in tables.TABLES if table.model == published.model for size in table.sizes}
    assert published.settings.keys() <= sizes | models.takes(published.model).keys()
    if published.model == 'efficientat':
        heard = features.build({'name': 'efficientat', **published.settings})
        assert heard.hop_length / heard.sample_rate_hz * 1000 in (10, 15, 20, 25)


def test_of_the_same_classes_the_head_is_taken_too():
    labels = ('a', 'b', 'c', 'd', 'e')
    source = dataclasses.replace(cnn6(), labels=list(labels))
    variables, _, _ = begin(source, variant='cnn6', labels=labels)
    path = 'params/fc_audioset/kernel'
    np.testing.assert_array_equal(variables[path], source.variables[path])
    other, fresh, _ = begin(source, variant='cnn6', labels=labels[::-1])
    np.testing.assert_array_equal(other[path], fresh[path])


def test_further_layers_stay_new_where_the_config_says_so():
    source = cnn6()
    variables, fresh, _ = begin(source, new='fc1|conv_block4', variant='cnn6', embedding_units=7)
    for path, value in variables.items():
        is_new = any(name in path for name in ('fc1', 'conv_block4', 'fc_audioset'))
        np.testing.assert_array_equal(value, (fresh if is_new else source.variables)[path])


def test_positions_of_ast_fit_the_length_of_the_pictures():
    shapes = golden.ast_shapes(8 * 10 + 2, 4, width=64, depth=1)
    tensors = golden.state_dict(shapes)
    table = engine.recognise(tensors, tables.TABLES, 'x')
    settings = {'heads': 1, 'frequency_stride': 16, 'time_stride': 16}
    source = engine.convert(tensors, table, settings, 'x')
    assert source.picture == (160, 128)
    small = {**settings, 'width': 64, 'depth': 1}
    variables, _, notes = begin(source, 'ast', picture=(64, 128), **small)
    # Four of ten columns, from the middle: the third to the sixth, in each of eight rows.
    grid = tensors['v.pos_embed'][0, 2:].reshape(8, 10, 64)
    expected = np.concatenate([tensors['v.pos_embed'][0, :2], grid[:, 3:7].reshape(-1, 64)])
    np.testing.assert_array_equal(variables['params/pos_embed'][0], expected)
    assert 'params/pos_embed: 82 positions -> 34' in notes


@pytest.mark.parametrize(
    ('keys', 'words'),
    [
        ({'variant': 'cnn10'}, 'params/conv_block4/conv2/kernel is not in the checkpoint'),
        ({'variant': 'cnn6', 'embedding_units': 9}, r'fc1/bias has the shape \(512,\) there and \(9,\)'),
        ({'name': 'mlp', 'picture': (2, 2)}, "holds a cnn14, and config.model.name is 'mlp'"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told(keys, words):
    with pytest.raises(UserError, match=words) as error:
        begin(cnn6(), **keys)
    assert '\n' not in str(error.value)


def test_settings_that_differ_are_told():
    source = dataclasses.replace(cnn6(), settings={'variant': 'cnn6', 'block_dropout': 0.7})
    _, _, notes = begin(source, variant='cnn6')
    assert 'the checkpoint was made for block_dropout=0.7, config.model has 0.2' in notes


def test_what_is_no_checkpoint(tmp_path):
    with pytest.raises(UserError, match='no published checkpoint of that name; expected one of ast'):
        init_from.find(str(tmp_path / 'nothing'))
    (tmp_path / 'western_run').mkdir()
    for wrong, near in {
        'musicn_msd': 'musicnn_msd',
        'yamnett': 'yamnet',
        str(tmp_path / 'westernrun'): str(tmp_path / 'western_run'),
    }.items():
        with pytest.raises(UserError, match=f'of that name; did you mean {near!r}'):
            init_from.find(wrong)
    (tmp_path / 'config.json').write_text('{}')
    with pytest.raises(UserError, match='has not finished'):
        init_from.find(str(tmp_path))


# --- fetching ------------------------------------------------------------------------------------

CONTENT = np.random.default_rng(0).bytes(3 << 20)


class Ranges(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT, from where the client asks; '/short' breaks off; '/whole' knows no ranges."""

    asked: list = []

    def do_GET(self):
        start = int(self.headers.get('Range', 'bytes=0-')[6:-1])
        Ranges.asked.append(start)
        start = 0 if 'whole' in self.path else start
        self.send_response(206 if start else 200)
        self.send_header('Content-Length', str(len(CONTENT) - start))
        self.end_headers()
        end = len(CONTENT) // 2 if 'short' in self.path and not start else len(CONTENT)
        self.wfile.write(CONTENT[start:end])

    def log_message(self, *words):
        pass


@pytest.fixture
def server(monkeypatch, tmp_path):
    Ranges.asked = []
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Ranges)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv('GENRE_JAX_CACHE', str(tmp_path))

    def publish(path, digest=None):
        digest = digest or f'sha256:{hashlib.sha256(CONTENT).hexdigest()}'
        url = f'http://127.0.0.1:{server.server_port}/{path}'
        monkeypatch.setitem(fetch.PUBLISHED, 'x', fetch.Published(url, 'x.pth', digest, 'cnn14'))

    yield publish
    server.shutdown()


def test_a_file_is_fetched_once(server):
    server('plain')
    assert fetch.fetch('x').read_bytes() == CONTENT
    assert fetch.fetch('x').read_bytes() == CONTENT
    assert Ranges.asked == [0]


@pytest.mark.parametrize('path', ['short', 'short/whole'])
def test_a_download_that_broke_off_goes_on(server, path, tmp_path):
    server(path)
    with pytest.raises(UserError, match='broke off|cannot be fetched'):
        fetch.fetch('x')
    assert (tmp_path / 'x.pth.part').stat().st_size == len(CONTENT) // 2
    if 'whole' in path:
        server('whole')
    assert fetch.fetch('x').read_bytes() == CONTENT
    assert Ranges.asked == [0, len(CONTENT) // 2]


def test_a_wrong_file_is_refused(server, tmp_path):
    server('plain', 'md5:00000000')
    with pytest.raises(UserError, match='its md5 is .*, expected 00000000'):
        fetch.fetch('x')
    assert [file.name for file in tmp_path.iterdir()] == ['.lock']


def test_a_damaged_file_in_the_cache_is_refused(server, tmp_path):
    server('plain')
    fetch.fetch('x')
    (tmp_path / 'x.pth').write_bytes(CONTENT[:-1])
    with pytest.raises(UserError, match='remove it and run the same command again'):
        fetch.fetch('x')


def test_without_network_the_line_says_where_to_put_the_file(monkeypatch, tmp_path):
    monkeypatch.setenv('GENRE_JAX_CACHE', str(tmp_path))
    nowhere = fetch.Published('http://127.0.0.1:9/x.pth', 'x.pth', 'md5:0', 'cnn14')
    monkeypatch.setitem(fetch.PUBLISHED, 'x', nowhere)
    with pytest.raises(UserError, match=f'put it at {tmp_path}/x.pth'):
        fetch.fetch('x')


# --- the whole program ---------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_begins_where_another_ended(tmp_path):
    program.write_tones(tmp_path / 'tones', songs=6)
    flags = ('--config.train.length=2 epochs', '--config.optim.learning_rate=1e-3')

    def run(name, *more):
        words = program.command(tmp_path / name, tmp_path / 'tones', tmp_path / 'prepared', *flags, *more)
        ended = program.run(words)
        assert ended.returncode == 0, ended.stderr
        return ended

    run('first')
    first = store.load(tmp_path / 'first' / 'model')
    assert first.model == 'shallow_cnn' and first.labels == ['high', 'low', 'mid']
    again = run(
        'second', f'--config.init.checkpoint={tmp_path / "first"}', '--config.seed=1',
        '--config.optim.freeze=conv_.*|bn_.*|fc_1',
    )  # fmt: skip
    assert 'arrays from the checkpoint (run of genre_jax); new: none' in again.stdout
    second = store.load(tmp_path / 'second' / 'model')
    for path, value in second.variables.items():
        same = value.tobytes() == first.variables[path].tobytes()
        assert same == ('fc_2' not in path), path
    wrong = program.run(
        program.command(
            tmp_path / 'third', tmp_path / 'tones', tmp_path / 'prepared',
            f'--config.init.checkpoint={tmp_path / "first"}', '--config.model.hidden_units=9',
        )
    )  # fmt: skip
    assert wrong.returncode == 2 and 'config.init.new' in wrong.stderr.splitlines()[-1]


def test_a_front_end_is_that_of_the_checkpoint():
    source = dataclasses.replace(cnn6(), features='yamnet')
    of_yamnet = features.build({'name': 'yamnet'})
    assert init_from.check_front_end(source, of_yamnet, accepted=False) == []
    panns = features.build({'name': 'panns_16k'})
    with pytest.raises(UserError, match=r'another front end.*f_min_hz 125.0 there, 50.0 here'):
        init_from.check_front_end(source, panns, accepted=False)
    (line,) = init_from.check_front_end(source, panns, accepted=True)
    assert 'compression' in line
    # A run's is that with the fields it was trained with, whatever its flavour has.
    fields = dataclasses.asdict(dataclasses.replace(of_yamnet, n_fft=1024))
    run = dataclasses.replace(source, front_end=fields)
    with pytest.raises(UserError, match='n_fft 1024 there, 512 here'):
        init_from.check_front_end(run, of_yamnet, accepted=False)
    assert init_from.check_front_end(run, dataclasses.replace(of_yamnet, n_fft=1024), False) == []
    # Of a file of weights alone nothing is known; photographs have no front end.
    unknown = dataclasses.replace(source, features='')
    (line,) = init_from.check_front_end(unknown, panns, accepted=False)
    assert line.startswith('the checkpoint does not say which front end it was trained with')
    of_colours = dataclasses.replace(unknown, picture=(224, 224, 3))
    assert init_from.check_front_end(of_colours, panns, accepted=False) == []


def test_front_ends_of_pitch_are_compared_too():
    """What is fitted to the recordings is not."""
    fitted = Melody(components=2, delays_s=(1.0,), frequencies=(0, 1), basis=(0.5,) * (2 * 53 * 2))
    kept = json.loads(json.dumps(dataclasses.asdict(fitted)))
    source = Converted('t', 'orbit', {}, 2, 'melody', (2, 9), {}, [], front_end=kept)
    own = Melody(components=2, delays_s=(1.0,))
    assert init_from.check_front_end(source, own, accepted=False) == []
    with pytest.raises(UserError, match=r'another front end.*delays_s \[1.0\] there, \[0.5\] here'):
        init_from.check_front_end(source, dataclasses.replace(own, delays_s=(0.5,)), accepted=False)
    with pytest.raises(UserError, match='Spectrogram there, Melody here'):
        init_from.check_front_end(dataclasses.replace(cnn6(), features='yamnet'), own, accepted=False)
    # The same fields, but another computation.
    tonic = features.build({'name': 'tonic_constant_q'})
    run = dataclasses.replace(cnn6(), features='constant_q', front_end=dataclasses.asdict(tonic))
    with pytest.raises(UserError, match='ConstantQ there, TonicConstantQ here'):
        init_from.check_front_end(run, tonic, accepted=False)


@pytest.mark.parametrize(
    ('heard', 'said'),
    [
        ((3.0, 44100), []),
        ((3.0, 22050), []),  # more than the front end takes of either
        ((10.0, 44100), ['trained on windows of 3 s, and hears windows of 10 s here']),
        ((0.0, 44100), ['trained on windows of 3 s, and hears whole recordings here']),
        ((3.0, 8000), ['trained on recordings at 44100 Hz, and hears some at 8000 Hz here']),
    ],
)
def test_other_windows_and_rates_than_a_run_heard_are_said(heard, said):
    run = dataclasses.replace(cnn6(), window_s=3.0, whole=False, sample_rate_hz=44100)
    lines = init_from.other_recordings(run, features.build({'name': 'yamnet'}), *heard)
    assert lines == [f'the checkpoint was {each}' for each in said]
    # A published checkpoint does not say; pictures have no length.
    assert init_from.other_recordings(cnn6(), features.build({'name': 'yamnet'}), *heard) == []
    assert init_from.other_recordings(run, features.build({'name': 'picture'}), *heard) == []


def test_a_fitted_basis_is_the_checkpoints():
    """As it comes back from JSON; a front end that describes melodies otherwise keeps its own."""
    fitted = Melody(components=2, delays_s=(1.0,), frequencies=(0, 1), basis=(0.5,) * (2 * 53 * 2))
    kept = json.loads(json.dumps(dataclasses.asdict(fitted)))
    source = Converted('t', 'orbit', {}, 2, 'melody', (2, 9), {}, [], front_end=kept)
    assert init_from.with_its_basis(source, Melody(components=2, delays_s=(1.0,))) == fitted
    others = (
        Melody(components=3, delays_s=(1.0,)),
        Melody(components=2, delays_s=(0.5,)),
        Melody(components=2, delays_s=(1.0,), bins_per_octave=51),
        Table(),
    )
    for other in others:
        assert init_from.with_its_basis(source, other) is other
    unknown = dataclasses.replace(source, front_end=None)
    assert init_from.with_its_basis(unknown, others[0]) is others[0]
