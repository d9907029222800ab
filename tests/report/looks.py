"""Writes what a run keeps to be looked at and listened to, by hand."""

import json

import numpy as np
import soundfile

RATE_HZ = 16000


def write(run_dir, table, songs=3, excerpt_s=4.0):
    """Writes `look/`: all segments on the map, excerpts of the first songs, pictures of their segments."""
    rng = np.random.default_rng(5)
    folder = run_dir / 'look'
    folder.mkdir()
    n = len(table.track)
    places = {name: rng.normal(size=(n, 2)).astype(np.float32) for name in ('tsne', 'pca')}
    np.savez(folder / 'map.npz', row=np.arange(n, dtype=np.int32), **places)
    tracks, excerpts = list(dict.fromkeys(table.track.tolist()))[:songs], []
    time_s = np.arange(int(RATE_HZ * excerpt_s)) / RATE_HZ
    for i, track in enumerate(tracks):
        file = folder / f'excerpt {i}#.opus'
        soundfile.write(file, 0.2 * np.sin(2 * np.pi * 440 * time_s), RATE_HZ, format='OGG', subtype='OPUS')
        start_s = float(table.start_s[table.track == track].min())
        times = {'start_s': start_s, 'end_s': start_s + excerpt_s, 'file_start_s': start_s}
        excerpts.append({'track': track, **times, 'file': file.name})
    (folder / 'excerpts.json').write_text(json.dumps(excerpts))
    row = np.flatnonzero(np.isin(table.track, tracks)).astype(np.int32)
    spectrogram, saliency = rng.integers(0, 256, (2, len(row), 12, 5), dtype=np.uint8)
    pictures = {'spectrogram': spectrogram, 'saliency': saliency, 'kind': np.array('occlusion')}
    np.savez(folder / 'pictures.npz', row=row, **pictures)
    return places, excerpts, row, pictures
