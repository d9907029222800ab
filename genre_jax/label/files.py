"""Labels files, and goes on where an earlier call was killed."""

import contextlib
import os
from collections.abc import Iterator, Sequence

import numpy as np

from genre_jax.data import audio_file
from genre_jax.errors import BadAudio
from genre_jax.label import windows
from genre_jax.label.classifier import Answer, Classifier
from genre_jax.label.journal import Journal
from genre_jax.label.song import Song
from genre_jax.logbook import progress_bar


def label(
    classifier: Classifier, paths: Sequence[str], hop: int, journal: Journal | None = None
) -> Iterator[tuple[str, Song | BadAudio]]:
    """Yields what a classifier says of each file, in order, or why it cannot be used, under a progress bar.

    A window begins every `hop` samples. What the journal knows is not decoded again, but for the files that
    share a batch with the first one that it does not know: so batches, and all figures to the last bit, are
    those of a call that was never killed.
    """
    known = [journal and journal.find(path) for path in paths]
    first = next((i for i, each in enumerate(known) if each is None), len(paths))
    counts = [0 if isinstance(each, BadAudio) else classifier.batched(each) for each in known[:first]]
    before, back = sum(counts), first
    boundary = before - before % classifier.batch_size
    while before > boundary:
        back -= 1
        before -= counts[back]
    again = range(back, first) if first < len(paths) else []
    todo = [*again, *(i for i in range(first, len(paths)) if known[i] is None)]

    # Closed, the progress bar ends its line before an error is told.
    with contextlib.closing(
        _outputs(classifier, [paths[i] for i in todo], hop, boundary - before)
    ) as outputs:
        for i, path in enumerate(paths):
            found = known[i]
            if i in again:
                next(outputs)
            if found is None:
                found = next(outputs)
                if journal:
                    journal.add(path, found)
            yield path, found if isinstance(found, BadAudio) else classifier.song(path, found, hop)


def _outputs(
    classifier: Classifier, paths: Sequence[str], hop: int, passed: int
) -> Iterator[Answer | BadAudio]:
    """Yields the answer to each file; the progress is that of bytes, since lengths are not known."""
    sizes = [os.path.getsize(path) if os.path.isfile(path) else 0 for path in paths]
    heard_s = 0.0
    with audio_file.quiet_decoders, progress_bar(sum(sizes), 'B', 'labelling', unit_scale=True) as bar:

        def followed() -> Iterator[windows.Decoded | BadAudio]:
            decoded = windows.decode_ahead(paths, classifier.decode)
            for each, size in zip(decoded, sizes, strict=True):
                yield each if isinstance(each, BadAudio) else (each[0], counted(*each, size))

        def counted(n_samples: int, blocks: Iterator[np.ndarray], size: int) -> Iterator[np.ndarray]:
            nonlocal heard_s
            for block in blocks:
                heard_s += len(block) / classifier.sample_rate_hz
                bar.update(
                    min(size * len(block) / n_samples, bar.total - bar.n)
                )  # sums of shares are rounded
                yield block

        for number, heard in enumerate(classifier.hear(followed(), hop, passed), 1):
            speed = heard_s / max(bar.format_dict['elapsed'], 1e-3)
            words = (
                f'{number} of {len(paths)} files, {heard_s / 3600:.2f} h of audio, {speed:.0f} x real time'
            )
            bar.set_postfix_str(words, refresh=False)
            yield heard if isinstance(heard, BadAudio) else heard[0]
