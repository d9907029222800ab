"""The windows of many recordings as one stream through a network, batch by batch."""

import collections
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np

from genre_jax import sharding
from genre_jax.errors import BadAudio
from genre_jax.evaluation.tonic import by_pitch_class
from genre_jax.label.windows import Decoded


class Heard(NamedTuple):
    """What a network gives for windows, a row each."""

    logits: np.ndarray  # float32 [n, C]
    embeddings: np.ndarray  # float32 [n, units]
    # Probabilities of the pitch classes of the tonic, from 55 Hz upwards, float32 [n, S], or [n, 0].
    tonic: np.ndarray


@dataclasses.dataclass
class Stream:
    """A network that computes batches of windows.

    Attributes:
        forward: the network as a program: windows [batch, samples] to logits, embeddings and, where it names
            the tonic, the probabilities of the candidates and their height.
        mesh: of its devices.
        window: samples of the windows that share batches.
        batch_size: windows at a time, a multiple of the devices.
    """

    forward: Callable[[jax.Array], Sequence[jax.Array]]
    mesh: jax.sharding.Mesh
    window: int
    batch_size: int

    def hear(
        self,
        recordings: Iterable[Decoded | BadAudio],
        cut: Callable[[Decoded], Iterable[np.ndarray]],
        passed: int = 0,
    ) -> Iterator[tuple[int, Heard] | BadAudio]:
        """Yields the samples of each decoded recording and what is heard in it, or why it cannot be used.

        `cut` gives the windows of a recording. All of them are one stream, which is cut into batches: so
        short recordings share them, and where one is cut off follows from the recordings alone. A window
        longer than `window` is computed by itself. The first `passed` windows are left out, and the
        recordings that they are of have so many fewer.
        """
        waiting: collections.deque[_Waiting] = collections.deque()
        ahead: collections.deque = collections.deque()
        rows, batch, left_out = Heard([], [], []), [], passed

        def compute(most_ahead: int) -> Iterator[tuple[int, Heard] | BadAudio]:
            """Begins a batch, and yields what is known once no more than so many are being computed."""
            if batch:
                ahead.append(self._begun(batch, self._size(len(batch))))
                batch.clear()
            while len(ahead) > most_ahead:
                for each, computed in zip(rows, self._fetched(*ahead.popleft()), strict=True):
                    each.extend(computed)
            yield from finished()

        def finished() -> Iterator[tuple[int, Heard] | BadAudio]:
            while waiting and waiting[0].answer is not None and len(rows.logits) >= waiting[0].windows:
                first = waiting.popleft()
                own = first.alone or Heard(*(np.array(each[: first.windows]) for each in rows))
                for each in rows:
                    del each[: first.windows]
                yield first.answer if isinstance(first.answer, BadAudio) else (first.answer, own)

        for decoded in recordings:
            waiting.append(each := _Waiting())
            try:
                if isinstance(decoded, BadAudio):
                    raise decoded
                for window in cut(decoded):
                    if len(window) > self.window:
                        each.alone = self._fetched(*self._begun([window], self.mesh.size))
                    elif left_out:
                        left_out -= 1
                    else:
                        each.windows += 1
                        batch.append(window)
                    if len(batch) == self.batch_size:
                        yield from compute(1)  # while it is computed the next is read
                each.answer = decoded[0]
            except BadAudio as error:
                each.answer = error
            yield from finished()
        yield from compute(0)

    def _size(self, count: int) -> int:
        """Returns the size of a batch for so many windows: halved, so that few sizes are compiled."""
        size = self.batch_size
        while size % 2 == 0 and size // 2 >= count and size // 2 % self.mesh.size == 0:
            size //= 2
        return size

    def _begun(self, batch: Sequence[np.ndarray], size: int) -> tuple[int, Sequence[jax.Array]]:
        """Has windows computed, filled up to so many; returns how many there are, and what will be there."""
        padded = np.stack([*batch, *[batch[-1]] * (size - len(batch))])
        return len(batch), self.forward(sharding.put_batch({'audio': padded}, self.mesh)['audio'])

    def _fetched(self, count: int, computed: Sequence[jax.Array]) -> Heard:
        """Waits for what `_begun` returned."""
        logits, embeddings, *tonic = (jax.device_get(each)[:count] for each in computed)
        posterior = np.zeros((count, 0), np.float32)
        if tonic:
            candidates, height = tonic
            posterior = by_pitch_class(candidates[..., None], height)[..., 0]
        return Heard(logits, embeddings, posterior)


@dataclasses.dataclass
class _Waiting:
    """A recording whose windows are being computed; its answer is the number of its samples, or why none."""

    windows: int = 0
    answer: int | BadAudio | None = None
    alone: Heard | None = None  # what is heard in one that shares no batch with others
