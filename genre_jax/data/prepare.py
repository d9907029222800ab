"""Prepares a dataset once: every recording decoded and stored as ArrayRecord by TFDS.

    python -m genre_jax.data.prepare gtzan --root=genres.tar.gz
    python -m genre_jax.data.prepare folder --root=DIR --sample_rate_hz=22050

    python -m genre_jax.data.prepare folder --root=DIR --runner=DirectRunner \
        --beam_options='--direct_num_workers=4'

Training does the same on first use. Flags are the keys of config.data: `--root`, `--prepared_dir`,
`--chunk_s`, and those of the dataset (data/NAME/README.md).

A prepared dataset lies in `<prepared_dir>/<name>/<fingerprint>/`: TFDS's files and `manifest.json`,
which says what was prepared from what. The folder appears under that name only when it is whole; in an
object store, which has no folders to rename, the manifest is written last. Stopped half way, the next
call keeps the recordings that were already decoded.

`--runner` and `--beam_options` have the work done by a pipeline of Apache Beam (README.md of data/).
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import importlib
import json
import os
import pathlib
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import tqdm
from absl import logging

from genre_jax import config as config_lib
from genre_jax import program
from genre_jax.data import command, decode, duplicates, storage
from genre_jax.data.pipeline import Pipeline, from_arguments
from genre_jax.data.recordings import Recording, Source
from genre_jax.data.storage import Path
from genre_jax.errors import UserError

# Part of every fingerprint: raise it when the prepared bytes change for the same input.
_FORMAT = 4
# Types of a dataset's keys that are checked, and what to do about another one. On the command line a
# folder called 5 looks like a number.
_TYPES = {int: '', int | None: '', str: ', for a path in the form ./NAME'}


def source_class(name: str, section: str = 'data') -> type[Source]:
    """Returns `data.<name>.Source`.

    Args:
        name: of the dataset.
        section: of the config that names it, for messages.

    Raises:
        UserError: no such dataset.
    """
    root = pathlib.Path(__file__).parent
    known = sorted(path.parent.name for path in root.glob('*/__init__.py'))
    if name not in known:
        raise UserError(f'config.{section}.name={name!r}{config_lib.nearest(str(name), known)}')
    return importlib.import_module(f'genre_jax.data.{name}').Source


def takes(name: str) -> dict[str, config_lib.Setting]:
    """Returns the further keys of config.data that a dataset takes."""
    return config_lib.accepted(source_class(name))


def load_source(settings: Mapping, section: str = 'data') -> Source:
    """Builds `data.<name>.Source` from the section config.data, or one in it.

    Args:
        settings: 'name' and whatever that Source takes; in config.data, 'prepared_dir' and 'chunk_s' are
            left out.
        section: of the config that they are, for messages.

    Raises:
        UserError: no such dataset, a key that it does not take, or a value of another type.
    """
    takes = source_class(settings['name'], section)
    for key, hint in typing.get_type_hints(takes.__init__).items():
        value = settings.get(key)
        if hint in _TYPES and key in settings and not isinstance(value, hint):
            wanted = getattr(hint, '__name__', hint)
            raise UserError(f'config.{section}.{key}={value!r}: expected {wanted}{_TYPES[hint]}')
    of_preparation = ('prepared_dir', 'chunk_s') if section == 'data' else ()
    return config_lib.call_with_section(takes, section, settings, skip=('name', *of_preparation))


def prepare(
    source: Source,
    prepared_dir: str | os.PathLike,
    chunk_s: float,
    pipeline: Pipeline | None = None,
) -> Path:
    """Prepares a dataset, or finds it prepared.

    Args:
        source: what to prepare.
        prepared_dir: folder that holds all prepared datasets, or its address in an object store.
        chunk_s: longest stretch of audio in one record, in seconds.
        pipeline: what decodes and writes; None for the cores of this machine.

    Returns:
        The folder of the prepared dataset.

    Raises:
        UserError: nothing usable in the source, or the folder cannot be written.
    """
    key = hashlib.sha256(f'{_FORMAT}/{chunk_s}/{source.fingerprint}'.encode()).hexdigest()[:16]
    home = storage.folder(prepared_dir) / source.name
    if pipeline and storage.is_local(home):
        home = home.absolute()  # workers need not stand where this process does
    target, partial = home / key, home / f'{key}.partial'
    whole = target
    if not storage.is_local(home):  # nothing is renamed: the manifest, written last, makes it whole
        partial, whole = target, target / 'manifest.json'
    with _only_one(home / f'{key}.lock'):
        if whole.exists():
            read_manifest(target)  # for its error
        else:
            if source.root:
                _announce_change(source, home)
            manifest = _make(source, partial, chunk_s, pipeline)
            storage.remove(partial / 'decoded')
            (partial / 'manifest.json').write_text(json.dumps(manifest, indent=1, sort_keys=True))
            if partial != target:
                partial.rename(target)
        if source.root:
            _root_file(source, home).write_text(key)
    return target


def _make(source: Source, folder: Path, chunk_s: float, pipeline: Pipeline | None) -> dict:
    """Decodes everything and writes all but the manifest, which it returns."""
    recordings, quarantined = source.recordings()
    duplicates.check_count(source.name, len(recordings))
    clips, unusable = decode.decode_all(source, recordings, folder / 'decoded', pipeline)
    prints = decode.read_prints(clips)
    with (folder / 'fingerprints.npz').open('wb') as file:
        prints.save(file)
    pairs = duplicates.find(prints)
    usable, notes = duplicates.join_copies(
        [recording for recording, _ in clips], pairs, source.files()
    )
    clips = list(zip(usable, (file for _, file in clips), strict=True))
    manifest = _write_records(source, clips, folder, chunk_s, pipeline)
    manifest['duplicates'] = [dataclasses.asdict(pair) for pair in pairs]
    manifest['notes'] += notes + _vanished(recordings, clips)
    manifest['quarantined'] = [dataclasses.asdict(item) for item in quarantined + unusable]
    return manifest


def read_manifest(folder: Path) -> dict:
    """Returns what says what was prepared from what.

    Args:
        folder: what `prepare` returned.

    Raises:
        UserError: it is damaged.
    """
    file = folder / 'manifest.json'
    try:
        manifest = json.loads(file.read_bytes())
        if 'tracks' in manifest:
            return manifest
    except (OSError, TypeError, ValueError):
        pass
    raise UserError(f'{file} is damaged: delete {folder}, it is prepared again')


@contextlib.contextmanager
def _only_one(lock_file: Path) -> Iterator[None]:
    """Waits until no other process prepares the same dataset; object stores have no locks."""
    if not storage.is_local(lock_file):
        yield
        return
    try:
        lock_file.parent.mkdir(parents=True, exist_ok=True)
        lock = lock_file.open('w')
    except OSError as error:
        raise UserError(
            f'config.data.prepared_dir: {lock_file.parent} cannot be used ({error.strerror}): name a '
            'folder that can be written'
        ) from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _root_file(source: Source, home: Path) -> Path:
    """Returns the file that remembers which preparation a root had last."""
    root = os.path.abspath(source.root)
    return home / f'{hashlib.sha256(root.encode()).hexdigest()[:16]}.root'


def _announce_change(source: Source, home: Path) -> None:
    """Says what changed if the same root was prepared before with other content."""
    try:
        last = _root_file(source, home).read_text()
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


def _vanished(recordings: list[Recording], clips: list[tuple[Recording, Path]]) -> list[str]:
    """Names the classes that lost all their recordings to the quarantine."""
    left = {recording.label for recording, _ in clips}
    lost = sorted({recording.label for recording in recordings} - left)
    return [f'class {label!r} is left out: none of its recordings can be used' for label in lost]


def _write_records(
    source: Source,
    clips: list[tuple[Recording, Path]],
    folder: Path,
    chunk_s: float,
    pipeline: Pipeline | None,
) -> dict:
    """Writes the chunks with TFDS; returns the manifest."""
    # Imported here because only preparing and reading need it, and it takes a second.
    from genre_jax.data import builder

    sample_rate_hz = source.sample_rate_hz()
    chunk = round(chunk_s * sample_rate_hz) if source.kind == 'audio' else 1
    labels = sorted({recording.label for recording, _ in clips})
    layout = builder.Layout(source.kind, labels, chunk, sample_rate_hz)
    heads = decode.read_all((file for _, file in clips), builder.HEADER_BYTES)
    opened = [builder.Clip.open(*clip, head) for clip, head in zip(clips, heads, strict=True)]
    tracks, first_record = [], 0
    for clip in opened:
        position = {'n_samples': clip.shape[0], 'first_record': first_record}
        tracks.append(dataclasses.asdict(clip.recording) | position)
        first_record += layout.n_records(clip)

    def run(write_shard: Callable, shards: list) -> Iterable[int]:
        if pipeline:
            return pipeline.map(write_shard, shards, folder / 'decoded', 'write')
        return map(write_shard, tqdm.tqdm(shards, f'writing {source.name}', unit=' shards'))

    storage.remove(folder / 'tfds')
    builder.write(folder / 'tfds', source.description, layout, opened, run)
    return {
        'name': source.name,
        'kind': source.kind,
        'description': source.description,
        'fingerprint': source.fingerprint,
        'files': source.files(),
        'sample_rate_hz': sample_rate_hz,
        'chunk': chunk,
        'labels': labels,
        'group_key': source.group_key(),
        'notes': source.notes(),
        'protocols': source.protocols(),
        'tracks': tracks,
    }


def open_records(folder: pathlib.Path, feature: str) -> Sequence:
    """Returns one feature of the records of a prepared dataset, for random access: `records[i]`.

    Args:
        folder: what `prepare` returned.
        feature: 'audio', 'group', ...: a key of `builder.Recordings`.

    Raises:
        UserError: the folder is not whole.
    """
    from genre_jax.data import builder

    try:
        return builder.Column(folder / 'tfds', feature)
    except Exception as error:  # TFDS and ArrayRecord raise many kinds on damaged files
        raise UserError(
            f'{folder} is damaged ({type(error).__name__}): delete it, it is prepared again'
        ) from None


def main(argv: list[str]) -> None:
    """`python -m genre_jax.data.prepare NAME [--key=value ...]`: prepares and prints a summary."""
    pipeline, argv = from_arguments(argv)
    if not argv:
        raise UserError(
            'usage: python -m genre_jax.data.prepare NAME --root=DIR --prepared_dir=DIR [--key=value ...]'
        )
    settings = command.settings_from(argv)
    folder = prepare(load_source(settings), settings['prepared_dir'], settings['chunk_s'], pipeline)
    print(f'{folder}\n{summary(read_manifest(folder))}')


def summary(manifest: Mapping) -> str:
    """Returns a table of what was prepared: songs, hours and groups by class, and what was left out.

    Args:
        manifest: what `read_manifest` returns.
    """
    rate_hz = manifest['sample_rate_hz']
    amount, unit = {
        'audio': ('hours', 3600 * rate_hz),
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
    at_rate = f'; audio at {rate_hz} Hz' if manifest['kind'] == 'audio' else ''
    lines.append(f'groups: {manifest["group_key"]}{at_rate}')
    if manifest['protocols']:
        lines.append(f'split lists: {", ".join(sorted(manifest["protocols"]))}')
    lines.append(f'quarantined: {len(manifest["quarantined"])}')
    lines += [f'  {item["path"]}: {item["reason"]}' for item in manifest['quarantined']]
    return '\n'.join(lines + [f'note: {note}' for note in manifest['notes']])


if __name__ == '__main__':
    program.run(lambda argv: main(argv[1:]), config=False, others=True, more_help=command.names)
