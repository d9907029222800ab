"""Cross-validations that leak more and less, and which of them differ for a dataset."""

from collections.abc import Mapping, Sequence

# From the most leaky to the strictest, and what is drawn at random.
WORDS = {'segment_leaky': 'by segment', 'kfold': 'by song', 'artist': 'by group', 'tonic': 'by tonic'}


def that_differ(tracks: Sequence[Mapping], window: int = 1) -> list[str]:
    """Returns the protocols that differ for a dataset, but for 'tonic', which is asked for.

    Where every song is one row, or one window of so many samples, by segment is by song; where it is a group
    of its own, by group is.
    """
    same = {'tonic'}
    if all(track['n_samples'] < 2 * window for track in tracks):
        same.add('segment_leaky')
    if len({track['group'] for track in tracks}) == len(tracks):
        same.add('artist')
    return [name for name in WORDS if name not in same]
