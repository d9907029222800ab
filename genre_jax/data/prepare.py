"""Prepares a dataset once: every recording decoded and stored as ArrayRecord by TFDS.

    python -m genre_jax.data.prepare gtzan --root=genres.tar.gz
    python -m genre_jax.data.prepare folder --root=DIR --sample_rate_hz=22050

    python -m genre_jax.data.prepare folder --root=DIR --runner=DirectRunner \
        --beam_options='--direct_num_workers=4'

Training does the same on first use. Flags are the keys of config.data: `--root`, `--prepared_dir`,
`--chunk_s`, `--find_copies`, and those of the dataset (docs/datasets/NAME.md).

A prepared dataset lies in `<prepared_dir>/<name>/<fingerprint>/`: `manifest.json` and tables, which say
what was prepared from what. The samples lie beside it in `records/`, by content (store.py): a corrected
label, a moved or an added file costs that file alone. The folder appears under its name only when it is
whole; in an object store, which has no folders to rename, the manifest is written last. Stopped half way,
the next call keeps what was decoded.

    python -m genre_jax.data.prepare --prune [--prepared_dir=DIR] [--yes]

lists what is prepared with its size, and deletes what nothing needs any more: superseded preparations, those
of older versions, records that no preparation points to.

Files are hashed when their size or the time of their last change is new; `--verify` hashes all.

`--runner` and `--beam_options` have the work done by a pipeline of Apache Beam (docs/data.md).
"""

import dataclasses
import itertools
import os
import pathlib
from collections.abc import Mapping

from absl import logging

from genre_jax import program
from genre_jax.data import command, digests, duplicates, request, storage, store
from genre_jax.data import manifest as manifest_lib
from genre_jax.data.manifest import read as read_manifest
from genre_jax.data.pipeline import Pipeline, from_arguments
from genre_jax.data.recordings import OVER_TIME, Quarantined, Source
from genre_jax.data.storage import Path
from genre_jax.errors import UserError, printable, say


def from_settings(settings: Mapping, pipeline: Pipeline | None = None, *, verify: bool = False) -> Path:
    """Returns the folder of the prepared dataset of config.data; its recordings may be gone by then.

    `pipeline` decodes and writes, None for the cores of this machine; `verify`: read every file, though size
    and time of its last change are known. UserError: a mistake in the settings, nothing usable in the source,
    or a folder that cannot be written.
    """
    if settings.get('prepared'):
        folder = pathlib.Path(settings['prepared'])
        if not (folder / 'manifest.json').exists():
            raise UserError(
                f'config.data.prepared={folder}: expected the folder of a prepared dataset, which has a '
                'manifest.json'
            )
        return folder
    home = storage.folder(settings['prepared_dir']) / settings['name']
    asked = request.request_file(settings, home)
    gone = [root for root in request.roots(settings) if not os.path.exists(root)]
    if gone and asked.exists():
        folder = home / asked.read_text()
        if _is_whole(folder):
            logging.warning('%s is gone: %s was prepared from it, and is used', gone[0], folder)
            return folder
    try:
        source, chunk_s = request.load_source(settings), settings['chunk_s']
        how = {'verify': verify, 'find_copies': settings.get('find_copies', True)}
        folder = prepare(source, settings['prepared_dir'], chunk_s, pipeline, **how)
    except UserError as error:
        other = gone and request.root_file(gone[0], home)
        if not other or not other.exists():
            raise
        folder = home / other.read_text()
        raise UserError(
            f'{error}; it was prepared with other settings: config.data.prepared={folder} trains on that'
        ) from None
    asked.write_text(folder.name)
    return folder


