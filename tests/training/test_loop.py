"""What the loop watches while it trains."""

import numpy as np

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
