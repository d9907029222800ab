"""Training batches from our two loaders, beside PyTorch's DataLoader over the files and what models consume.

    python -m benchmarks.loading [--source DIR] [--json FILE] [--device cpu] [--repeats 9]

Windows of the same length, drawn at random from the same files, mono and at the same rate; a row is one
epoch of them. The DataLoader's dataset opens a file, seeks, reads and resamples, in as many persistent
workers as there are cores. 'cold': the page cache of all files was emptied before each epoch, and nothing is
held in memory. Without --source: 8 classes of 12 synthetic clips of 30 s, 22.05 kHz, as WAV and as OGG.
"""

from __future__ import annotations

import itertools
import math
import os
import pathlib
import tempfile
from collections.abc import Callable, Iterable, Mapping

import jax
import joblib
import ml_collections
import numpy as np
import soundfile
import soxr
import torch

from benchmarks import frontends, timing
from genre_jax import sharding
from genre_jax.configs import finetune, shallow_cnn_gtzan
from genre_jax.data import folder, prepare
from genre_jax.loading import loader, prepared
from genre_jax.loading.resident import Resident
from genre_jax.training import step as train
from genre_jax.training.job import make_job

_CLASSES, _CLIPS, _CLIP_S, _RATE_HZ = 8, 12, 30.0, 22050


