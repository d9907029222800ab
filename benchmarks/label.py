"""Labelling 100 clips of 30 s beside the same job written with librosa and PyTorch, transformers, or LiteRT.

python -m benchmarks.label [--only musicnn yamnet] [--clips 100] [--json FILE] [--device cpu] [--repeats 3]

Of an AST two cores label a clip in some ten seconds: fewer clips do. Weights are random, but for YAMNet
beside LiteRT, which computes the published file ($GENRE_JAX_DATA). Ours runs warm, in one process; then the
time from the shell prompt to the answer for one clip is taken, cold (nothing compiled before) and warm.
"""

from __future__ import annotations

import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import flax
import jax
import numpy as np
import soundfile

import genre_jax
from benchmarks import timing
from genre_jax import features, models
from genre_jax.convert import store
from genre_jax.convert.engine import Converted

_CLASSES = 10
_RATE_HZ = 22050
_CLIP_S = 30
# Name: front end, shape of the features of a window.
_MODELS = {
    'shallow_cnn': ('schindler', (80, 80)),
    'musicnn': ('musicnn', (187, 96)),
    'yamnet': ('yamnet', (96, 64)),
    'cnn14': ('panns_32k', (1001, 64)),
    'efficientat': ('efficientat', (1000, 128)),
    'ast': ('ast', (1024, 128)),
}


def write_model(name: str, folder: pathlib.Path) -> None:
    """Writes a network with random weights as a converted checkpoint.

    Args:
        name: of _MODELS.
        folder: where to.
    """
    front_end, picture = _MODELS[name]
    model = models.build({'name': name}, _CLASSES)
    variables = jax.jit(model.init, static_argnames='train')(
        jax.random.key(0), np.zeros((1, *picture), np.float32), train=False
    )
    flat = flax.traverse_util.flatten_dict(jax.device_get(variables), sep='/')
    labels = [f'class {i}' for i in range(_CLASSES)]
    converted = Converted('random weights', name, {}, _CLASSES, front_end, picture, flat, [], labels)
    store.save(converted, folder, {'file': 'none', 'sha256': ''})


def write_clips(folder: pathlib.Path, count: int) -> list[str]:
    """Writes clips of noisy chords; returns their paths.

    Args:
        folder: where to.
        count: how many.
    """
    rng, time_s = np.random.default_rng(0), np.arange(_CLIP_S * _RATE_HZ) / _RATE_HZ
    files = []
    for i in range(count):
        chord = sum(np.sin(2 * np.pi * rng.uniform(100, 2000) * time_s) for _ in range(4))
        files.append(str(folder / f'{i:03d}.wav'))
        soundfile.write(files[-1], 0.1 * chord + 0.01 * rng.standard_normal(len(time_s)), _RATE_HZ)
    return files


def by_torch(name: str, window: int) -> Callable[[list[str]], list[np.ndarray]]:
    """Returns the job as it is commonly written: librosa for decoding and spectrograms, PyTorch for the rest.

    Args:
        name: of _MODELS.
        window: samples, at the front end's rate.
    """
    import librosa
    import torch

    from benchmarks import published, torch_models

    front_end = features.build({'name': _MODELS[name][0]})
    network = {
        'shallow_cnn': lambda: torch_models.ShallowCnn(_CLASSES),
        'musicnn': lambda: torch_models.Musicnn(_CLASSES),
        'yamnet': lambda: torch_models.yamnet(_CLASSES),
        'cnn14': lambda: torch_models.PannsCnn((64, 128, 256, 512, 1024, 2048), 3, 2, _CLASSES),
        'efficientat': lambda: published.efficientat_logits(_CLASSES),
    }[name]()
    network.eval()
    frames, mel_first = _MODELS[name][1][0], name in ('shallow_cnn', 'efficientat')

    def label(files: list[str]) -> list[np.ndarray]:
        answers = []
        for file in files:
            audio, _ = librosa.load(file, sr=front_end.sample_rate_hz)
            windows = librosa.util.frame(audio, frame_length=window, hop_length=window, axis=0)
            mel = librosa.feature.melspectrogram(
                y=windows,
                sr=front_end.sample_rate_hz,
                n_fft=front_end.n_fft,
                hop_length=front_end.hop_length,
                n_mels=front_end.n_mels,
            )
            picture = torch.from_numpy(np.log(mel[..., :frames] + 1e-6).astype(np.float32))[:, None]
            with torch.inference_mode():
                logits = network(picture if mel_first else picture.swapaxes(2, 3))
            answers.append(torch.softmax(logits, -1).mean(0).numpy())
        return answers

    return label


