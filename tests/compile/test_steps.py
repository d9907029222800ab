"""What compiling for absent devices counts and refuses; what their compilers say: tests/accelerators."""

import importlib.util

import jax
import jax.numpy as jnp
import pytest

from genre_jax.compile import steps as compiling
from genre_jax.config import pages
from genre_jax.errors import UserError


def operations(function, *shapes):
    arrays = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return compiling.count_operations(jax.jit(function).trace(*arrays).jaxpr)


def convolution(x, kernel, **settings):
    numbers = ('NHWC', 'HWIO', 'NHWC')
    return jax.lax.conv_general_dilated(x, kernel, padding='VALID', dimension_numbers=numbers, **settings)


def test_operations_of_products():
    assert operations(jnp.matmul, (5, 7), (7, 11)) == 2 * 5 * 7 * 11
    assert (
        operations(lambda a, b: jnp.einsum('bij,bjk->bik', a, b), (3, 5, 7), (3, 7, 2)) == 2 * 3 * 5 * 7 * 2
    )
    # The gradients by both factors are as much again, each.
    both = jax.grad(lambda a, b: (a @ b).sum() ** 2, (0, 1))
    assert operations(both, (5, 7), (7, 11)) == 3 * 2 * 5 * 7 * 11


def test_operations_of_convolutions():
    x, kernel = (2, 10, 9, 3), (4, 5, 3, 8)
    forwards = 2 * (2 * 7 * 5 * 8) * (4 * 5 * 3)
    assert operations(lambda x, k: convolution(x, k, window_strides=(1, 1)), x, kernel) == forwards
    grouped = 2 * (2 * 7 * 5 * 9) * (4 * 5 * 1)
    by_channel = (4, 5, 1, 9)
    found = operations(
        lambda x, k: convolution(x, k, window_strides=(1, 1), feature_group_count=3), x, by_channel
    )
    assert found == grouped


def test_loops_and_branches():
    def looped(x, w):
        return jax.lax.scan(lambda carry, _: (carry @ w, None), x, length=6)[0]

    assert operations(looped, (5, 7), (7, 7)) == 6 * 2 * 5 * 7 * 7

    def branched(x, w):
        return jax.lax.platform_dependent(x, w, cpu=lambda x, w: x @ w, default=lambda x, w: x @ w @ w)

    assert operations(branched, (5, 7), (7, 7)) == 2 * 2 * 5 * 7 * 7


@pytest.mark.parametrize(
    'target', ['h100', 'h100x0', 'v7-8', 'v6e', 'v6e-4,x', ' v6e-4', 'gpu', 'v6e-1000000', '']
)
def test_targets_that_are_none(target):
    with pytest.raises(UserError, match=r'--target=.*: expected h100xN'):
        compiling.devices_of(target)


@pytest.mark.parametrize('target', ['h100x1', 'v5p-8'])
def test_compilers_that_are_not_installed(target, monkeypatch):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(UserError, match=f'--target={target}: its compiler is not installed'):
        compiling.devices_of(target)


@pytest.mark.parametrize('target', ['h100x9', 'h200x12', 'h200x1032', 'v6e-3', 'v6e-512', 'v5p-2', 'v5p-9'])
def test_sizes_that_no_target_has(target):
    with pytest.raises(UserError, match=f'--target={target}: expected'):
        compiling.devices_of(target)


def job_on(page, target, monkeypatch, **batch):
    """Opens a packaged page on this machine's devices in the place of a target's."""
    monkeypatch.setattr(compiling, 'devices_of', lambda target: (compiling.KINDS['v6e'], jax.devices()))
    config = pages.load_page(page)
    config.init.checkpoint = ''
    config.train.update(batch)
    return compiling.open_job(config, target, classes=10)[1]


def test_a_batch_that_cannot_be_divided_names_the_target(monkeypatch):
    odd = 8 * len(jax.devices()) + 1
    with pytest.raises(UserError, match=rf'--target=v6e-8: config.train.batch_size={odd} .* 8 devices'):
        job_on('ma_mlp', 'v6e-8', monkeypatch, batch_size=odd)


def test_features_computed_once_are_no_part_of_the_step(monkeypatch):
    job = job_on('raag_orbit', 'v6e-8', monkeypatch, batch_size=8)
    takes = compiling.programs(job)['train'](8).jaxpr.in_avals
    assert (8, *job.picture) in [x.shape for x in takes] and jnp.int16 not in [x.dtype for x in takes]
