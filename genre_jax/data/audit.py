"""Looks for what could leak from training into test: copies, and recordings of one artist or album.

    python -m genre_jax.data.audit gtzan --root=genres.tar.gz
    python -m genre_jax.data.audit folder --root=DIR --json=audit.json

Prepares the dataset if need be, as genre_jax.data.prepare does, and prints the recordings that belong
together, and for every split that the dataset brings (official, published lists) which of them stand
in more than one part of it. Copies were found when the dataset was prepared; the rest takes no time.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import json
import math
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence

from genre_jax import program
from genre_jax.data import command, duplicates, grouping, prepare
from genre_jax.errors import UserError

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
    """Recordings that belong together.

    Attributes:
        kind: a key of `KINDS`.
        name: what they have in common: artist, album, ...; of copies the first track.
        tracks: two or more.
        labels: their labels, sorted, each once.
    """

    kind: str
    name: str
    tracks: tuple[str, ...]
    labels: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Findings:
    """What belongs together in a prepared dataset.

    Attributes:
        copies: pairs that are the same recording.
        related: sets of recordings, in the order of `KINDS`, the largest of a kind first.
    """

    copies: tuple[duplicates.Pair, ...]
    related: tuple[Related, ...]


@dataclasses.dataclass(frozen=True)
class Crossing:
    """Recordings that belong together and stand in several parts of a split.

    Attributes:
        related: what they are; tracks that take no part in the split are in it too.
        parts: those of its tracks that stand in each part.
    """

    related: Related
    parts: dict[str, tuple[str, ...]]


def find(folder: pathlib.Path) -> Findings:
    """Returns what belongs together in a prepared dataset.

    Args:
        folder: what `data.prepare.prepare` returned.

    Raises:
        UserError: the folder is damaged.
    """
    manifest = prepare.read_manifest(folder)
    tracks = manifest['tracks']
    copies = tuple(duplicates.Pair(**pair) for pair in manifest['duplicates'])
    position = {track['track']: i for i, track in enumerate(tracks)}
    same = [(position[copy.first], position[copy.second]) for copy in copies]
    by_kind = {
        'copies': grouping.join([track['track'] for track in tracks], same),
        'title': _common(tracks, lambda track: _both(track['artist'], track['title'])),
        'group': [track['group'] for track in tracks],
        'album': _common(tracks, lambda track: track['album']),
        'artist': _common(tracks, lambda track: track['artist']),
        'tonic': _tonics(tracks),
    }
    related = []
    for kind in KINDS:
        members = collections.defaultdict(list)
        for track, name in zip(tracks, by_kind[kind], strict=True):
            if name:
                members[name].append(track)
        sets = [
            Related(
                kind,
                name,
                tuple(track['track'] for track in some),
                tuple(sorted({track['label'] for track in some})),
            )
            for name, some in members.items()
            if len(some) > 1
        ]
        related += sorted(sets, key=lambda item: (-len(item.tracks), item.name))
    return Findings(copies, tuple(related))


def crossing(findings: Findings, part_of_track: Mapping[str, str]) -> list[Crossing]:
    """Returns what stands in more than one part of a split.

    Args:
        findings: what belongs together.
        part_of_track: 'train', 'val' or 'test' by track; a track that it lacks takes no part.

    Returns:
        In the order of `findings.related`.
    """
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
    """Returns a line for each kind of what stands in more than one part of a split.

    Args:
        crossings: what `crossing` returns.
    """
    lines = []
    for kind, words in KINDS.items():
        some = [item for item in crossings if item.related.kind == kind]
        if some:
            count = sum(len(names) for item in some for names in item.parts.values())
            largest = max(some, key=lambda item: sum(map(len, item.parts.values())))
            lines.append(
                f'{words} in several parts: {len(some)} sets, {count} recordings, such as '
                f'{largest.related.name}'
            )
    return lines


def splits(manifest: Mapping) -> dict[str, dict[str, str]]:
    """Returns the splits that a dataset brings, {protocol: {track: part}}.

    Args:
        manifest: what `data.prepare.read_manifest` returns.
    """
    found = dict(manifest['protocols'])
    official = {track['track']: track['split'] for track in manifest['tracks']}
    if all(official.values()):
        found['official'] = official
    return dict(sorted(found.items()))


def _common(tracks: Iterable[Mapping], name_of: Callable[[Mapping], str]) -> list[str]:
    """Returns the first spelling of a name for all its spellings that differ in case and spaces."""
    spellings: dict[str, str] = {}
    names = (' '.join(name_of(track).split()) for track in tracks)
    return [spellings.setdefault(name.casefold(), name) for name in names]


def _both(artist: str, title: str) -> str:
    return f'{artist} - {title}' if artist.strip() and title.strip() else ''


def _tonics(tracks: Sequence[Mapping]) -> list[str]:
    """Names artist and tonic, in whatever octave, where both are known."""
    artists = _common(tracks, lambda track: track['artist'])
    rows = [i for i, track in enumerate(tracks) if artists[i] and track['tonic_hz'] > 0]
    cents = {i: 1200 * math.log2(tracks[i]['tonic_hz']) % 1200 for i in rows}
    same = []
    for artist in {artists[i] for i in rows}:
        order = sorted((i for i in rows if artists[i] == artist), key=cents.get)
        for i, j in zip(order, order[1:] + order[:1], strict=True):
            if (cents[j] - cents[i]) % 1200 <= _SAME_TONIC_CENTS:
                same.append((i, j))
    names = [''] * len(tracks)
    leaders = grouping.join([str(i) for i in range(len(tracks))], same)
    for i in rows:
        names[i] = f'{artists[i]}, {tracks[int(leaders[i])]["tonic_hz"]:.1f} Hz'
    return names


def table(name: str, findings: Findings, manifest: Mapping) -> str:
    """Returns what was found as text for people.

    Args:
        name: of the dataset.
        findings: what belongs together in it.
        manifest: what `data.prepare.read_manifest` returns.
    """
    tracks = manifest['tracks']
    label = {track['track']: track['label'] for track in tracks}
    lines = [f'{name}: {len(tracks)} recordings; groups: {manifest["group_key"]}', '']
    lines.append(f'copies: {len(findings.copies)} pairs')
    for pair in findings.copies[:_SHOWN]:
        how = pair.kind
        if pair.kind == duplicates.NEAR:
            how += f' (score {pair.score:.2f}, offset {pair.offset_s:+.2f} s)'
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
        lines += ['', *_protocol_lines(protocol, findings, part_of_track)]
    return '\n'.join(lines)


def _protocol_lines(
    protocol: str, findings: Findings, part_of_track: Mapping[str, str]
) -> list[str]:
    crossings = crossing(findings, part_of_track)
    sizes = collections.Counter(part_of_track.values())
    sizes = '/'.join(str(sizes[part]) for part in ('train', 'val', 'test'))
    if not crossings:
        return [f'split {protocol!r} ({sizes} recordings): nothing stands in more than one part']
    lines = [f'split {protocol!r} ({sizes} recordings): in more than one part stand']
    for kind, words in KINDS.items():
        some = [item for item in crossings if item.related.kind == kind]
        if some:
            count = sum(len(names) for item in some for names in item.parts.values())
            lines.append(f'  {words}: {len(some)} sets, {count} recordings')
        for item in some[:_SHOWN_CROSSINGS]:
            places = ', '.join(
                f'{part} {len(names)} ({names[0]}{", ..." if len(names) > 1 else ""})'
                for part, names in sorted(item.parts.items())
            )
            lines.append(f'    {item.related.name}: {places}')
        if len(some) > _SHOWN_CROSSINGS:
            lines.append(f'    ... and {len(some) - _SHOWN_CROSSINGS} more sets')
    return lines


def main(argv: list[str]) -> None:
    """Prepares, and prints what it found.

    Raises:
        UserError: an argument, the dataset, or the file to write is no good.
    """
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
    print(table(settings['name'], findings, manifest))
    if given.json:
        crossings = {
            protocol: [dataclasses.asdict(item) for item in crossing(findings, part_of_track)]
            for protocol, part_of_track in splits(manifest).items()
        }
        whole = {
            'name': manifest['name'],
            'fingerprint': manifest['fingerprint'],
            **dataclasses.asdict(findings),
            'crossings': crossings,
        }
        given.json.write_text(json.dumps(whole, indent=1))


if __name__ == '__main__':
    program.run(lambda argv: main(argv[1:]), config=False, others=True, more_help=command.names)
