"""The way of most score through frames, of which each is in one state (Viterbi)."""

import jax
import jax.numpy as jnp
import numpy as np


def best_way(scores: jax.Array, steps: np.ndarray) -> jax.Array:
    """Returns the states of the way whose scores and steps have the largest sum, int32 (frames,).

    Args:
        scores: of each state in each frame, float32 (frames, states).
        steps: what is added for going from one state to the next frame's, float32 [from, to].
    """

    # Where a way came from is looked for along the best one alone, backwards: to keep it for every state
    # takes twenty times as long on a CPU.
    def forwards(best: jax.Array, frame: jax.Array) -> tuple[jax.Array, jax.Array]:
        further = (best[:, None] + steps).max(0) + frame
        return further - further.max(), best

    def backwards(place: jax.Array, best: jax.Array) -> tuple[jax.Array, jax.Array]:
        came_from = (best + jnp.asarray(steps.T)[place]).argmax().astype(jnp.int32)
        return came_from, came_from

    last, before = jax.lax.scan(forwards, scores[0], scores[1:])
    end = last.argmax().astype(jnp.int32)
    _, places = jax.lax.scan(backwards, end, before, reverse=True)
    return jnp.append(places, end)


def triangular(n_states: int, reach: int) -> np.ndarray:
    """Returns the probabilities of steps between states in a row, float64 [from, to].

    They fall linearly to 0 at the distance `reach`; what would lead beyond the ends is given to the others.
    """
    states = np.arange(n_states)
    weights = np.maximum(reach - np.abs(states[:, None] - states), 0)
    return weights / weights.sum(1, keepdims=True)
