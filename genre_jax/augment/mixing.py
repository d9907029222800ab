"""Augmentations of pairs of examples: `fn(key, one, other, **amounts) -> (mixed, share of one)`.

`one` and `other` are the neighbours 2i and 2i + 1 of a batch, each mixed with the other; labels mix
in the shares of what is heard or seen, so that they still sum to 1.
"""

import jax
import jax.numpy as jnp


def mixup(key: jax.Array, one: jax.Array, other: jax.Array, *, alpha: float) -> tuple[jax.Array, jax.Array]:
    """Adds two waveforms or pictures with weights share and 1 - share, drawn from Beta(alpha, alpha).

    Source: Zhang et al. (2018); on pictures in PANNs (alpha 1), on waveforms in AST (alpha 10).
    """
    share = jax.random.beta(key, alpha, alpha)
    return share * one + (1 - share) * other, share


def cutmix(
    key: jax.Array, one: jax.Array, other: jax.Array, *, alpha: float = 1.0, whole_bins: bool = False
) -> tuple[jax.Array, jax.Array]:
    """Pastes a rectangle of one picture (frames, bins) into the other.

    Source: Yun et al. (2019): its area is a share 1 - Beta(alpha, alpha), its centre uniform; what
    lies outside the picture is cut off, and the labels' shares follow the area that is left. With
    `whole_bins` the rectangle spans all bins: a stretch of time.
    """
    share_key, *centre_keys = jax.random.split(key, 3)
    cut = 1 - jax.random.beta(share_key, alpha, alpha)
    inside = jnp.ones(one.shape, bool)
    for axis, centre_key in enumerate(centre_keys):
        if axis == 1 and whole_bins:
            continue
        total = one.shape[axis]
        half = total * (cut if whole_bins else jnp.sqrt(cut)) / 2
        centre = jax.random.uniform(centre_key) * total
        position = jnp.arange(total)
        side = (position >= jnp.round(centre - half)) & (position < jnp.round(centre + half))
        inside &= jnp.expand_dims(side, 1 - axis)
    return jnp.where(inside, other, one), 1 - inside.mean()
