"""Whole trainings where a copy from the devices to the host is refused unless it is asked for.

And where Python has nothing that it has on Linux alone.
"""

import jax
import jax.numpy as jnp
import pytest

from tests import other_machine, program

WAYS = {
    'streamed': (),
    'averaged': (
        '--config.optim.schedule=plateau',
        '--config.optim.ema_decay=0.9',
        '--config.train.stop_patience=3',
    ),
    'resident': ('--config.train.device_resident=True',),
    'several_steps': (
        '--config.train.device_resident=True',
        '--config.train.steps_per_dispatch=3',
        '--config.checkpoint.every=2 steps',
    ),
}


@pytest.fixture(scope='module')
def places(tmp_path_factory):
    home = tmp_path_factory.mktemp('guard')
    program.write_tones(home / 'tones', songs=6)
    return home


@pytest.mark.slow  # quick: tests/test_main.py
@pytest.mark.parametrize('way', WAYS)
def test_a_training_copies_nothing_unasked(places, way):
    words = program.command(
        places / way,
        places / 'tones',
        places / 'prepared',
        '--config.train.length=2 epochs',
        *WAYS[way],
    )
    words[words.index('genre_jax.main')] = 'tests.other_machine'
    ended = program.run(words, env=program.environment(devices=2, MACHINE='guarded,mac'))
    assert ended.returncode == 0, ended.stderr
    assert program.result(places / way)['steps'] > 0


def test_the_emulated_guard_refuses_what_was_not_asked_for(monkeypatch):
    """Of what a program may do by mistake: each would pass on a CPU."""
    for name in ('_value', 'copy_to_host_async'):  # to be put back
        monkeypatch.setattr(other_machine.ArrayImpl, name, getattr(other_machine.ArrayImpl, name))
    other_machine.guard_transfers()
    array = jnp.arange(3) + 0
    with jax.transfer_guard('disallow'):
        assert jax.device_get(array).tolist() == [0, 1, 2]
        for read in (
            lambda: array.tolist(),
            lambda: int(array[1]),
            lambda: bool((array == 0).all()),
        ):
            with pytest.raises(RuntimeError, match='guard|[Dd]isallowed'):
                read()
