"""Losses and penalties."""

from collections.abc import Mapping, Sequence

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax

from genre_jax.errors import UserError
from genre_jax.models.network import Scores


def cross_entropy(
    logits: jax.Array,
    targets: jax.Array,
    label_smoothing: float | jax.Array = 0.0,
    class_weights: jax.Array | None = None,
) -> jax.Array:
    """Returns the cross-entropy of every example, in nats: float32 [B].

    The mean over a batch is that of torch.nn.CrossEntropyLoss: where classes are weighted, the sum of the
    batch is divided by the weights of its targets, not by its size. Logits and targets are float32 [B, C],
    the targets shares of the classes that sum to 1, of which `label_smoothing` goes to all classes alike.
    """
    smooth = targets * (1 - label_smoothing) + label_smoothing / targets.shape[-1]
    if class_weights is None:
        return optax.softmax_cross_entropy(logits, smooth)
    weight = mean_weight(targets, class_weights)
    entropy = optax.softmax_cross_entropy(logits, smooth * class_weights)
    # Where all targets weigh nothing there is no loss, and not PyTorch's 0 / 0.
    return entropy / jnp.where(weight > 0, weight, 1)


def joint_cross_entropy(
    found: Scores,
    targets: jax.Array,
    label_smoothing: float | jax.Array = 0.0,
    class_weights: jax.Array | None = None,
) -> jax.Array:
    """Returns the mean of what there is to learn from every example, tonic and class, in nats: float32 [B].

    Where both are known that is the cross-entropy of the two together, of the class at the true tonic, and of
    the class whatever the tonic. An example without a class (its targets are 0) teaches its tonic, one
    without a tonic its class, one without either nothing. Further arguments as `cross_entropy`.
    """
    smooth = targets * (1 - label_smoothing) + label_smoothing / targets.shape[-1]
    if class_weights is not None:
        weight = mean_weight(targets, class_weights)
        smooth = smooth * class_weights / jnp.where(weight > 0, weight, 1)
    # Each member learns for itself.
    joint = jax.nn.log_softmax(found.scores, axis=(-2, -1))
    tonic = jax.nn.logsumexp(joint, axis=-1)
    share = found.share / jnp.maximum(found.share.sum(-1, keepdims=True), 1e-9)
    share, smooth = share[:, None], smooth[:, None]
    label = (smooth * jax.nn.logsumexp(joint, axis=-2)).sum(-1)
    both = (share[..., None] * smooth[:, :, None] * joint).sum((-2, -1))
    given = (share[..., None] * smooth[:, :, None] * (joint - tonic[..., None])).sum((-2, -1))
    has_label, has_tonic = targets.sum(-1) > 0, found.share.sum(-1) > 0
    without_tonic = jnp.where(has_label, label.mean(1), 0)
    without_label = jnp.where(has_tonic, (share * tonic).sum(-1).mean(1), 0)
    all_known = ((both + given + label) / 3).mean(1)
    return -jnp.where(has_label & has_tonic, all_known, jnp.where(has_label, without_tonic, without_label))


def hits(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Counts the examples whose largest logit is their target's largest share, float32; none of outliers."""
    right = logits.argmax(-1) == targets.argmax(-1)
    return (right & (targets.max(-1) > targets.min(-1))).sum().astype(jnp.float32)


def mean_weight(targets: jax.Array, class_weights: jax.Array | None) -> jax.Array:
    """Returns what `cross_entropy` divides by: the mean weight of targets [B, C]."""
    return jnp.float32(1) if class_weights is None else (targets @ class_weights).mean()


def class_weights(settings: Sequence[str], labels: Sequence[str], counts: np.ndarray) -> np.ndarray | None:
    """Reads config.train.class_weights: (), ('balanced',) or ('LABEL=WEIGHT', ...).

    `counts` are training windows of each class. Returns float32 [C]; 'balanced' gives n / (C * count), as
    scikit-learn. None without weights. What is none of these, or names a class that is not there, is a
    UserError.
    """
    if not settings:
        return None
    if tuple(settings) == ('balanced',):
        return (counts.sum() / (len(labels) * np.maximum(counts, 1))).astype(np.float32)
    weights = dict.fromkeys(labels, 1.0)
    for item in settings:
        label, _, weight = str(item).rpartition('=')
        try:
            number = float(weight)
        except ValueError:
            number = -1.0
        if label not in weights or not 0 <= number < float('inf'):
            raise UserError(
                f"config.train.class_weights={item!r}: expected 'balanced' alone or 'LABEL=WEIGHT', a "
                f'number of at least 0 for one of {", ".join(labels)}'
            )
        weights[label] = number
    return np.float32([weights[label] for label in labels])


def penalty(params: Mapping, l1: float | jax.Array, l2: float | jax.Array) -> jax.Array:
    """Sums l1 * |w| + l2 * w^2 over all weights: kernels and normalisation scales, no biases.

    Those are the parameters whose names end in 'weight' in Herbert's PyTorch code.
    """
    flat = flax.traverse_util.flatten_dict(params)
    weights = [value for path, value in flat.items() if path[-1].endswith(('kernel', 'scale'))]
    return l1 * sum(jnp.abs(w).sum() for w in weights) + l2 * sum((w**2).sum() for w in weights)
