"""Looks for what could leak from training into test: copies, and recordings of one artist or album.

    python -m genre_jax.data.audit gtzan --root=genres.tar.gz
    python -m genre_jax.data.audit folder --root=DIR --json=audit.json

Prepares the dataset if need be, as genre_jax.data.prepare does, and prints the recordings that belong
together, and for every split that the dataset brings (official, published lists) which of them stand
in more than one part of it. Copies were found when the dataset was prepared; the rest takes no time.
"""

import argparse
import collections
import dataclasses
import json
import math
import pathlib
from collections.abc import Iterable, Mapping, Sequence

from genre_jax import program
from genre_jax.data import command, duplicates, grouping, prepare
from genre_jax.data.recordings import folded
from genre_jax.errors import UserError, printable, say

# What recordings that belong together have in common, the most telling first.
KINDS = {
    'copies': 'same content or sound',
    'title': 'same artist and title',
    'group': 'same group',
    'album': 'same album',
    'artist': 'same artist',
    'tonic': 'same artist and tonic',
}
# Tonics are measured or tuned by ear to some cents.
_SAME_TONIC_CENTS = 20.0
# So many lines of a table are printed; --json lists all.
_SHOWN = 20
_SHOWN_CROSSINGS = 5


@dataclasses.dataclass(frozen=True)
class Related:
    """Two recordings or more that belong together."""

    kind: str  # a key of `KINDS`
    name: str  # what they have in common: artist, album, ...; of copies the first track
    tracks: tuple[str, ...]
    labels: tuple[str, ...]  # sorted, each once


@dataclasses.dataclass(frozen=True)
class Findings:
    """Pairs that are the same recording; and sets, in the order of `KINDS`, the largest of a kind first."""

    copies: tuple[duplicates.Pair, ...]
    related: tuple[Related, ...]


@dataclasses.dataclass(frozen=True)
class Crossing:
    """Recordings that belong together, and those of them that stand in each of several parts of a split."""

    related: Related
    parts: dict[str, tuple[str, ...]]

    @property
    def count(self) -> int:
        """How many stand in some part."""
        return sum(map(len, self.parts.values()))


def find(folder: pathlib.Path) -> Findings:
    """Returns what belongs together in the prepared dataset in a folder; a UserError if that is damaged."""
    manifest = prepare.read_manifest(folder)
    tracks = manifest['tracks']
    copies = tuple(duplicates.Pair(**pair) for pair in manifest['duplicates'])
    position = {track['track']: i for i, track in enumerate(tracks)}
    same = [(position[copy.first], position[copy.second]) for copy in copies]
    artists = _folded(track['artist'] for track in tracks)
    titles = ((track['artist'], track['title']) for track in tracks)
    by_kind = {
        'copies': grouping.join(list(position), same),
        'title': _folded(' - '.join(both) if all(map(str.strip, both)) else '' for both in titles),
        'group': [track['group'] for track in tracks],
        'album': _folded(track['album'] for track in tracks),
        'artist': artists,
        'tonic': _tonics(tracks, artists),
    }
    related = []
    for kind, names in by_kind.items():
        members = collections.defaultdict(list)
        for track, name in zip(tracks, names, strict=True):
            if name:
                members[name].append(track)
        sets = [
            Related(kind, name, tuple(t['track'] for t in some), tuple(sorted({t['label'] for t in some})))
            for name, some in members.items()
            if len(some) > 1
        ]
        related += sorted(sets, key=lambda item: (-len(item.tracks), item.name))
    return Findings(copies, tuple(related))


def crossing(findings: Findings, part_of_track: Mapping[str, str]) -> list[Crossing]:
    """Returns what stands in several parts of a split, {track: part}; a track that it lacks takes no part."""
    crossings = []
    for related in findings.related:
        parts = collections.defaultdict(list)
        for track in related.tracks:
            if track in part_of_track:
                parts[part_of_track[track]].append(track)
        if len(parts) > 1:
            crossings.append(Crossing(related, {p: tuple(names) for p, names in parts.items()}))
    return crossings


def summary(crossings: Sequence[Crossing]) -> list[str]:
    """Returns a line for each kind of what stands in more than one part of a split."""
    return [
        f'{KINDS[kind]} in several parts: {_counts(some)}, such as '
        f'{max(some, key=lambda item: item.count).related.name}'
        for kind, some in _by_kind(crossings).items()
    ]


def _by_kind(crossings: Sequence[Crossing]) -> dict[str, list[Crossing]]:
    kinds = {kind: [item for item in crossings if item.related.kind == kind] for kind in KINDS}
    return {kind: some for kind, some in kinds.items() if some}


def _counts(some: list[Crossing]) -> str:
    return f'{len(some)} sets, {sum(item.count for item in some)} recordings'


def splits(manifest: Mapping) -> dict[str, dict[str, str]]:
    """Returns the splits that a dataset brings, {protocol: {track: part}}, by its manifest."""
    found = dict(manifest['protocols'])
    official = {track['track']: track['split'] for track in manifest['tracks']}
    if all(official.values()):
        found['official'] = official
    return dict(sorted(found.items()))


def _folded(names: Iterable[str]) -> list[str]:
    """Returns the first spelling of a name for all its spellings that differ in case, spaces and the like."""
    spellings: dict[str, str] = {}
    return [spellings.setdefault(folded(name), ' '.join(name.split())) for name in names]


