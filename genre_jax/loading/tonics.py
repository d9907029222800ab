"""Folds whose tonics are apart: of a test recording none of training has the tonic, nor one close to it.

Tonics count as pitch classes: they lie on a circle of 1200 cents. Each fold is an arc of it, since every end
of an arc costs recordings that lie close to it on the other side.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from genre_jax.errors import UserError


def check_known(tracks: Sequence[Mapping], needs: str) -> None:
    """Refuses tracks without a tonic; `needs` says what needs it: a UserError."""
    if without := [track['track'] for track in tracks if not track['tonic_hz'] > 0]:
        raise UserError(
            f'{needs} needs the tonic of every recording, and {len(without)} of {len(tracks)} have none, '
            f'such as {without[0]!r}: give it in the column tonic_hz of the CSV, or leave them out'
        )


def cents(tonic_hz: Sequence[float]) -> np.ndarray:
    """Returns pitch classes, in cents above A, from 0 to 1200, of tonics in whatever octave."""
    return 1200 * np.log2(np.asarray(tonic_hz, np.float64) / 55) % 1200


def arcs(places: np.ndarray, folds: int) -> np.ndarray:
    """Cuts the circle into arcs: the number of each place's arc, int [n]; `places` are in cents [n].

    The first arc begins behind the widest gap. The others hold about as many places each: every cut is made
    where the gap is widest of those that lie within a quarter of an arc of the even one, so that tonics
    which are alike stay together where they can.
    """
    order = np.argsort(places, kind='stable')
    gaps = np.diff(places[order], prepend=places[order[-1]] - 1200)  # before each
    order, gaps = (np.roll(each, -gaps.argmax()) for each in (order, gaps))
    begins, reach = [0], len(places) / folds / 4
    for number in range(1, folds):
        even = number * len(places) / folds
        near = np.arange(np.ceil(even - reach), np.floor(even + reach) + 1).astype(int)
        widest = near[gaps[near] >= gaps[near].max() - 1e-9]
        begins.append(int(widest[np.abs(widest - even).argmin()]))
    numbers = np.empty(len(places), int)
    numbers[order] = np.searchsorted(begins, np.arange(len(places)), side='right') - 1
    return numbers


def away(places: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Returns how far places lie from the nearest of others on the circle, all in cents, float64 [n]."""
    around = np.sort(others)
    around = np.concatenate([around[-1:] - 1200, around, around[:1] + 1200])
    above = np.searchsorted(around, places)
    return np.minimum(places - around[above - 1], around[above] - places)


def hold_out(
    tracks: Sequence[Mapping], folds: int, fold: int, margin_cents: float, share_groups: bool
) -> tuple[list[str], str]:
    """Makes one arc the test part: 'test', 'train' or '', left out, of every track; and a line about them.

    Left out is what lies nearer than the margin to a test tonic, and what shares a group with the test part
    unless `share_groups`. A UserError where a tonic is unknown, or no two are so far apart.
    """
    check_known(tracks, "config.split.protocol='tonic'")
    if len(tracks) < folds:
        raise UserError(
            f'config.split.folds={folds}: there are {len(tracks)} recordings; expected fewer folds'
        )
    places = cents([track['tonic_hz'] for track in tracks])
    test = arcs(places, folds) == fold
    near = ~test & (away(places, places[test]) < margin_cents)
    groups = np.array([track['group'] for track in tracks])
    shared = ~test & ~near & ~np.bool_(share_groups) & np.isin(groups, groups[test])
    if (test | near).all():
        raise UserError(
            f"config.split.protocol='tonic': no tonic lies {margin_cents:g} cents or more from those of the "
            f'test part, {_arc(places[test])}, which has {test.sum()} of {len(tracks)} recordings: lower '
            'config.split.tonic_margin_cents, or add recordings with other tonics'
        )
    parts = np.where(test, 'test', np.where(near | shared, '', 'train'))
    train = parts == 'train'
    least = away(places[train], places[test]).min() if train.any() else np.inf
    words = (
        f'tonics {_arc(places[test])}; left out of training: {near.sum()} songs within {margin_cents:g} '
        'cents of a test tonic'
    )
    if not share_groups:
        words += f', {shared.sum()} more whose group is tested'
    return parts.tolist(), f'{words}; the nearest that is left lies {least:.0f} cents from one'


def _arc(places: np.ndarray) -> str:
    """Returns where an arc begins and ends, in words."""
    ordered = np.sort(places)
    gaps = np.diff(ordered, prepend=ordered[-1] - 1200)
    first = int(gaps.argmax())
    return f'from {ordered[first]:.0f} to {ordered[first - 1]:.0f} cents above A'
