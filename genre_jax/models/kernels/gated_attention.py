"""Gated attention: weights of instances, by which their mean stands for all of them.

Ilse, Tomczak and Welling, Attention-based deep multiple instance learning (2018), equations 7 and 9: the
weight of instance k is softmax_k(w' (tanh(V h_k) * sigmoid(U h_k))).
"""

import flax.linen as nn
import jax
import jax.numpy as jnp


def gated_attention(
    instances: jax.Array, mask: jax.Array | None, hidden_units: int
) -> tuple[jax.Array, jax.Array]:
    """Pools instances, float32 (batch, instances, units), inside the calling module.

    `mask`, bool (batch, instances), is false where there is none; one is true at least; None is true
    everywhere. Returns their weighted mean (batch, units), and the weights (batch, instances), which sum to
    1.
    """
    content = nn.tanh(nn.Dense(hidden_units, name='attention_v')(instances))
    gate = nn.sigmoid(nn.Dense(hidden_units, name='attention_u')(instances))
    # A constant on all scores would change no weight: no bias.
    scores = nn.Dense(1, use_bias=False, name='attention_w')(content * gate)[..., 0]
    weights = nn.softmax(scores if mask is None else jnp.where(mask, scores, -jnp.inf), axis=-1)
    return jnp.einsum('bi,biu->bu', weights, instances), weights
