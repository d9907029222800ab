"""What a run keeps to be looked at and listened to, in `look/`, as the page's scripts read it.

`map.npz`: `row` int32 [n], rows of the test part's predictions, and their places in two dimensions, `tsne`
and `pca`, float32 [n, 2]; of a handful of rows there is no `tsne`. `excerpts.json`: a list of {'track',
'start_s', 'end_s', 'file', 'file_start_s'}: the files are Opus in Ogg beside it, or, by their whole paths,
those of the dataset; `file_start_s` is where in the track they begin. `pictures.npz`: `row` int32 [m],
`spectrogram` and `saliency` uint8 [m, frames, bins], and `kind`, how the saliency was computed. Each may be
missing.
"""

import base64
import io
import json
import os
import pathlib
import urllib.parse
import zipfile
from collections.abc import Iterable
from typing import Any

import numpy as np
import PIL.Image

from genre_jax.errors import UserError
from genre_jax.evaluation.evaluate import Predictions, number_songs

# So that a page stays under 20 MB: what is beyond stays in the folder, sound linked, pictures left out.
_AUDIO_BYTES = 8_000_000
_PICTURE_BYTES = 3_000_000
_MAX_DOTS = 3000


def of_run(run_dir: pathlib.Path, predictions: Predictions | None, audio: str = 'inside') -> dict[str, Any]:
    """Returns 'map', 'excerpts' and 'pictures' of a run, None or empty where it has none.

    Sound is put into the page, as long as there is room, or 'linked'. A UserError of damaged files.
    """
    if predictions is None:
        return {'map': None, 'excerpts': [], 'pictures': None}
    first, song_of_row = number_songs(predictions.track)
    number = {track: i for i, track in enumerate(predictions.track[first].tolist())}
    folder = run_dir / 'look'
    return {
        'map': _map(folder / 'map.npz', predictions, song_of_row),
        'excerpts': _excerpts(folder / 'excerpts.json', number, audio),
        'pictures': _pictures(folder / 'pictures.npz', predictions, song_of_row),
    }


def _load(
    file: pathlib.Path, names: Iterable[str], rows: int, optional: Iterable[str] = ()
) -> dict[str, np.ndarray] | None:
    if not file.exists():
        return None
    try:
        with np.load(file) as arrays:
            there = [*names, *(name for name in optional if name in arrays)]
            found = {name: arrays[name] for name in there}
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f'{file}: cannot be read ({error}); remove it, or have it made again') from error
    if len(found['row']) and not 0 <= found['row'].min() <= found['row'].max() < rows:
        raise UserError(f'{file}: is of other predictions than predictions/test.npz; have it made again')
    return found


def _map(file: pathlib.Path, predictions: Predictions, song_of_row: np.ndarray) -> dict[str, Any] | None:
    """Returns columns of the dots, evenly thinned, and how many there were."""
    found = _load(file, ('row', 'pca'), len(predictions.track), ('tsne',))
    if found is None or not len(found['row']):
        return None
    n = len(found['row'])
    kept = np.unique(np.linspace(0, n - 1, min(n, _MAX_DOTS)).round().astype(int))
    row = found['row'][kept]
    return {
        'of': n,
        'song': song_of_row[row].tolist(),
        'start_s': np.float64(predictions.start_s[row]).round(2).tolist(),
        'predicted': predictions.probabilities[row].argmax(1).tolist(),
        **{
            name: np.float64(found[name][kept]).round(3).tolist() for name in ('tsne', 'pca') if name in found
        },
    }


def _excerpts(file: pathlib.Path, number: dict[str, int], audio: str) -> list[dict[str, Any]]:
    """Returns 'song', 'start_s', 'end_s', 'file_start_s' and 'source' of each excerpt of a test song."""
    if not file.exists():
        return []
    found, size = [], 0
    try:
        for each in json.loads(file.read_text('utf-8')):
            if each['track'] not in number:
                continue
            source = pathlib.Path(each['file'])
            times = {key: round(float(each[key]), 3) for key in ('start_s', 'end_s', 'file_start_s')}
            if source.is_absolute():
                url = f'file://{urllib.parse.quote(os.fsencode(source))}'
            else:
                sound = file.with_name(source.name).read_bytes()
                url = f'look/{urllib.parse.quote(source.name)}'
                if audio == 'inside' and size + len(sound) <= _AUDIO_BYTES:
                    size += len(sound)
                    url = f'data:audio/ogg;base64,{base64.b64encode(sound).decode()}'
            found.append({'song': number[each['track']], **times, 'source': url})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f'{file}: cannot be read ({error}); remove it, or have it made again') from error
    return found


def _pictures(file: pathlib.Path, predictions: Predictions, song_of_row: np.ndarray) -> dict[str, Any] | None:
    """Returns 'kind' and, of as many segments as there is room for, 'song', 'start_s' and 'png'.

    The red of the PNG is the spectrogram, its green the saliency; low frequencies are at the bottom.
    """
    found = _load(file, ('row', 'spectrogram', 'saliency', 'kind'), len(predictions.track))
    if found is None:
        return None
    pictures, size = [], 0
    for row, spectrogram, saliency in zip(
        found['row'].tolist(), found['spectrogram'], found['saliency'], strict=True
    ):
        layers = np.stack([spectrogram, saliency, np.zeros_like(saliency)], -1).swapaxes(0, 1)[::-1]
        buffer = io.BytesIO()
        PIL.Image.fromarray(np.ascontiguousarray(layers)).save(buffer, 'png', optimize=True)
        size += len(buffer.getvalue())
        if size > _PICTURE_BYTES:
            break
        pictures.append({
            'song': int(song_of_row[row]),
            'start_s': round(float(predictions.start_s[row]), 2),
            'png': base64.b64encode(buffer.getvalue()).decode(),
        })  # fmt: skip
    return {'kind': str(found['kind']), 'segments': pictures}
