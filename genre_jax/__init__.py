"""Training, fine-tuning and honestly evaluating music genre, subgenre and raag classifiers."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from genre_jax import programs, xla_flags

if TYPE_CHECKING:
    from genre_jax.label.classifier import Classifier

programs.refuse_others(sys.orig_argv)
xla_flags.set_flags()


def load(name: str, labels: Sequence[str] = ()) -> 'Classifier':
    """Opens a trained model: the folder of a finished run or of a conversion, or a published name.

    `labels` are the names of its classes, where it has none of its own. A UserError where there is no such
    model, or one that hears neither sound nor pitch.

    >>> import genre_jax, numpy
    >>> model = genre_jax.load('run')
    >>> noise = numpy.random.default_rng(0).normal(0, 0.1, (10 * 44100, 2))
    >>> [song] = model.label(noise, sample_rate_hz=44100)
    >>> song.label in model.labels
    True
    >>> song.probabilities.shape == (len(song.start_s), len(model.labels))
    True
    >>> len(model.embed(noise, sample_rate_hz=44100)[0]) == len(song.start_s)
    True
    """
    from genre_jax.label.classifier import Classifier

    return Classifier(name, labels)
