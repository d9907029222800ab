"""Scaled dot-product attention that never writes out the weights of all heads."""

import jax
import jax.numpy as jnp
import numpy as np
from jax._src.lib import cuda_versions
from jax.ad_checkpoint import checkpoint_name

from genre_jax import sharding
from genre_jax.models.kernels.product import product

# A TPU's kernel takes blocks of a multiple of so many tokens: 4 where there are as many, which keep its units
# of products busy, to 8, whose scores fit its memory, or 6 in 32 bits.
_LANES = 128
# Weights that are computed at once elsewhere, 4 MiB: the best of those tried on two cores for 600 and 1200
# tokens; 250 would rather have 6.
_CACHED = 1 << 20


def attend(queries: jax.Array, keys: jax.Array, values: jax.Array) -> jax.Array:
    """Computes scaled dot-product attention: three of (batch, heads, tokens, width) to one.

    The softmax is float32 whatever their dtype. On NVIDIA GPUs by cuDNN's kernel, in 16 bits; on TPUs by
    splash attention, where a mesh in effect (`jax.sharding.use_abstract_mesh`) says how the arrays lie; else
    with the weights of some heads at a time, which gradients compute anew.
    """
    return jax.lax.platform_dependent(
        queries, keys, values, cuda=_by_cudnn, tpu=_by_splash, default=_few_heads_at_once
    )


def attend_with_bias(
    queries: jax.Array, keys: jax.Array, values: jax.Array, gate: jax.Array, bias: jax.Array
) -> jax.Array:
    """Computes `attend` with `gate` times `bias` added to the scores, everywhere some heads at a time.

    `gate`, float32 (batch, heads, tokens), is of the queries; `bias`, float32 (heads, tokens, tokens), of
    queries and keys, the same for all examples.
    """
    return _few_heads_at_once(queries, keys, values, gate, by_head=(bias,))


def _by_cudnn(queries, keys, values):
    batch, _, tokens, width = queries.shape
    # This is traced on machines without a GPU, too, where there is no plugin to tell its version; before
    # Ampere GPUs have no such kernel, of which jax does not tell.
    old = any(float(getattr(gpu, 'compute_capability', 8)) < 8 for gpu in jax.local_devices())
    if cuda_versions is None or old or queries.dtype.itemsize != 2 or width % 8 or width > 128:
        return _few_heads_at_once(queries, keys, values)
    # jax refuses gradients of an odd number of tokens.
    odd, by_token = tokens % 2, (x.swapaxes(1, 2) for x in (queries, keys, values))
    attended = jax.nn.dot_product_attention(
        *(jnp.pad(x, ((0, 0), (0, odd), (0, 0), (0, 0))) for x in by_token),
        key_value_seq_lengths=jnp.full(batch, tokens) if odd else None,
        implementation='cudnn',
    )
    return attended[:, :tokens].swapaxes(1, 2)


def _by_splash(queries, keys, values):
    mesh = jax.sharding.get_abstract_mesh()
    if set(mesh.axis_names) == set(mesh.manual_axes):  # or there is none
        return (_few_heads_at_once if mesh.empty else _splash)(queries, keys, values)
    if len(queries) % sharding.batch_parts(mesh) or queries.shape[1] % mesh.shape['model']:
        return _few_heads_at_once(queries, keys, values)
    # XLA does not divide a kernel among devices.
    spec = jax.P(*sharding.by_example(mesh).spec, 'model')
    return jax.shard_map(_splash, mesh=mesh, in_specs=(spec,) * 3, out_specs=spec, check_vma=False)(
        queries, keys, values
    )


@jax.custom_vjp
def _splash(queries, keys, values):
    """Computes `attend` on one device by the kernel for TPUs."""
    return _splash_forward(queries, keys, values)[0]


def _splash_forward(queries, keys, values):
    with _precision(queries):
        return jax.vjp(_padded, queries, keys, values)


def _splash_backward(pull_back, gradient):
    with _precision(gradient):
        return pull_back(gradient)


_splash.defvjp(_splash_forward, _splash_backward)


def _precision(values):
    # The kernel does not compile where products of 16 bits are to have the precision of float32.
    in_16_bits = values.dtype.itemsize == 2
    return jax.default_matmul_precision('default' if in_16_bits else jax.config.jax_default_matmul_precision)


def _padded(queries, keys, values):
    # Here: a third of a second, for networks that have attention.
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as splash
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask

    batch, heads, tokens, width = queries.shape
    least = min(4 * _LANES, tokens + -tokens % _LANES)
    most = (8 if queries.dtype.itemsize == 2 else 6) * _LANES
    block = min(range(least, most + 1, _LANES), key=lambda size: (-tokens % size, -size))
    padding = -tokens % block
    # What is added attends to itself alone.
    segments = jnp.asarray(np.arange(tokens + padding) >= tokens, jnp.int32)
    mask = splash_attention_mask.FullMask((tokens + padding,) * 2)
    attend_each = splash.make_splash_mha(
        splash_attention_mask.MultiHeadMask([mask] * (batch * heads)),
        block_sizes=splash.BlockSizes(*[block] * 8),
        head_shards=1,
        q_seq_shards=1,
    )
    flat = (x.reshape(batch * heads, tokens, width) for x in (queries * width**-0.5, keys, values))
    flat = (jnp.pad(x, ((0, 0), (0, padding), (0, 0))) for x in flat)
    attended = attend_each(*flat, segment_ids=splash.SegmentIds(segments, segments))
    return attended[:, :tokens].reshape(queries.shape)


def _few_heads_at_once(*inputs, by_head=()):
    # The weights of few heads stay in a CPU's cache; those of all, with 3590 tokens, are gigabytes.
    batch, heads, tokens, _ = inputs[0].shape
    at_once = max(
        n for n in range(1, heads + 1) if not heads % n and (n == 1 or n * batch * tokens**2 <= _CACHED)
    )
    kept = jax.checkpoint_policies.save_only_these_names('highest', 'attended', 'total')
    few_heads = jax.checkpoint(lambda few: _few_heads(*few), prevent_cse=False, policy=kept)
    heads_first = [*(x.swapaxes(0, 1) for x in inputs), *(x[:, None] for x in by_head)]
    attended = jax.lax.map(few_heads, [x.reshape(-1, at_once, *x.shape[1:]) for x in heads_first])
    return attended.reshape(heads, *attended.shape[2:]).swapaxes(0, 1)


def _few_heads(queries, keys, values, gate=None, bias=None):
    # The sums of the softmax divide the result, not the larger matrix of weights.
    # Scaled in float32: 16 bits would round the scale itself, and so all scores to one side.
    scaled = queries.astype(jnp.float32) * queries.shape[-1] ** -0.5
    scores = product('...qd,...kd->...qk', scaled, keys, queries.dtype)
    if bias is not None:
        # As a product: XLA on CPUs sums its gradient, of one example, in a thirtieth of the time.
        scores += jnp.einsum('...q,...qk->...qk', gate, bias)
    # Any constant may be subtracted, which the gradient need not know.
    highest = checkpoint_name(jax.lax.stop_gradient(scores.max(-1, keepdims=True)), 'highest')
    weights = jnp.exp(scores - highest)
    attended = checkpoint_name(product('...qk,...kd->...qd', weights, values, values.dtype), 'attended')
    return (attended / checkpoint_name(weights.sum(-1, keepdims=True), 'total')).astype(values.dtype)
