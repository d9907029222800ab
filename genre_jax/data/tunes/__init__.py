"""The embedded dataset: old dance tunes played by a synthesiser, with nothing to download."""

import collections
import importlib.metadata
import math
import numbers

import numpy as np
from tqdm import tqdm

from genre_jax.data import digests, recordings, synthesis
from genre_jax.data.recordings import Quarantined, Recording
from genre_jax.data.tunes import corpus, identity, synth

# Raised with every change of what is listed or of how it sounds.
_BUILDER_VERSION = 2


class Source(recordings.Source):
    """Dance tunes from the scores inside music21 (three books of 1778 to 1903), synthesised.

    Classes: hornpipe, jig, reel, slip jig, strathspey. The group of a recording is the tune: all
    settings of a melody, and all tunes of a title, are one group, whatever dance each is written
    as, so a group may hold more than one label. docs/datasets/tunes.md tells the rest.
    """

    name = 'tunes'
    description = (
        "Dance tunes from Ryan's Mammoth Collection, O'Neill's Music of Ireland and "
        "Aird's Airs, in the scores that come with music21, played by a synthesiser."
    )

    def __init__(
        self,
        *,
        max_per_class: int = 110,  # recordings of each dance, at most
        duration_s: float = 20.0,  # of every recording; the tune is repeated to fill it
        sample_rate_hz: int = 16000,  # of every recording
        seed: int = 0,  # of the choice of tunes, and of how each of them is played
    ):
        """Notes what to make; nothing is read yet. A UserError: a value is out of its range."""
        synthesis.check(
            self.name,
            ('max_per_class', max_per_class, numbers.Integral, 1, math.inf),
            ('seed', seed, numbers.Integral, 0, math.inf),
            ('duration_s', duration_s, numbers.Real, 1, math.inf),
            ('sample_rate_hz', sample_rate_hz, numbers.Integral, 8000, math.inf),
        )
        self._max_per_class = max_per_class
        self._duration_s = float(duration_s)
        self._sample_rate_hz = sample_rate_hz
        self._seed = seed

    @property
    def fingerprint(self) -> str:
        """Hex digest of the builder, the scores and the arguments."""
        arguments = (self._max_per_class, self._duration_s, self._sample_rate_hz, self._seed)
        parts = (_BUILDER_VERSION, importlib.metadata.version('music21'), *arguments)
        return digests.of_text(repr(parts)).hex()

    def recordings(self) -> tuple[list[Recording], list[Quarantined]]:
        """Lists the chosen tunes, sorted by track, and the ones that cannot be used.

        All tunes are read and grouped, not only the chosen ones, so a group has the same name
        whatever the arguments are. UserError: the scores are not installed.
        """
        scores, quarantined, _ = corpus.scores(corpus.root())
        usable, tunes = [], []
        for score in tqdm(scores, desc='tunes: reading the scores', unit='tune'):
            try:
                tunes.append(corpus.parse(score.abc))
                usable.append(score)
            except corpus.BadTune as error:
                quarantined.append(Quarantined(score.path, str(error)))
        groups = collections.defaultdict(list)
        for score, group in zip(usable, identity.group_names(usable, tunes), strict=True):
            groups[group].append(Recording(score.track, score.dance, group, score.path))
        # Group after group in random order, of each what its dances still have room for.
        members = list(groups.values())
        order = np.random.default_rng(self._seed).permutation(len(members))
        room, chosen = dict.fromkeys(corpus.METRES, self._max_per_class), []
        for recording in (recording for i in order for recording in members[i]):
            if room[recording.label]:
                room[recording.label] -= 1
                chosen.append(recording)
        return sorted(chosen, key=lambda recording: recording.track), quarantined

    def load(self, recording: Recording) -> np.ndarray:
        """Reads one tune again and plays it: int16 [n] mono."""
        tune = corpus.parse(corpus.read(corpus.root(), recording.path))
        rng = synthesis.generator(self._seed, recording.track)
        performance = synth.draw(tune, rng)
        return synth.render(
            tune, performance, rng, duration_s=self._duration_s, sample_rate_hz=self._sample_rate_hz
        )

    def group_key(self) -> str:
        """Returns what the groups are."""
        return 'tune'

    def notes(self) -> list[str]:
        """Returns what a reader of the results should know."""
        copies = corpus.scores(corpus.root())[2]
        return [
            'every sound is synthetic: the figures say nothing about real recordings',
            f'{copies} second copies of a page in the scores were passed over',
        ]
