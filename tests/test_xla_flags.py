"""Flags that XLA reads from the environment."""

import importlib.util
import os

import jax
import jax.numpy as jnp

from genre_jax import xla_flags

FLAG = '--xla_cpu_experimental_ynn_fusion_type'


def test_flags_that_were_there_stay(monkeypatch):
    monkeypatch.setenv('XLA_FLAGS', '--xla_cpu_multi_thread_eigen=true')
    xla_flags.set_flags()
    first = os.environ['XLA_FLAGS']
    assert first.startswith(f'--xla_cpu_multi_thread_eigen=true {FLAG}=')
    xla_flags.set_flags()
    assert os.environ['XLA_FLAGS'] == first
    monkeypatch.setenv('XLA_FLAGS', f'{FLAG}=individual_dot')
    xla_flags.set_flags()
    assert os.environ['XLA_FLAGS'] == f'{FLAG}=individual_dot'


def test_a_tpu_is_left_alone(monkeypatch):
    monkeypatch.delenv('XLA_FLAGS', raising=False)
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: name == 'libtpu')
    xla_flags.set_flags()
    assert 'XLA_FLAGS' not in os.environ


def test_convolutions_are_xlas_own_and_sums_are_not():
    def step(pictures, kernel):
        maps = jax.lax.conv_general_dilated(
            pictures, kernel, (1, 1), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC')
        )
        return maps, pictures.sum((0, 1, 2))

    arrays = jnp.ones((2, 64, 64, 32)), jnp.ones((3, 3, 32, 32))
    compiled = jax.jit(step).lower(*arrays).compile().as_text()
    entry = compiled[compiled.index('ENTRY') :]
    assert ' convolution(' in entry
    assert '__ynn' in entry
