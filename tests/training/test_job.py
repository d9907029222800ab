"""A job for windows of another length than those it is trained on."""

import dataclasses
import json
import types

import jax
import pytest

from genre_jax import config as config_lib
from genre_jax import sharding
from genre_jax.errors import UserError
from genre_jax.loading.prepared import Stored
from genre_jax.training.job import make_job
from tests import program

RATE_HZ = 8000


@pytest.fixture(scope='module')
def job():
    config = config_lib.load_page(str(program.ROOT / 'tests' / 'tiny_page.py'))
    stored = Stored('audio', (round(config.windows.window_s * RATE_HZ),), RATE_HZ, ('a', 'b', 'c'))
    return make_job(config, stored, 160, sharding.make_mesh(jax.devices()[:1]))


def shorter(job, samples):
    return job.of_length(types.SimpleNamespace(stored=dataclasses.replace(job.stored, shape=(samples,))))


def test_its_own_config_stays_as_it_is(job):
    before = config_lib.to_json(job.config)
    other = shorter(job, RATE_HZ // 4)
    assert config_lib.to_json(job.config) == before
    assert other.config.windows.window_s == 0.25 and other.stored.shape == (RATE_HZ // 4,)
    changed = json.loads(config_lib.to_json(other.config))
    changed['windows']['window_s'] = job.config.windows.window_s
    assert changed == json.loads(before)


def test_what_the_model_does_not_take_is_refused(job):
    variables = jax.eval_shape(job.init, jax.random.key(0))
    job.check_takes(variables)
    for samples, message in ((RATE_HZ // 200, '0.005 s: '), (job.stored.shape[0] * 3, 'alone: expected ')):
        with pytest.raises(UserError, match=f'^config.eval.excerpts_s, .*{message}'):
            shorter(job, samples).check_takes(variables)
