"""Checkpoints: what is kept, what is found damaged, and that a restored state is the saved one."""

import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genre_jax import sharding
from genre_jax.errors import UserError
from genre_jax.training.checkpoint import Checkpoints, digest


def state_of(step):
    rng = np.random.default_rng(step)
    tree = {
        'params': {'kernel': rng.standard_normal((50, 30)).astype(np.float32)},
        'opt': [np.int32(step), {'mu': rng.standard_normal(7).astype(np.float32)}],
    }
    return jax.device_put(tree, sharding.replicated(sharding.make_mesh()))


def shapes_of(state):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state)


def fill(folder, ranks):
    checkpoints = Checkpoints(folder, keep_latest=2)
    for step, rank in ranks:
        checkpoints.save(step, state_of(step), rank)
    checkpoints.close()


def steps_in(folder):
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())


@pytest.fixture(scope='module')
def filled(tmp_path_factory):
    folder = tmp_path_factory.mktemp('run') / 'checkpoints'
    fill(folder, [(10, [0.1, -10]), (20, [0.5, -20]), (30, [0.5, -30]), (40, None), (50, None)])
    return folder


@pytest.fixture
def copy(filled, tmp_path):
    shutil.copytree(filled.parent, tmp_path / 'run')
    return tmp_path / 'run' / 'checkpoints'


def restore(folder):
    checkpoints = Checkpoints(folder, keep_latest=2)
    step, state = checkpoints.restore_latest(shapes_of(state_of(0)))
    checkpoints.close()
    return step, state


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_the_two_latest_and_the_first_best_are_kept(filled):
    assert steps_in(filled) == [20, 40, 50]
    assert steps_in(filled) == sorted(int(p.stem) for p in pathlib.Path(f'{filled}_sha256').iterdir())


def test_the_latest_and_the_best_come_back_bit_for_bit(copy):
    step, state = restore(copy)
    assert step == 50
    assert_same(state, state_of(50))
    checkpoints = Checkpoints(copy, keep_latest=2)
    step, state = checkpoints.restore_best(shapes_of(state_of(0)))
    assert step == 20
    assert_same(state, state_of(20))


def test_an_empty_folder_has_nothing_to_restore(tmp_path):
    checkpoints = Checkpoints(tmp_path / 'checkpoints', keep_latest=2)
    assert checkpoints.restore_latest(shapes_of(state_of(0))) is None
    with pytest.raises(UserError, match='no evaluated checkpoint'):
        checkpoints.restore_best(shapes_of(state_of(0)))


def damage(file, how):
    content = file.read_bytes()
    if how == 'deleted':
        file.unlink()
    elif how == 'emptied':
        file.write_bytes(b'')
    elif how == 'cut':
        file.write_bytes(content[: len(content) // 2])
    else:
        middle = len(content) // 2
        file.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])


@pytest.mark.parametrize('how', ['deleted', 'emptied', 'cut', 'one bit flipped'])
def test_damage_to_any_file_of_the_newest_falls_back_to_the_one_before(filled, tmp_path, how, caplog):
    files = [path.relative_to(filled) for path in (filled / '50').rglob('*') if path.is_file()]
    assert len(files) > 5
    for number, file in enumerate(files):
        folder = tmp_path / str(number) / 'checkpoints'
        shutil.copytree(filled.parent, folder.parent)
        damage(folder / file, how)
        caplog.clear()
        step, state = restore(folder)
        assert step == 40, file
        assert_same(state, state_of(40))
        assert 'step 50 is damaged: falling back' in caplog.text
        assert (folder.parent / 'checkpoints_damaged' / '50').is_dir()


def test_a_save_cut_off_before_its_checksums_does_not_count(copy, caplog):
    (copy.with_name('checkpoints_sha256') / '50.json').unlink()
    assert restore(copy)[0] == 40
    assert 'step 50 was not finished' in caplog.text


def test_an_orbax_save_cut_off_in_the_middle_is_cleared_away(copy):
    leftover = copy / '60.orbax-checkpoint-tmp-7'
    shutil.copytree(copy / '50', leftover)
    assert restore(copy)[0] == 50
    assert not leftover.exists()


def test_after_a_fallback_the_same_step_can_be_saved_again(copy):
    damage(copy / '50' / '_CHECKPOINT_METADATA', 'cut')
    checkpoints = Checkpoints(copy, keep_latest=2)
    checkpoints.save(50, state_of(50), [0.9, -50])
    checkpoints.close()
    step, state = restore(copy)
    assert step == 50
    assert_same(state, state_of(50))


def test_the_digest_sees_values_names_types_and_shapes():
    tree = {'a': jnp.arange(6.0), 'b': jnp.int32(1)}
    same = {'b': jnp.int32(1), 'a': jnp.arange(6.0)}
    others = [
        tree | {'b': jnp.int32(2)},
        tree | {'b': jnp.float32(1)},
        tree | {'a': jnp.arange(6.0).reshape(2, 3)},
        {'a': jnp.arange(6.0), 'c': jnp.int32(1)},
        tree | {'a': jnp.arange(6.0).at[0].set(-0.0)},
    ]
    assert digest(tree) == digest(same)
    assert len({digest(tree), *map(digest, others)}) == 1 + len(others)