def prepare(
    source: Source,
    prepared_dir: str | os.PathLike,
    chunk_s: float,
    pipeline: Pipeline | None = None,
    *,
    verify: bool = False,
    find_copies: bool = True,
) -> Path:
    """Prepares a dataset, or finds it prepared; returns its folder.

    `prepared_dir` is the folder of all prepared datasets, or its address in an object store; `chunk_s` the
    longest stretch of audio in one record, in seconds; `find_copies` whether recordings are compared by their
    sound; the rest is as for `from_settings`.
    """
    home = storage.folder(prepared_dir) / source.name
    source.digests = digests.Digests(home / 'digests.arrow', verify=verify)
    settings = f'{request.FORMAT}/{chunk_s}/{find_copies}/{source.fingerprint}'
    key = digests.of_text(settings).hex()[:16]
    if pipeline and storage.is_local(home):
        home = home.absolute()  # workers need not stand where this process does
    target = home / key
    unusable = f'config.data.prepared_dir: {home} cannot be used'
    with storage.only_one(home / f'{key}.lock', unusable, 'name a folder that can be written'):
        if (target / 'manifest.json').exists():
            read_manifest(target)  # for its error
        if not _is_whole(target):
            if storage.is_local(home):
                storage.check_renames(home, 'config.data.prepared_dir')
            if source.root:
                _announce_change(source, home)
            # Nothing is renamed in an object store: the manifest, written last, makes it whole.
            partial = home / f'{key}.partial' if storage.is_local(home) else target
            partial.mkdir(parents=True, exist_ok=True)
            manifest_lib.write(partial, _make(source, home, chunk_s, pipeline, find_copies))
            if partial != target:
                storage.remove(target)
                partial.rename(target)
        source.digests.save()
        if source.root:
            request.root_file(source.root, home).write_text(key)
    return target


def _is_whole(folder: Path) -> bool:
    """Tells whether a dataset is prepared, and the records are there that it points to."""
    if not (folder / 'manifest.json').exists():
        return False
    batches = read_manifest(folder)['batches']
    return all((folder.parent / 'records' / name).exists() for name in batches)