class Windows(torch.utils.data.Dataset):
    """Random windows of audio files, as a PyTorch user writes it."""

    def __init__(
        self, files: list[pathlib.Path], labels: np.ndarray, config: ml_collections.ConfigDict,
        rate_hz: int,
    ) -> None:  # fmt: skip
        """Notes what to read.

        Args:
            files: audio files.
            labels: one a file.
            config: the section config.windows.
            rate_hz: of the windows.
        """
        self._files, self._labels, self._rate_hz = files, labels, rate_hz
        self._window_s, self._per_file = config.window_s, config.train_per_track

    def __len__(self) -> int:
        return len(self._files) * self._per_file

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        n_samples = math.ceil(self._window_s * self._rate_hz)
        with soundfile.SoundFile(self._files[i // self._per_file]) as file:
            frames = math.ceil(self._window_s * file.samplerate)
            file.seek(int(torch.randint(max(1, file.frames - frames + 1), ())))
            audio = file.read(frames, dtype='float32', always_2d=True).mean(1)
            if file.samplerate != self._rate_hz:
                audio = soxr.resample(audio, file.samplerate, self._rate_hz)
        audio = audio[:n_samples]
        audio = np.pad(audio, (0, n_samples - len(audio)))
        return torch.from_numpy(audio), int(self._labels[i // self._per_file])


def write_clips(home: pathlib.Path) -> list[pathlib.Path]:
    """Writes the same clips as WAV and as OGG.

    Args:
        home: where.

    Returns:
        A folder of classes for each format.
    """
    rng = np.random.default_rng(0)
    clip = frontends.clips(1, _CLIP_S, _RATE_HZ)[0]
    for label, i in itertools.product(range(_CLASSES), range(_CLIPS)):
        shift = rng.integers(len(clip))  # else all are copies of one recording
        audio = np.roll(clip, shift) + 0.01 * rng.standard_normal(len(clip))
        for suffix in ('wav', 'ogg'):
            file = home / suffix / f'class{label}' / f'{i}.{suffix}'
            file.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(file, audio, _RATE_HZ)
    return [home / 'wav', home / 'ogg']


def empty_page_cache(files: Iterable[pathlib.Path]) -> None:
    """Makes the next reader of files wait for the disk.

    Args:
        files: all that is read; written to the disk already.
    """
    for file in files:
        descriptor = os.open(file, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def page_configs() -> dict[str, ml_collections.ConfigDict]:
    """Returns the trainings that consume what is loaded, by model, on random windows."""
    configs = {
        'shallow_cnn': shallow_cnn_gtzan.get_config(),
        'musicnn': finetune.get_config('model=musicnn,pretrained=False'),
    }
    for config in configs.values():
        config.windows.train_draw = 'random'
        config.windows.train_per_track = 15
    configs['musicnn'].train.batch_size = 8
    return configs


def make_step(
    config: ml_collections.ConfigDict, stored: prepared.Stored, examples: int
) -> Callable[[Mapping[str, jax.Array]], jax.Array]:
    """Returns a function that trains one step on a batch and returns the loss.

    Args:
        config: of the training.
        stored: what one example is.
        examples: in an epoch.
    """
    job = make_job(config, stored, examples, sharding.make_mesh())
    held = [train.make_state(job)]
    program = train.make_train_step(job, job.plan.groups(0))

    def step(batch: Mapping[str, jax.Array]) -> jax.Array:
        held[0], facts = program(held[0], batch)
        return facts['loss']

    return step


def measure(
    root: pathlib.Path, home: pathlib.Path, config: ml_collections.ConfigDict, model: str,
    table: timing.Table, repeats: int,
) -> None:  # fmt: skip
    """Adds the rows of one folder of files and one model.

    Args:
        root: folder of classes.
        home: where to prepare it.
        config: of the model's training.
        model: its name.
        table: of the results.
        repeats: rounds.
    """
    source = folder.Source(root=str(root))
    made = prepare.prepare(source, home, config.data.chunk_s)
    dataset = prepared.Dataset(made)
    tracks = np.arange(len(dataset.tracks))
    size = config.train.batch_size

    def windows_of(dataset: prepared.Dataset) -> loader.WindowTable:
        return loader.WindowTable(dataset, tracks, config.windows, train=True, seed=0)

    windows, epochs = windows_of(dataset), itertools.count()
    steps = len(windows) // size
    mesh = sharding.make_mesh()
    resident = Resident(config, dataset, windows.stored, mesh)
    audio_files = [pathlib.Path(source.root, track['path']) for track in dataset.tracks]
    clips = Windows(audio_files, dataset.label_ids(), config.windows, dataset.sample_rate_hz)
    torch_loader = torch.utils.data.DataLoader(
        clips, size, shuffle=True, drop_last=True, persistent_workers=True,
        num_workers=joblib.cpu_count(), multiprocessing_context='spawn',
    )  # fmt: skip

    def batches(windows: loader.WindowTable) -> Iterable:
        return loader.train_batches(
            windows, batch_size=size, seed=0, first_step=steps * next(epochs), steps=steps
        )

    def from_torch() -> None:
        assert sum(1 for _ in torch_loader) == steps

    def streamed() -> None:
        assert sum(1 for _ in batches(windows)) == steps

    def from_device() -> None:
        first = steps * next(epochs)
        take = resident.train(windows, first, first + steps)
        for _ in range(steps):
            jax.block_until_ready(take(1))

    just_opened = [windows]

    def forget() -> None:
        just_opened[0] = windows_of(prepared.Dataset(made))
        empty_page_cache([*audio_files, *(f for f in made.rglob('*') if f.is_file())])

    def streamed_cold() -> None:
        assert sum(1 for _ in batches(just_opened[0])) == steps

    os.sync()  # dirty pages stay in the cache
    title = f'{root.name} {config.windows.window_s:g} s'

    def row(name: str, ours_s: float, reference: str, reference_s: float) -> None:
        table.add(f'{title}, {name}', ours_s, reference, reference_s)
        rates = {
            'ours_per_s': steps * size / ours_s,
            'reference_per_s': steps * size / reference_s,
        }
        table.rows[-1] |= {'segments': steps * size} | rates
        print('{:34} {ours_per_s:8.0f}/s {:27} {reference_per_s:8.0f}/s'.format('', '', **rates))

    warm = timing.time_interleaved(
        {'streaming': streamed, 'resident': from_device, 'DataLoader': from_torch}, repeats
    )
    cold = timing.time_interleaved(
        {'streaming': streamed_cold, 'DataLoader': from_torch}, repeats, before=forget
    )
    row('streaming', warm['streaming'], 'DataLoader', warm['DataLoader'])
    row('streaming, cold', cold['streaming'], 'DataLoader, cold', cold['DataLoader'])
    row('resident', warm['resident'], 'DataLoader', warm['DataLoader'])
    step = make_step(config, windows.stored, len(windows))
    take = resident.train(windows, 0, 10**6)
    _, there = take(1)
    step_s = timing.time_interleaved(
        {
            'there': lambda: step(there),
            'cut': lambda: step(take(1)[1]),
            'cut alone': lambda: take(1),
        },
        repeats,
        pause_s=0.02,
    )
    row(f'streaming against {model}', warm['streaming'], f'{model} steps', steps * step_s['there'])
    table.add(f'{title}, {model} resident step', step_s['cut'], 'batch there', step_s['there'])
    added = {
        'added_percent': 100 * (step_s['cut'] / step_s['there'] - 1),
        'alone_percent': 100 * step_s['cut alone'] / step_s['there'],
    }
    table.rows[-1] |= added
    print(
        '{:34} resident adds {added_percent:.2f} %, its batch alone takes {alone_percent:.2f} % '
        'of a step'.format('', **added)
    )
    jax.clear_caches()


def main() -> None:
    """Prints the rows of each folder and model."""
    parser = timing.parser(__doc__)
    parser.add_argument('--source', type=pathlib.Path, help='folder with one folder per class')
    options = parser.parse_args()
    timing.use_device(options.device)
    table = timing.Table()
    with tempfile.TemporaryDirectory() as home:
        home = pathlib.Path(home)
        for root in [options.source] if options.source else write_clips(home / 'clips'):
            for model, config in page_configs().items():
                measure(root, home / 'prepared', config, model, table, options.repeats)
    table.write(options.json)


if __name__ == '__main__':
    main()