def by_transformers(window: int) -> Callable[[list[str]], list[np.ndarray]]:
    """Returns the job with transformers' pipeline for an AST of the published size.

    Args:
        window: samples at 16 kHz; of longer ones the pipeline hears the beginning.
    """
    import librosa
    import transformers

    network = transformers.ASTForAudioClassification(transformers.ASTConfig(num_labels=_CLASSES))
    classify = transformers.pipeline(
        'audio-classification', network, feature_extractor=transformers.ASTFeatureExtractor()
    )

    def label(files: list[str]) -> list[np.ndarray]:
        answers = []
        for file in files:
            audio, _ = librosa.load(file, sr=16000)
            windows = [audio[start : start + window] for start in range(0, len(audio), window)]
            scores = classify(windows, top_k=None)
            by_label = [{each['label']: each['score'] for each in one} for one in scores]
            answers.append(np.mean([[one[key] for key in sorted(one)] for one in by_label], 0))
        return answers

    return label


def by_litert(file: pathlib.Path) -> Callable[[list[str]], list[np.ndarray]]:
    """Returns the job with YAMNet's published file for LiteRT, a window at a time, which is what it takes.

    Args:
        file: yamnet.tflite.
    """
    import librosa
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(file), num_threads=os.cpu_count())
    interpreter.allocate_tensors()
    into, out = interpreter.get_input_details()[0]['index'], interpreter.get_output_details()[0]['index']

    def label(files: list[str]) -> list[np.ndarray]:
        answers = []
        for path in files:
            audio, _ = librosa.load(path, sr=16000)
            scores = []
            for window in librosa.util.frame(audio, frame_length=15600, hop_length=15600, axis=0):
                interpreter.set_tensor(into, window[None])
                interpreter.invoke()
                scores.append(interpreter.get_tensor(out)[0])
            answers.append(np.mean(scores, 0))
        return answers

    return label


def from_the_prompt(model: pathlib.Path, clip: str, cache: pathlib.Path) -> float:
    """Returns the seconds that one clip takes as a command of its own.

    Args:
        model: folder of the model.
        clip: the file.
        cache: folder of what was compiled.
    """
    start = time.perf_counter()
    words = [sys.executable, '-m', 'genre_jax.label', str(model), clip]
    subprocess.run(words, check=True, capture_output=True, env=os.environ | {'GENRE_JAX_CACHE': str(cache)})
    return time.perf_counter() - start


def main() -> None:
    """Times each model and prints a table."""
    arguments = timing.parser(__doc__)
    arguments.add_argument('--only', nargs='*', choices=_MODELS, default=list(_MODELS))
    arguments.add_argument('--clips', type=int, default=100)
    arguments.set_defaults(repeats=3)
    options = arguments.parse_args()
    timing.use_device(options.device)
    data = pathlib.Path(os.environ.get('GENRE_JAX_DATA', '../shared/data'))
    litert = data / 'weights' / 'yamnet' / 'yamnet.tflite'
    table, told = timing.Table(), []
    with tempfile.TemporaryDirectory() as place:
        home = pathlib.Path(place)
        clips = write_clips(home, options.clips)
        for name in options.only:
            write_model(name, home / name)
            model = genre_jax.load(str(home / name))
            if name == 'ast':
                references = {"transformers' pipeline": by_transformers(model.window)}
            else:
                references = {'librosa + PyTorch': by_torch(name, model.window)}
            if name == 'yamnet' and litert.exists():
                references['librosa + LiteRT'] = by_litert(litert)
            jobs = {'ours': lambda model=model: model.label(clips)}
            jobs |= {key: lambda job=job: job(clips) for key, job in references.items()}
            seconds = timing.time_interleaved(jobs, options.repeats)
            for reference in references:
                table.add(f'{name}, {len(clips)} clips', seconds['ours'], reference, seconds[reference])
            speed = len(clips) * _CLIP_S / seconds['ours']
            cold = from_the_prompt(home / name, clips[0], home / f'{name}_cache')
            warm = [from_the_prompt(home / name, clips[0], home / f'{name}_cache') for _ in range(3)]
            told.append(
                f'{name}: {speed:.0f} times real time; one clip from the prompt {cold:.1f} s cold, '
                f'{statistics.median(warm):.1f} s warm'
            )
    print('\n'.join(told))
    table.write(options.json)


if __name__ == '__main__':
    main()