def _make(source: Source, home: Path, chunk_s: float, pipeline: Pipeline | None, find_copies: bool) -> dict:
    """Decodes what is not stored yet, and returns the manifest."""
    recordings, quarantined = source.recordings()
    if not recordings:
        raise UserError(f'{source.name} holds no recordings')
    if find_copies and len(recordings) > duplicates.MOST_RECORDINGS:
        raise UserError(
            f'{source.name} holds {len(recordings)} recordings; expected at most '
            f'{duplicates.MOST_RECORDINGS}, among which copies can be found: prepare a part, or set '
            'config.data.find_copies=False'
        )
    sample_rate_hz = source.sample_rate_hz()  # found once here, then pickled with the source
    # A frame of pitch stands for hundreds of samples: a minute's are still a small record.
    longest_s = {'audio': chunk_s, 'pitch': 60 * chunk_s}.get(source.kind)
    chunk = round(longest_s * sample_rate_hz) if longest_s else 1
    listed = [(recording, store.content_key(source, recording, chunk_s)) for recording in recordings]
    stored, missing, reasons = store.read(home), {}, {}
    for recording, content in listed:
        if content not in stored:
            missing.setdefault(content, recording)
    if missing:
        reasons = store.add(home, source, missing, chunk, pipeline)
        stored = store.read(home)
    held = [(recording, key, stored[key]) for recording, key in listed if key in stored]
    unusable = [
        Quarantined(recording.path or recording.track, reasons[content])
        for recording, content in listed
        if content not in stored
    ]
    for item in unusable:
        logging.warning('quarantined %s: %s', item.path, item.reason)
    if not held:
        raise UserError(
            f'none of the {len(recordings)} recordings of {source.name} can be used; the first: '
            f'{unusable[0].path}: {unusable[0].reason}'
        )
    pairs = duplicates.find(store.read_prints(home, held), find_copies)
    usable, notes = duplicates.join_copies([r for r, _, _ in held], pairs, source.files())
    if source.kind == 'audio' and not find_copies:
        notes.append('copies were not looked for by sound (config.data.find_copies=False)')
    ends: dict[str, int] = {}
    for where in stored.values():
        end = where.first_record + -(-where.n_samples // chunk)
        ends[where.batch] = max(ends.get(where.batch, 0), end)
    # In the order of their names, in which the manifest keeps them.
    batches = {name: ends[name] for name in sorted({where.batch for _, _, where in held})}
    begins = dict(zip(batches, itertools.accumulate(batches.values(), initial=0), strict=False))
    tracks = []
    for recording, (_, _, where) in zip(usable, held, strict=True):
        first = begins[where.batch] + where.first_record
        facts = {'n_samples': where.n_samples, 'first_record': first}
        tracks.append(dataclasses.asdict(recording) | facts)
    lost = {each.label for each in recordings} - {each.label for each in usable}
    notes += [f'class {label!r} is left out: none of its recordings can be used' for label in sorted(lost)]
    return {
        'name': source.name,
        'kind': source.kind,
        'description': source.description,
        'fingerprint': source.fingerprint,
        'files': source.files(),
        'sample_rate_hz': sample_rate_hz,
        'chunk': chunk,
        'labels': sorted({recording.label for recording in usable}),
        'group_key': source.group_key(),
        'notes': source.notes() + notes,
        'protocols': source.protocols(),
        'duplicates': [dataclasses.asdict(pair) for pair in pairs],
        'quarantined': [dataclasses.asdict(item) for item in quarantined + unusable],
        'batches': batches,
        'tracks': tracks,
    }


def _announce_change(source: Source, home: Path) -> None:
    """Says what changed if the same root was prepared before with other content."""
    try:
        last = request.root_file(source.root, home).read_text()
        old = read_manifest(home / last)['files']
    except (OSError, UserError, ValueError):  # never, or deleted since
        return
    new = source.files()
    added, removed = len(new.keys() - old.keys()), len(old.keys() - new.keys())
    changed = sum(new[name] != old[name] for name in new.keys() & old.keys())
    if added or removed or changed:  # else it is other settings that call for it
        logging.warning(
            '%s has changed since it was last prepared (files: %d added, %d removed, %d changed): '
            'preparing it again',
            source.root, added, removed, changed,
        )  # fmt: skip


def main(argv: list[str]) -> None:
    """`python -m genre_jax.data.prepare NAME [--key=value ...]`: prepares and prints a summary."""
    if '--prune' in argv:
        from genre_jax.data import prune

        prune.main([word for word in argv if word != '--prune'])
        return
    pipeline, argv = from_arguments(argv)
    if not argv:
        raise UserError(
            'usage: python -m genre_jax.data.prepare NAME --root=DIR --prepared_dir=DIR [--key=value ...]'
        )
    settings = command.settings_from([word for word in argv if word != '--verify'])
    folder = from_settings(settings, pipeline, verify='--verify' in argv)
    say(str(folder), *summary(read_manifest(folder)).split('\n'))


def summary(manifest: Mapping) -> str:
    """Returns a table of what was prepared: songs, hours and groups by class, and what was left out."""
    rate_hz = manifest['sample_rate_hz']
    amount, unit = {
        'audio': ('hours', 3600 * rate_hz),
        'pitch': ('hours', 3600 * rate_hz),
        'image': ('pictures', 1),
        'table': ('rows', 1),
    }[manifest['kind']]
    lines = [f'{"class":24} {"songs":>7} {amount:>9} {"groups":>7}']
    for label in [*manifest['labels'], None]:
        tracks = [t for t in manifest['tracks'] if label in (None, t['label'])]
        total = sum(t['n_samples'] for t in tracks) / unit
        lines.append(
            f'{"all" if label is None else label:24} {len(tracks):7} '
            f'{total:9.{2 * (unit > 1)}f} {len({t["group"] for t in tracks}):7}'
        )
    kind = manifest['kind']
    at_rate = f'; {kind} at {rate_hz:g} Hz' if kind in OVER_TIME else ''
    lines.append(f'groups: {manifest["group_key"]}{at_rate}')
    if manifest['protocols']:
        lines.append(f'split lists: {", ".join(sorted(manifest["protocols"]))}')
    lines.append(f'quarantined: {len(manifest["quarantined"])}')
    lines += [f'  {item["path"]}: {item["reason"]}' for item in manifest['quarantined']]
    lines += [f'note: {note}' for note in manifest['notes']]
    return '\n'.join(map(printable, lines))


if __name__ == '__main__':
    program.run(lambda argv: main(argv[1:]), config=False, others=True, more_help=command.names)
