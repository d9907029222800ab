"""What the loop watches while it trains, and what it waited for."""

import time
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genre_jax.training import loop


def noted(norms):
    """The steps at which gradients of these lengths are worth a note, and how many times longer they are."""
    watched = loop._Norms()
    return {step: grown for step, norm in enumerate(norms) if (grown := watched.grown(norm))}


def test_a_gradient_far_longer_than_ever_is_noted_once_and_again_when_much_worse():
    usual = [0.5, 2.0] * 30  # geometric mean 1
    assert noted([*usual, 29.0]) == {}
    found = noted([*usual, 31.0, 40.0, 309.0, 400.0])
    np.testing.assert_allclose(list(found.values()), [31.0, 400.0])
    assert list(found) == [60, 63]


def test_gradients_that_grow_shorter_give_no_notes():
    """Of a network that has learned its songs a hard one is long against the others, not against before."""
    rng = np.random.default_rng(0)
    norms = np.exp(rng.normal(0, 0.5, 2000) - np.linspace(0, 8, 2000))
    norms[1500::97] *= 100
    assert noted(norms) == {}


def test_before_twenty_steps_and_without_numbers():
    assert noted([1.0] * 19 + [1e6]) == {}
    for norm in (np.inf, np.nan):
        (grown,) = noted([1.0] * 30 + [norm]).values()
        assert grown > 1e29


@pytest.fixture
def clock(tmp_path, monkeypatch):
    """A clock that shows the time that a test sets, in `now`."""
    monkeypatch.setattr(loop.time, 'monotonic', lambda: clock.now_s)
    clock = types.SimpleNamespace(now_s=100.0)
    logbook = types.SimpleNamespace(enabled=True, workdir=tmp_path)
    clock.parts = loop.Clock(logbook)
    yield clock
    clock.parts.close()


def test_the_parts_of_a_training_are_disjoint_and_all_of_its_time(clock):
    parts = clock.parts
    clock.now_s += 1
    parts.on('compute')
    clock.now_s += 2
    parts.on('data')
    clock.now_s += 4
    parts.on('data')
    clock.now_s += 8
    parts.part = 'compute'  # nothing waited for this batch
    parts.on('compute')
    clock.now_s += 16
    parts.on('save')
    clock.now_s += 32
    parts.on('other')
    clock.now_s += 64
    expected = {'other': 65, 'compute': 26, 'data': 4, 'save': 32, 'compile': 0}
    assert parts.seconds() == expected
    assert sum(expected.values()) == clock.now_s - parts.began_s


def test_what_is_compiled_inside_something_compiled_counts_once(clock):
    """As jax reports: at the end of each, the inner ones first, of one thing after another."""

    def report(event, duration_s):
        jax.monitoring.record_event_duration_secs(f'/jax/core/compile/{event}', duration_s)

    clock.parts.on('compute')
    clock.now_s = 103.0  # traced from 101 to 102 and 101 to 103, inside of 100.5 to 104
    report('jaxpr_trace_duration', 1.0)
    report('jaxpr_trace_duration', 2.0)
    clock.now_s = 104.0
    report('jaxpr_trace_duration', 3.5)
    clock.now_s = 106.0
    report('backend_compile_duration', 1.0)
    clock.now_s = 110.0
    clock.parts.on('evaluate')
    clock.now_s = 111.0
    report('backend_compile_duration', 1.0)
    jax.monitoring.record_event_duration_secs('/jax/something_else', 1.0)
    assert clock.parts.seconds() == {'compute': 5.5, 'compile': 5.5, 'evaluate': 0, 'other': 0}


def test_a_program_is_compiled_once_and_not_counted_as_compute(tmp_path):
    parts = loop.Clock(types.SimpleNamespace(enabled=True, workdir=tmp_path))
    program, seconds = jax.jit(lambda x: jnp.sin(x @ x).sum()), []
    for _ in range(2):
        parts.on('compute')
        program(jnp.ones((8, 8))).block_until_ready()
        seconds.append(parts.seconds())
    parts.close()
    assert 0 < seconds[0]['compile'] == seconds[1]['compile']
    assert min(seconds[1].values()) >= 0
    assert sum(seconds[1].values()) <= time.monotonic() - parts.began_s
