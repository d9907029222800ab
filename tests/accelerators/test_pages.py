"""Every page's steps through the compilers for GPUs and TPUs: `make accelerators`."""

import functools
import re

import jax
import pytest
from jax.sharding import NamedSharding

from genre_jax import sharding
from genre_jax.compile import steps as compiling
from genre_jax.config import overrides, pages
from genre_jax.models.kernels.attention import attend

# Smaller than the page's where that takes long; every kind of layer stays.
SMALLER = {
    'ast_raag': ('--config.model.depth=2', '--config.optim.freeze=first 1'),
}
ON_GPUS = [('ast_raag', 'h100x1'), *((page, 'h100x8') for page in pages.packaged())]
# One of each kind of layer: all take longer than there is time for.
ON_TPUS = [
    ('ma_mlp', 'v6e-1'),
    ('makam_orbit:network=sequence', 'v6e-1'),  # running sums
    *(
        (page, 'v6e-16')
        for page in ('ma_mlp', 'mlp_features', 'quickstart', 'shallow_cnn_gtzan', 'wu_yamnet')
    ),
]


@functools.cache
def figures(page, target, *more):
    words = ['genre_jax.compile', f'--config={page}', *SMALLER.get(page, ()), *more]
    _, assignments, _ = overrides.split(words)
    config, _ = overrides.load(page, assignments)
    config.init.checkpoint = ''
    for section in ('train', 'eval'):  # a share for each of eight devices, and pairs to mix
        config[section].batch_size = -(-config[section].batch_size // 16) * 16
    return compiling.measure(*compiling.open_job(config, target, classes=10), largest=False)


def check(page, target):
    """It fits on the device, computes in float32 or less, and sends gradients and predictions alone."""
    for name, found in figures(page, target).items():
        assert 0 < found['total_bytes'] < found['memory_bytes']
        assert found['operations'] > 0 and found['accessed_bytes'] > 0 and found['roofline_s'] > 0
        assert not found['float64']
        if target.endswith(('x1', '-1')):
            assert found['collectives'] == {}
            continue
        sent = sum(each['bytes'] for each in found['collectives'].values())
        if name == 'train':
            # Gradients of what trains, statistics of normalisation, and some numbers.
            assert set(found['collectives']) <= {'all-reduce'}
            assert sent < 1.1 * found['arguments_bytes'] + 1e5
        else:
            assert set(found['collectives']) <= {'all-gather', 'all-reduce'}
            assert sent <= 4 * 10 * found['batch_size'] * 2


@pytest.mark.parametrize(('page', 'target'), ON_GPUS)
def test_a_page_compiles_for_gpus(page, target):
    check(page, target)


@pytest.mark.parametrize(('page', 'target'), ON_TPUS)
def test_a_page_compiles_for_tpus(page, target):
    check(page, target)


def test_operations_are_those_of_the_products():
    """AST's products by hand, of one example forwards: patches, four of each block, attention's two, head."""
    found = figures('ast_raag', 'h100x1')['eval']
    width, tokens, depth = 768, 12 * 299 + 2, 2
    block = 2 * tokens * (3 + 1 + 4 + 4) * width**2 + 2 * 2 * tokens**2 * width
    network = 2 * (tokens - 2) * 256 * width + depth * block + 2 * width * 10
    # The mel bands, and the transform of 512 samples as TPUs do it, by two products.
    features = 2998 * (2 * 257 * 128 + 2 * 16 * 32 * 32 + 2 * 16 * 64 * 34)
    assert found['operations'] / found['batch_size'] == pytest.approx(network + features, rel=1e-3)


def test_attention_is_cudnns():
    """As it is written, with the weights of all heads in memory, a block takes 11 GiB for the gradient."""
    found = figures('ast_raag', 'h100x1')['train']
    assert found['temporary_bytes'] / found['batch_size'] < 2**30 / 4


def test_attention_is_cudnns_with_an_odd_number_of_tokens():
    """9 x 299 patches and two: jax refuses the kernel's gradient for them."""
    found = figures('ast_raag', 'h100x1', '--config.model.frequency_stride=14')['train']
    assert found['temporary_bytes'] / found['batch_size'] < 2**30 / 4


def test_devices_along_model_send_no_queries_keys_or_values():
    """They gather the kernels of the projections instead, two blocks with their gradients."""
    found = figures('ast_raag', 'h100x8', '--config.mesh.model=4')['train']['collectives']
    assert found['all-gather']['bytes'] < 2 * 3 * 2 * 768 * 3 * 768


@pytest.mark.parametrize(('target', 'model'), [('v6e-1', 1), ('v6e-8', 1), ('v6e-8', 4)])
def test_attention_is_a_kernel_on_tpus(target, model):
    """Of ast_raag's size, 8 examples a device; nothing is sent, and a layer takes 1 GiB instead of 7."""
    mesh = sharding.make_mesh(compiling.devices_of(target)[1], {'data': -1, 'fsdp': 1, 'model': model})
    place = NamedSharding(mesh, jax.P(('data', 'fsdp'), 'model'))
    shape = (8 * mesh.shape['data'] * model, 12, 3590, 64)
    one = jax.ShapeDtypeStruct(shape, 'bfloat16', sharding=place)

    def objective(queries, keys, values, weights):
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            return (weights * attend(queries, keys, values)).astype('float32')

    def gradients(*inputs):
        attended, pull_back = jax.vjp(objective, *inputs)
        return pull_back(attended)

    with jax.default_matmul_precision('highest'):  # the pages'
        compiled = jax.jit(gradients).lower(*[one] * 4).compile()
    text = compiled.as_text()
    assert len(re.findall('tpu_custom_call', text)) >= 3
    assert not re.search('all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter', text)
    assert compiled.memory_analysis().temp_size_in_bytes < 2**30
