"""The integer weights with which most rows are right, found by trying them all on the device.

The search of Ma et al. (section 3.3.2 of their paper), who ran it on one-hot votes of six models in C++.
"""

import jax
import jax.numpy as jnp
import numpy as np

from genre_jax.errors import UserError
from genre_jax.logbook import progress_bar

MAX_COMBINATIONS = 2**24
# Votes are whole numbers, and so are their weighted sums: below 2^24, exact in float32 on any device.
_VOTE_STEPS = 2**12
_MAX_TOTAL_WEIGHT = 2**12
_CHUNK = 2**14  # combinations tried at once: their counts stay in a CPU's cache


def cast_votes(probabilities: np.ndarray, votes: str) -> np.ndarray:
    """Returns votes that are whole numbers, int64 [M, n, C], so that no sum of them is rounded.

    'onehot': 1 for the most probable class (the first of equal ones), as Ma et al. vote; 'probability': the
    probability in steps of 1 / 4096, one step at least.
    """
    if votes == 'onehot':
        return np.eye(probabilities.shape[-1], dtype=np.int64)[probabilities.argmax(-1)]
    return np.maximum(np.rint(probabilities * _VOTE_STEPS), 1).astype(np.int64)


def search(
    probabilities: np.ndarray, labels: np.ndarray, votes: str, max_weight: int, grow_by: int
) -> tuple[np.ndarray, dict]:
    """Tries all weights from 0 to `max_weight`, then wider ranges while they bring more right rows.

    The paper says that the upper bound grows by adding 1, and in the same sentence from 5 to 10: both are a
    `grow_by`. 5 is the default: it finds what 1 finds, and does not stop at the first bound without a gain.
    With 0 it does not grow.

    Among equally good weights those with the smallest sum are taken, of these the ones that give the first
    member most, then the second, and so on. (So they have no common divisor: there is no need to leave the
    multiples out, which are 2 % of the combinations of six members.) Where two classes get the same sum,
    the first is named.

    Takes probabilities [M, n, C] and class ids [n]; returns the weights, int64 [M], and how they were found.
    A UserError where the first range alone holds more than MAX_COMBINATIONS.
    """
    members = len(probabilities)
    if _too_many(members, max_weight):
        raise UserError(
            f'--method=integer: {members} members with weights from 0 to {max_weight} are '
            f'{(max_weight + 1) ** members:,} combinations, too many to try (at most '
            f'{MAX_COMBINATIONS:,}): use --method=greedy, fewer members, or a smaller --max_weight'
        )
    rivals = _rivals(cast_votes(probabilities, votes), labels)
    right, weights = _best_weights(rivals, max_weight)
    bound, stopped = max_weight, '' if grow_by else 'the range was not to grow'
    while not stopped:
        wider = bound + grow_by
        if right == len(labels):
            stopped = 'every row is right'
        elif _too_many(members, wider):
            stopped = f'weights up to {wider} are too many combinations to try'
        elif (found := _best_weights(rivals, wider))[0] == right:
            stopped = f'weights up to {wider} bring no gain'
        else:
            (right, weights), bound = found, wider
    return weights, {'right': right, 'max_weight': bound, 'stopped': stopped}


def _too_many(members: int, bound: int) -> bool:
    """Also where two or three members' weights would grow beyond what float32 adds exactly."""
    return (bound + 1) ** members > MAX_COMBINATIONS or members * bound > _MAX_TOTAL_WEIGHT


def _rivals(votes: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Says what weights must fulfil for each row to be right, of votes [M, n, C] and class ids [n].

    Returns margins [rows, K, M], by how much each member prefers the true class to each of K rivals; needed
    [rows, K], the least weighted sum of margins with which it wins; counts [rows] of rows that are alike.
    """
    true = np.take_along_axis(votes, labels[None, :, None], -1)
    margins = np.moveaxis(true - votes, 0, -1)
    needed = np.arange(votes.shape[-1]) < labels[:, None]  # the first of equal classes is named
    rivals = np.concatenate([margins, -needed[..., None].astype(np.int64)], -1)
    # A class that another one always beats decides nothing; the true class, all zero, never does.
    beaten = np.stack([(rivals <= rivals[:, [c]]).all(-1) for c in range(votes.shape[-1])], 1)
    earlier = np.tri(votes.shape[-1], k=-1, dtype=bool)  # of equal ones the first decides
    beaten &= earlier | ~beaten.swapaxes(1, 2)
    rivals[beaten.any(-1)] = 0
    # In an order that does not depend on the classes' names: rows with the same rivals become one.
    order = (rivals @ np.random.default_rng(0).integers(1, 2**40, rivals.shape[-1])).argsort(1)
    rivals = np.take_along_axis(rivals, order[..., None], 1)
    rivals, counts = np.unique(rivals, axis=0, return_counts=True)
    rivals = rivals[:, rivals.any((0, 2)) | (np.arange(rivals.shape[1]) == 0)]
    return rivals[..., :-1], -rivals[..., -1], counts


def _best_weights(rivals: tuple[np.ndarray, np.ndarray, np.ndarray], bound: int) -> tuple[int, np.ndarray]:
    """Tries all weights from 0 to `bound` on the device; returns how many rows are right, and the weights."""
    members, base = rivals[0].shape[-1], bound + 1
    combinations = base**members
    on_device = [jax.device_put(array.astype(np.float32)) for array in rivals]
    best = (-1, 0, 0)
    with progress_bar(combinations, 'combinations', f'weights 0 to {bound}') as bar:
        for first in range(0, combinations, _CHUNK):
            found = _best_of_chunk(first, base, *on_device)
            # Most right, then the smallest sum, then the last: the digits of a number are its weights.
            best = max(best, tuple(int(value) for value in found))
            bar.update(min(_CHUNK, combinations - first))
    right, _, number = best
    return right, number // base ** np.arange(members)[::-1] % base


@jax.jit
def _best_of_chunk(first, base, margins, needed, counts):
    """Tries one chunk; returns most right, minus the sum of weights, and the number."""
    members = margins.shape[-1]
    number = first + jnp.arange(_CHUNK)
    digits = [number // base ** (members - 1 - i) % base for i in range(members)]
    weights = [digit.astype(jnp.float32) for digit in digits]

    def count(right, row):
        margins, needed, counts = row
        # Sums written out, not a product of matrices: those are rounded on some devices.
        total = sum(weights[i] * margins[:, i, None] for i in range(members))
        return right + counts * (total >= needed[:, None]).all(0), None

    right, _ = jax.lax.scan(count, jnp.zeros(_CHUNK), (margins, needed, counts))
    total = sum(weights)
    right = jnp.where((number < base**members) & (total > 0), right, -1)
    total = jnp.where(right == right.max(), -total, -jnp.inf)
    number = jnp.where(total == total.max(), number, -1)
    return right.max(), total.max(), number.max()
