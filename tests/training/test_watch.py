"""Plateaus and early stopping, step by step, and in whole runs that are cut off."""

import numpy as np
import pytest

from genre_jax import config as config_lib
from genre_jax.configs import common
from genre_jax.errors import UserError
from genre_jax.training import watch


def settings(**keys):
    config = common.get_config()
    config.optim.learning_rate = 0.1
    for key, value in keys.items():
        section, name = key.split('__')
        config[section][name] = value
    config_lib.validate(config)
    return config


def go_through(config, values, metric):
    """What is remembered after each evaluation."""
    remembered, all_of_it = watch.initial(config), []
    for value in values:
        remembered = watch.observe(config, remembered, {metric: value})
        all_of_it.append(remembered)
    return all_of_it


def test_nothing_is_remembered_where_nothing_is_watched():
    assert watch.initial(settings()) == {}
    assert watch.observe(settings(), {}, {}) == {}
    assert not watch.stopped(settings(), {})


def test_the_rate_falls_after_more_than_the_patience():
    metric = 'val/song_majority/accuracy'
    config = settings(
        optim__schedule='plateau', optim__plateau_metric=metric,
        optim__plateau_patience=2, optim__plateau_factor=0.5,
    )  # fmt: skip
    # The gain of 1e-5 is none; 0.7 is.
    values = [0.5, 0.6, 0.6, 0.600001, 0.5, 0.6, 0.7, 0.1, 0.1, 0.1]
    scales = [float(r['plateau_scale']) for r in go_through(config, values, metric)]
    assert scales == [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.5, 0.25]


def test_the_rate_falls_to_the_least_one_and_stays():
    config = settings(
        optim__schedule='plateau', optim__plateau_metric='val/loss', optim__plateau_patience=0,
        optim__plateau_min_learning_rate=0.02,
    )  # fmt: skip
    scales = [float(r['plateau_scale']) for r in go_through(config, [1, 1, 1, 0.5], 'val/loss')]
    np.testing.assert_allclose(scales, [1, 0.2, 0.2, 0.2], rtol=1e-6)


@pytest.mark.parametrize(
    ('metric', 'values'),
    [
        ('val/loss', [1.0, 0.9, 0.95, 0.9, 0.89, 0.9, 0.9, 0.9]),
        ('val/segment/accuracy', [0.1, 0.2, 0.15, 0.2, 0.21, 0.2, 0.2, 0.2]),
    ],
)
def test_training_stops_at_the_patience(metric, values):
    config = settings(train__stop_metric=metric, train__stop_patience=3)
    ends = [watch.stopped(config, r) for r in go_through(config, values, metric)]
    assert ends == [False] * 7 + [True]


@pytest.mark.parametrize('key', ['optim__plateau_metric', 'train__stop_metric'])
def test_an_unknown_figure_is_named(key):
    with pytest.raises(UserError, match=r"='val/los'; did you mean 'val/loss'\?"):
        settings(**{key: 'val/los'})
