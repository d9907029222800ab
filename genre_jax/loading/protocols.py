"""Cross-validations that leak more and less, and which of them differ for a dataset."""

from collections.abc import Mapping, Sequence

# From the most leaky to the strictest, and what is drawn at random.
WORDS = {'segment_leaky': 'by segment', 'kfold': 'by song', 'artist': 'by group'}


def that_differ(tracks: Sequence[Mapping]) -> list[str]:
    """Returns the protocols that differ for a dataset.

    Where every song is one row, by segment is by song; where it is a group of its own, by group is.
    """
    same = set()
    if all(track['n_samples'] == 1 for track in tracks):
        same.add('segment_leaky')
    if len({track['group'] for track in tracks}) == len(tracks):
        same.add('artist')
    return [name for name in WORDS if name not in same]