def _tonics(tracks: Sequence[Mapping], artists: Sequence[str]) -> list[str]:
    """Names artist and tonic, in whatever octave, where both are known."""
    rows = [i for i, track in enumerate(tracks) if artists[i] and track['tonic_hz'] > 0]
    cents = {i: 1200 * math.log2(tracks[i]['tonic_hz']) % 1200 for i in rows}
    rows.sort(key=lambda i: (artists[i], cents[i]))
    first: dict[str, int] = {}
    same = []
    for i, j in zip(rows, rows[1:] + rows[:1], strict=True):
        lowest = first.setdefault(artists[i], i)
        j = j if artists[j] == artists[i] else lowest  # an octave above the highest
        if (cents[j] - cents[i]) % 1200 <= _SAME_TONIC_CENTS:
            same.append((i, j))
    names = [''] * len(tracks)
    leaders = grouping.leaders(len(tracks), same)
    for i in rows:
        names[i] = f'{artists[i]}, {tracks[leaders[i]]["tonic_hz"]:.1f} Hz'
    return names


def table(name: str, findings: Findings, manifest: Mapping) -> str:
    """Returns what was found in a dataset as text for people."""
    tracks = manifest['tracks']
    label = {track['track']: track['label'] for track in tracks}
    lines = [f'{name}: {len(tracks)} recordings; groups: {manifest["group_key"]}']
    lines.append(f'quarantined: {len(manifest["quarantined"])}')
    lines += [*(f'note: {note}' for note in manifest['notes']), '']
    lines.append(f'copies: {len(findings.copies)} pairs')
    for pair in findings.copies[:_SHOWN]:
        how = pair.kind
        if pair.kind == duplicates.NEAR:
            how += f' from {pair.begin_s:.1f} to {pair.end_s:.1f} s (score {pair.score:.2f}, '
            how += f'offset {pair.offset_s:+.2f} s, speed {pair.speed:.3f}, {pair.pitch_cents:+.1f} cents)'
        other = '' if label[pair.first] == label[pair.second] else '  DIFFERENT LABELS'
        lines.append(f'  {pair.first} = {pair.second}  {how}{other}')
    if len(findings.copies) > _SHOWN:
        lines.append(f'  ... and {len(findings.copies) - _SHOWN} more pairs (--json lists all)')
    lines += ['', f'{"recordings with the":24} {"sets":>6} {"recordings":>10}  largest']
    for kind, words in KINDS.items():
        sets = [related for related in findings.related if related.kind == kind]
        row = f'{words:24} {len(sets):6} {sum(len(item.tracks) for item in sets):10}'
        largest = ', '.join(f'{item.name} ({len(item.tracks)})' for item in sets[:3])
        lines.append(f'{row}  {largest}'.rstrip())
    for protocol, part_of_track in splits(manifest).items():
        sizes = collections.Counter(part_of_track.values())
        sizes = '/'.join(str(sizes[part]) for part in ('train', 'val', 'test'))
        crossings = crossing(findings, part_of_track)
        said = 'in more than one part stand' if crossings else 'nothing stands in more than one part'
        lines += ['', f'split {protocol!r} ({sizes} recordings): {said}']
        for kind, some in _by_kind(crossings).items():
            lines.append(f'  {KINDS[kind]}: {_counts(some)}')
            for item in some[:_SHOWN_CROSSINGS]:
                places = ', '.join(
                    f'{part} {len(names)} ({names[0]}{", ..." if len(names) > 1 else ""})'
                    for part, names in sorted(item.parts.items())
                )
                lines.append(f'    {item.related.name}: {places}')
            if len(some) > _SHOWN_CROSSINGS:
                lines.append(f'    ... and {len(some) - _SHOWN_CROSSINGS} more sets')
    return '\n'.join(map(printable, lines))


def main(argv: list[str]) -> None:
    """Prepares, and prints what it found."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument('--json', type=pathlib.Path)
    try:
        given, rest = parser.parse_known_args(argv)
    except argparse.ArgumentError:
        raise UserError('--json: expected the name of a file to write') from None
    if not rest or rest[0].startswith('-'):
        raise UserError(
            'usage: python -m genre_jax.data.audit NAME --root=DIR [--json=FILE] [--key=value ...]'
        )
    if given.json and not given.json.absolute().parent.is_dir():
        raise UserError(f'--json={given.json}: there is no folder {given.json.absolute().parent}')
    settings = command.settings_from(rest)
    folder = prepare.from_settings(settings)
    findings, manifest = find(folder), prepare.read_manifest(folder)
    say(*table(settings['name'], findings, manifest).split('\n'))
    if given.json:
        whole = {'name': manifest['name'], 'fingerprint': manifest['fingerprint']}
        whole |= dataclasses.asdict(findings)
        whole['crossings'] = {
            protocol: [dataclasses.asdict(item) for item in crossing(findings, part_of_track)]
            for protocol, part_of_track in splits(manifest).items()
        }
        given.json.write_text(json.dumps(whole, indent=1))


if __name__ == '__main__':
    program.run(lambda argv: main(argv[1:]), config=False, others=True, more_help=command.names)
