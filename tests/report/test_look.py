"""What a page takes from `look/`, against what was written there by hand."""

import base64
import io
import json
import pathlib

import numpy as np
import PIL.Image
import pytest

from genre_jax.errors import UserError
from genre_jax.evaluation import evaluate
from genre_jax.report import look
from genre_jax.report import page as report
from tests.report import looks
from tests.report.test_report import class_names, make_run, read_page, save_predictions


@pytest.fixture
def run(tmp_path):
    """A run of five songs of four segments each, with something to look at."""
    run_dir = make_run(tmp_path / 'run')
    rng = np.random.default_rng(0)
    segments = [(f'song "{i % 5}"', i % 3, rng.dirichlet(np.ones(3))) for i in rng.permutation(20)]
    save_predictions(run_dir, class_names(3), segments)
    table = evaluate.Predictions.load(run_dir / 'predictions' / 'test.npz')
    table = evaluate.Predictions(**{**vars(table), 'start_s': rng.permutation(20).astype(np.float32)})
    table.save(run_dir / 'predictions' / 'test.npz')
    return run_dir, table, looks.write(run_dir, table)


def test_the_map_holds_every_segment(run):
    run_dir, table, (places, *_) = run
    drawn = read_page(run_dir).drawn()
    found, tracks = drawn['map'], drawn['songs']['track']
    assert [tracks[i] for i in found['song']] == table.track.tolist()
    assert found['predicted'] == table.probabilities.argmax(1).tolist()
    np.testing.assert_allclose(found['start_s'], table.start_s)
    for name in ('tsne', 'pca'):
        np.testing.assert_allclose(found[name], places[name], atol=6e-4)


def test_a_large_map_is_thinned_and_says_so(run):
    run_dir, table, _ = run
    row = np.arange(9000) % len(table.track)
    dots = np.zeros((9000, 2), np.float32)
    np.savez(run_dir / 'look' / 'map.npz', row=row, tsne=dots, pca=dots)
    page = read_page(run_dir)
    shown = len(page.drawn()['map']['song'])
    assert shown <= 4000
    assert f'Shown are {shown} of 9000' in page.text()


def test_sound_is_inside_the_page_or_linked(run):
    run_dir, _, (_, excerpts, *_) = run
    inside = read_page(run_dir).drawn()
    for each, written in zip(inside['excerpts'], excerpts, strict=True):
        assert inside['songs']['track'][each['song']] == written['track']
        assert (each['start_s'], each['end_s']) == (written['start_s'], written['end_s'])
        head, _, data = each['source'].partition(',')
        assert head == 'data:audio/ogg;base64'
        assert base64.b64decode(data) == (run_dir / 'look' / written['file']).read_bytes()
    linked = look.of_run(run_dir, evaluate.Predictions.load(run_dir / 'predictions' / 'test.npz'), 'linked')
    sources = [each['source'] for each in linked['excerpts']]
    assert sources == ['look/excerpt%200%23.opus', 'look/excerpt%201%23.opus', 'look/excerpt%202%23.opus']


def test_sound_of_the_dataset_is_linked_from_where_the_track_begins_in_it(run, tmp_path):
    run_dir, table, _ = run
    file = tmp_path / 'ein Lied #1.wav'
    times = {'start_s': 30.0, 'end_s': 60.0, 'file_start_s': -120.0}
    entry = {'track': table.track[0].item(), **times, 'file': str(file)}
    (run_dir / 'look' / 'excerpts.json').write_text(json.dumps([entry]))
    [found] = read_page(run_dir).drawn()['excerpts']
    assert found == {'song': 0, **times, 'source': file.as_uri()}


def test_a_map_of_a_handful_of_segments_has_principal_components_alone(run):
    run_dir, _, _ = run
    np.savez(run_dir / 'look' / 'map.npz', row=np.arange(3), pca=np.eye(3, 2, dtype=np.float32))
    found = read_page(run_dir).drawn()['map']
    assert found['pca'] == [[1, 0], [0, 1], [0, 0]] and 'tsne' not in found


def test_pages_stay_small_however_much_there_is(run):
    run_dir, table, (_, excerpts, *_) = run
    for each in excerpts:
        (run_dir / 'look' / each['file']).write_bytes(bytes(4_000_000))
    noise = np.random.default_rng(0).integers(0, 256, (2, 40, 400, 400), dtype=np.uint8)
    row = np.zeros(40, np.int32)
    np.savez(
        run_dir / 'look' / 'pictures.npz', row=row, spectrogram=noise[0], saliency=noise[1], kind='grad_cam'
    )
    assert report.write_report(run_dir).stat().st_size < 20_000_000
    sources = [each['source'][:5] for each in read_page(run_dir).drawn()['excerpts']]
    assert sources == ['data:', 'data:', 'look/']


def test_pictures_are_those_that_were_written_low_frequencies_below(run):
    run_dir, table, (_, _, row, written) = run
    drawn = read_page(run_dir).drawn()
    found = drawn['pictures']
    assert found['kind'] == 'occlusion' and len(found['segments']) == len(row)
    for i, each in enumerate(found['segments']):
        assert drawn['songs']['track'][each['song']] == table.track[row[i]]
        assert each['start_s'] == table.start_s[row[i]]
        pixels = np.array(PIL.Image.open(io.BytesIO(base64.b64decode(each['png']))))
        for layer, name in enumerate(('spectrogram', 'saliency')):
            np.testing.assert_array_equal(pixels[::-1, :, layer].T, written[name][i])


def test_the_same_folder_gives_the_same_bytes(run):
    first = report.write_report(run[0]).read_bytes()
    assert report.write_report(run[0]).read_bytes() == first


@pytest.mark.parametrize('name', ['map.npz', 'excerpts.json', 'pictures.npz'])
@pytest.mark.parametrize('damage', ['cut', 'other'])
def test_damage_is_one_line(run, name, damage):
    file = run[0] / 'look' / name
    if damage == 'cut':
        file.write_bytes(file.read_bytes()[:-30])
    elif name == 'excerpts.json':
        next(file.parent.glob('*.opus')).unlink()
    else:
        arrays = dict(np.load(file))
        np.savez(file, **{**arrays, 'row': arrays['row'] + 1000})
    with pytest.raises(UserError, match=name) as caught:
        report.write_report(run[0])
    assert '\n' not in str(caught.value)


def test_no_file_outside_the_folder_is_read(run):
    """A list that names ../../secret reads `look/secret`, which is not there."""
    secret = pathlib.Path(run[0].parent / 'secret')
    secret.write_text('secret')
    file = run[0] / 'look' / 'excerpts.json'
    file.write_text(file.read_text().replace('excerpt 0#.opus', '../../secret'))
    with pytest.raises(UserError, match=r'excerpts\.json'):
        report.write_report(run[0])
