"""Which tunes are one tune: by title or by melody, whatever the key, tempo and setting."""

import collections
import re
import unicodedata

import numpy as np

from genre_jax.data import grouping
from genre_jax.data.tunes.corpus import DANCE_AT_END, Score, Tune

# Two tunes are one when two of their eight-bar strains agree this much beyond chance (kappa: 1 is
# note for note, 0 is what random orders of their notes would share). docs/datasets/tunes.md has the evidence.
SAME_MELODY = 0.64

# What is left of 'A favourite Strathspey' names no tune.
_NO_NAME = {'', 'favorite', 'favourite', 'highland', 'new', 'north highland', 'old', 'scotch'}
_STRAIN_BARS = 8
_STRAIN_STEP = 4
_STRAIN_HEARD = 0.6


def normalise_title(title: str) -> str:
    """Returns what makes two titles one: 'MONEY MUSK -- REEL., THE' -> 'money musk'.

    Case, accents, punctuation, articles, the dance and the number of the setting do not count.
    """
    text = unicodedata.normalize('NFKD', title.split('%')[0]).encode('ascii', 'ignore').decode()
    # Some transcriptions have 'Nat:ional' for 'National'.
    text = re.sub(r"[':\"]", '', text.lower().replace('&', ' and '))
    text = re.sub(r'\([^)]*\)', ' ', text)
    text = ' '.join(re.sub(r'[^a-z0-9]+', ' ', text).split())
    text = re.sub(r'\b(\d(st|nd|rd|th)|first|second|third) (setting|set)\b|\bno \d+$', '', text)
    text = re.sub(r'^(the|a|an) | (the|a|an)$', '', text.strip())
    text = DANCE_AT_END.sub('', text.strip()).strip()
    return re.sub(r'^(the|a|an) | (the|a|an)$', '', text)


def title_keys(titles: tuple[str, ...]) -> list[str]:
    """Returns normalised titles, in order, each of 'X, or Y' and 'X, aka Y', but for what names no tune."""
    names = [name for title in titles for name in re.split(r'(?i)(?:[,.] |^)or |\baka\b', title)]
    return [key for key in map(normalise_title, names) if key not in _NO_NAME]


def group_names(scores: list[Score], tunes: list[Tune]) -> list[str]:
    """Names groups of tunes with a title or melody in common after their first title, 'tune:money musk'."""
    keys = [title_keys(score.titles) for score in scores]
    first = {}
    links = [(first.setdefault(key, i), i) for i, names in enumerate(keys) for key in names]
    links += [(i, j) for i, j, _ in melody_pairs(tunes)]
    leaders = grouping.leaders(len(keys), links)
    return [f'tune:{keys[i][0] if keys[i] else scores[i].track}' for i in leaders]


def melody_pairs(tunes: list[Tune]) -> list[tuple[int, int, float]]:
    """Finds tunes i < j of a metre that share a strain, in any key: (i, j, kappa of the two most alike)."""
    strains = collections.defaultdict(list)
    for i, tune in enumerate(tunes):
        strains[tune.metre] += [(i, strain) for strain in _strains(tune)]
    best = {}
    for of_metre in filter(None, strains.values()):
        owners, pitches = (np.array(column) for column in zip(*of_metre, strict=True))
        kappa = _agreement(pitches)
        kappa[owners[:, None] >= owners[None]] = 0.0
        for a, b in np.argwhere(kappa >= SAME_MELODY):
            pair = int(owners[a]), int(owners[b])
            best[pair] = max(best.get(pair, 0.0), float(kappa[a, b]))
    return [(i, j, kappa) for (i, j), kappa in sorted(best.items())]


def _strains(tune: Tune) -> list[np.ndarray]:
    """Returns the pitch classes (-1 where there is none) of every eight bars, on an even grid.

    The second of two notes is looked for late in its place, where it also sounds when the pair is
    dotted or snapped: the reel and the strathspey of one melody give one and the same row.
    """
    beats, division = tune.metre
    place = np.arange(beats * division)
    at_beats = (place + np.where(place % division % 2 == 0, 0.25, 0.75)) / division
    grid = np.full((tune.bar.max() + _STRAIN_BARS, len(place)), -1)
    notes = zip(tune.midi, tune.bar, tune.position_beats, tune.duration_beats, strict=True)
    for midi, bar, start, length in notes:
        if bar >= 0:
            grid[bar, (at_beats >= start) & (at_beats < start + length)] = midi % 12
    starts = range(0, tune.bar.max() + 1, _STRAIN_STEP)
    strains = [grid[first : first + _STRAIN_BARS].ravel() for first in starts]
    return [strain for strain in strains if np.mean(strain >= 0) >= _STRAIN_HEARD]


def _agreement(pitches: np.ndarray) -> np.ndarray:
    """Returns Cohen's kappa [s, s] of all pairs of strains [s, places], at the best of 12 keys."""
    one_hot = (pitches[None] == np.arange(12)[:, None, None]).astype(np.float32)
    heard = (pitches >= 0).astype(np.float32)
    shared = heard @ heard.T
    histogram = one_hot.sum(axis=2).T / heard.sum(axis=1, keepdims=True)
    rows = np.concatenate(one_hot, axis=1)
    kappa = np.zeros_like(shared)
    # The other five keys are these with the two strains exchanged.
    for key in range(7):
        same = rows @ np.concatenate(np.roll(one_hot, key, axis=0), axis=1).T
        chance = histogram @ np.roll(histogram, key, axis=1).T
        agreed = same / np.maximum(shared, 1)
        np.maximum(kappa, (agreed - chance) / np.maximum(1 - chance, 1e-6), out=kappa)
    kappa = np.maximum(kappa, kappa.T)
    return np.where(shared >= _STRAIN_HEARD * pitches.shape[1], kappa, 0.0)
