"""What the page of a run shows of a model that names the tonic: its probabilities, song by song."""

import base64
from typing import Any

import numpy as np

from genre_jax.evaluation import tonic
from genre_jax.evaluation.evaluate import Predictions, number_songs, pool_songs

_LIKELY = 5  # classes of a song


def of_run(predictions: Predictions | None) -> dict[str, Any] | None:
    """Returns columns of the test songs in order of first appearance; None of a model that names no tonic.

    `shares` are bytes in base64, a row for each song: the probabilities of the pitch classes from 55 Hz
    upwards, in 255ths of the song's largest, `most`. Tonics lie in the octave from 55 Hz, 0 where none is
    known; `cents` is how much too high one was found, None where none is known. `likely` are numbers of
    classes and their probabilities.
    """
    if predictions is None or predictions.tonic is None:
        return None
    first, song = number_songs(predictions.track)
    posterior = np.zeros((len(first), predictions.tonic.shape[1]))
    np.add.at(posterior, song, predictions.tonic)
    posterior /= posterior.sum(1, keepdims=True)
    true_hz, found_hz = predictions.tonic_hz[first].astype(np.float64), tonic.estimate(posterior)
    known = true_hz > 0
    cents = tonic.away_cents(found_hz, np.where(known, true_hz, 55))
    octave = np.where(known, 55 * 2 ** (np.log2(np.where(known, true_hz, 55) / 55) % 1), 0)
    most = posterior.max(1)
    probability = pool_songs(predictions).probability
    likely = np.argsort(-probability, axis=1, kind='stable')[:, :_LIKELY]
    shares = np.rint(255 * posterior / most[:, None]).astype(np.uint8)
    return {
        'bins': posterior.shape[1],
        'shares': base64.b64encode(shares.tobytes()).decode(),
        'most': most.round(4).tolist(),
        'true_hz': octave.round(2).tolist(),
        'found_hz': found_hz.round(2).tolist(),
        'cents': [
            round(float(each), 1) if is_known else None for each, is_known in zip(cents, known, strict=True)
        ],
        'likely': [
            [[int(c), round(float(each[c]), 4)] for c in classes]
            for each, classes in zip(probability, likely, strict=True)
        ],
    }
