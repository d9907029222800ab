"""The page of a run with many songs: how long it takes to write, its size, and when Chromium has drawn it.

    python -m benchmarks.page [--songs=10000] [--segments=10]

Of 10, 61 and 161 classes, a fifth of the songs wrong, in groups of five, with more sound and pictures than
the page has room for. Seconds in Chromium, headless, from opening the file until every chart is drawn, and
from a letter in the filter, and a choice of the confusion matrix, until the next frame; 'busy' is the
processor's time of the tab until all is drawn, whatever else the machine does. The median of three.
Needs requirements-browser.txt and Chromium.
"""

import json
import pathlib
import shutil
import statistics
import tempfile
import time

import numpy as np
import playwright.sync_api
from absl import app, flags

from genre_jax.evaluation import evaluate
from genre_jax.report import figures
from genre_jax.report import page as report

_SONGS = flags.DEFINE_integer('songs', 10_000, 'test songs')
_SEGMENTS = flags.DEFINE_integer('segments', 10, 'segments of each')
_FRAME = 'new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))'
_DRAWN = "[...document.querySelectorAll('.chart')].every((place) => place.querySelector('svg'))"


def write_run(run_dir: pathlib.Path, n_classes: int, n_songs: int, n_segments: int) -> None:
    """Writes what the page needs of a run, from random predictions."""
    rng = np.random.default_rng(0)
    song = np.repeat(np.arange(n_songs), n_segments)
    label = rng.integers(0, n_classes, n_songs)
    seen = np.where(rng.random(n_songs) < 0.2, rng.integers(0, n_classes, n_songs), label)[song]
    logits = rng.normal(size=(len(song), n_classes)).astype(np.float32)
    logits[np.arange(len(song)), seen] += 6
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    table = evaluate.Predictions(
        np.array([f'library/artist {i // 5:05d}/album/{i:06d} a title.flac' for i in range(n_songs)])[song],
        np.tile(np.arange(n_segments, dtype=np.float32) * 3, n_songs),
        label[song].astype(np.int32),
        probabilities,
        np.array([f'genre {i}' for i in range(n_classes)]),
        np.array([f'artist {i // 5:05d}' for i in range(n_songs)])[song],
    )
    groups, classes = figures.group_of_track(table), table.classes.tolist()
    counts = {'test': n_songs}
    result = {
        'protocol': 'grouped', 'protocol_detail': 'random', 'leaky': False, 'classes': classes,
        'n_songs': counts, 'n_groups': {'test': len(set(groups.values()))}, 'n_segments': {'test': len(song)},
        'songs_per_class': {name: {'train': 100} for name in classes}, 'chance': 1 / n_classes,
        'majority': evaluate.majority_class(label, table, groups), 'warnings': [],
        'quarantined': {'count': 0, 'files': []}, 'parts': {'test': evaluate.evaluate(table, groups)},
    }  # fmt: skip
    table.save(run_dir / 'predictions' / 'test.npz')
    write_look(run_dir / 'look', rng, table)
    config = {'model': {'name': 'random'}, 'features': {'name': 'none'}, 'optim': {'name': 'none'}, 'seed': 0}
    for name, value in (('result', result), ('config', config)):
        (run_dir / f'{name}.json').write_text(json.dumps(value))


def write_look(folder: pathlib.Path, rng: np.random.Generator, table: evaluate.Predictions) -> None:
    """Writes more to look at and to listen to than a page has room for: noise, which nothing packs."""
    folder.mkdir()
    n = len(table.track)
    dots = {name: rng.normal(size=(n, 2)).astype(np.float32) for name in ('tsne', 'pca')}
    np.savez(folder / 'map.npz', row=np.arange(n), **dots)
    excerpts = []
    for i in range(300):
        (folder / f'{i}.opus').write_bytes(rng.bytes(40_000))
        track = str(table.track[i * (n // 300)])
        times = {'start_s': 0, 'end_s': 10, 'file_start_s': 0}
        excerpts.append({'track': track, **times, 'file': f'{i}.opus'})
    (folder / 'excerpts.json').write_text(json.dumps(excerpts))
    spectrogram, saliency = rng.integers(0, 256, (2, 200, 300, 64), dtype=np.uint8)
    pictures = {'spectrogram': spectrogram, 'saliency': saliency, 'kind': 'grad_cam'}
    np.savez(folder / 'pictures.npz', row=np.arange(200), **pictures)


def seconds(tab: playwright.sync_api.Page, act) -> float:
    """Returns how long something takes until the browser has drawn what comes of it."""
    began_s = time.monotonic()
    act()
    tab.evaluate(_FRAME)
    return time.monotonic() - began_s


def measure(browser: playwright.sync_api.Browser, page: pathlib.Path) -> list[float]:
    """Returns the seconds of opening, busy ones among them, of filtering and of another matrix."""
    tab = browser.new_page(viewport={'width': 1300, 'height': 900})
    tools = tab.context.new_cdp_session(tab)
    tools.send('Performance.enable', {'timeDomain': 'threadTicks'})

    def opened() -> None:
        tab.goto(page.as_uri())
        tab.wait_for_function(_DRAWN)

    drawn_s = seconds(tab, opened)
    metrics = tools.send('Performance.getMetrics')['metrics']
    found = [
        drawn_s,
        next(each['value'] for each in metrics if each['name'] == 'TaskDuration'),
        seconds(tab, lambda: tab.locator('input[name=words]').fill('7')),
        seconds(tab, lambda: tab.locator('select[name=kind]').select_option('segment')),
    ]
    tab.close()
    return found


def main(_: list[str]) -> None:
    """Prints a table."""
    print('| classes | MB | written, s | drawn, s | busy, s | filtered, s | another matrix, s |')
    print('|---|---|---|---|---|---|---|')
    with playwright.sync_api.sync_playwright() as driver, tempfile.TemporaryDirectory() as folder:
        browser = driver.chromium.launch(executable_path=shutil.which('chromium'), args=['--disable-gpu'])
        for n_classes in (10, 61, 161):
            run_dir = pathlib.Path(folder, str(n_classes))
            run_dir.mkdir()
            write_run(run_dir, n_classes, _SONGS.value, _SEGMENTS.value)
            began_s = time.monotonic()
            page = report.write_report(run_dir)
            written_s = time.monotonic() - began_s
            times = map(statistics.median, zip(*(measure(browser, page) for _ in range(3)), strict=True))
            cells = [f'{each:.2f}' for each in (page.stat().st_size / 1e6, written_s, *times)]
            print(f'| {n_classes} | {" | ".join(cells)} |')
        browser.close()


if __name__ == '__main__':
    app.run(main)
