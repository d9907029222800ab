"""Several runs beside one another, on one page: `python -m genre_jax.report RUN RUN ...`.

Runs are compared on songs that both have tested, matched by name and class; a setting is what runs have in
common that differ in seed, fold or seed of the split alone.
"""

import itertools
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.stats

from genre_jax import config as config_lib
from genre_jax.data.files import readable
from genre_jax.errors import UserError
from genre_jax.evaluation import intervals, paired
from genre_jax.evaluation.evaluate import KINDS, pool_songs
from genre_jax.report import dots, figures, page

_REPEATED = ('seed', 'split.fold', 'split.seed')  # in which runs of one setting may differ
_LEAST_SONGS = 10  # that two runs have to have tested both
_CURVES = {
    'val/song_max_probability/accuracy': 'Validation accuracy of songs, %',
    'val/loss': 'Validation loss, nats',
    'train/loss': 'Training loss, nats',
}


def write(folders: Sequence[pathlib.Path], out: pathlib.Path) -> pathlib.Path:
    """Writes the page of some finished runs, two at least, to a file; returns its path.

    A UserError where one is no finished run, or named twice, or knows other classes than the first.
    """
    places = [folder.resolve() for folder in folders]
    for place in places:
        if places.count(place) > 1:
            raise UserError(f'{place} is named twice: expected different runs')
    runs = [page.read_run(place) for place in places]
    for place, run in zip(places[1:], runs[1:], strict=True):
        if run['result']['classes'] != runs[0]['result']['classes']:
            raise UserError(
                f'{place} has other classes than {places[0]}: expected the same classes in the same order'
            )
    contents = of_runs(_names(places), runs)
    contents['title'] = out.stem
    contents['links'] = [_link(place, out.resolve().parent) for place in places]
    page.render(pathlib.Path(__file__).with_name('comparison.html.j2'), out, contents)
    return out


def _names(places: Sequence[pathlib.Path]) -> list[str]:
    """Returns the ends of paths, as long as it takes to tell them apart."""
    for depth in itertools.count(1):
        names = [readable(str(pathlib.PurePath(*place.parts[-depth:]))) for place in places]
        if len(set(names)) == len(names):
            return names
    raise AssertionError('paths differ')


def _link(place: pathlib.Path, home: pathlib.Path) -> str | None:
    """Returns the address of a run's page from a folder; None where there is no page."""
    import urllib.parse

    if not (place / 'report.html').exists():
        return None
    return urllib.parse.quote(os.fsencode(os.path.relpath(place / 'report.html', home)))


def of_runs(names: Sequence[str], runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns what the page of runs shows, of `page.read_run`, whose classes are the same."""
    results = [run['result'] for run in runs]
    songs = _Songs([run['predictions'] for run in runs])
    pairs = [
        _pair(songs, i, j, _data_of(runs[i]) == _data_of(runs[j]))
        for i, j in itertools.combinations(range(len(runs)), 2)
    ]
    adjusted = holm([pair['p'] for pair in pairs if pair['why_not'] is None])
    for pair, p in zip([each for each in pairs if each['why_not'] is None], adjusted, strict=True):
        pair['p_holm'] = p
    leaky = [result['leaky'] for result in results]
    song = [result['parts']['test']['song_max_probability'] for result in results]
    flat = [config_lib.flatten(run['config']) for run in runs]
    settings = _settings(flat, songs, leaky, [each['accuracy'] for each in song])
    charts = {
        'accuracies': dots.chart(
            'Test accuracy of each run, by song, with 95 % intervals',
            [{'name': 'song, maximum probability'}],
            [
                (name, [dots.figure(each['accuracy'], each['accuracy_ci95'], is_leaky)])
                for name, each, is_leaky in zip(names, song, leaky, strict=True)
            ],
            lines=[dots.line('chance', results[0]['chance'], 'second')],
        )
    }
    drawn = {
        'mark': 'LEAKY' if all(leaky) else '',
        'charts': charts,
        'names': list(names),
        'leaky': leaky,
        'classes': [readable(name) for name in results[0]['classes']],
        'curves': {
            key: [[point[:2] for point in figures.curve(run['metrics'], key)] for run in runs]
            for key in _CURVES
        },
        'pairs': pairs,
        'songs': songs.columns(),
    }
    return {
        'names': names,
        'leaky': leaky,
        'runs': [_row(run) for run in runs],
        'kinds': page.LEVELS,
        'differing': differing(flat),
        'facts': _facts(runs),
        'curves': {key: words for key, words in _CURVES.items() if any(drawn['curves'][key])},
        'recalls': _recalls(results),
        'settings': [each | {'names': [names[i] for i in each['runs']]} for each in settings],
        'contrasts': _contrasts(settings, songs),
        'with_songs': songs.tested.any(1).sum() > 1,
        'drawn': figures.as_script(drawn),
    }


class _Songs:
    """The test songs of all runs, in order of first appearance.

    Attributes:
        tested: whether a run has tested a song, bool [runs, songs].
        right: whether it has the class, bool [runs, songs].
    """

    def __init__(self, predictions: Sequence) -> None:
        """Pools predictions; None are those of a run that kept none."""
        pooled = [None if each is None else pool_songs(each) for each in predictions]
        keys: dict[tuple[str, int], int] = {}
        places = []
        for each in pooled:
            own = [] if each is None else zip(each.track.tolist(), each.label.tolist(), strict=True)
            places.append(np.array([keys.setdefault(key, len(keys)) for key in own], int))
        shape = (len(predictions), len(keys))
        self.tested, self.right = np.zeros(shape, bool), np.zeros(shape, bool)
        self.said, self.share = np.full(shape, -1), np.zeros(shape)
        self.hits, self.segments = np.zeros(shape), np.zeros(shape)
        self.track, self.label = [track for track, _ in keys], [label for _, label in keys]
        group: dict[int, str] = {}
        for i, (each, place) in enumerate(zip(pooled, places, strict=True)):
            if each is None:
                continue
            said = each.max_probability()
            rows = np.arange(len(said))
            self.tested[i, place] = True
            self.said[i, place], self.right[i, place] = said, said == each.label
            self.share[i, place] = each.probability[rows, said]
            self.hits[i, place], self.segments[i, place] = each.votes[rows, each.label], each.votes.sum(1)
            of_track = figures.group_of_track(predictions[i]) or {}
            for row, track in zip(place.tolist(), each.track.tolist(), strict=True):
                group.setdefault(row, of_track.get(track, track))
        self.group = intervals.number([group[i] for i in range(len(keys))]) if keys else np.zeros(0, int)

    def columns(self) -> dict[str, list]:
        """Returns names, classes, and for each run what it says, -1 untested, with its probability in %."""
        return {
            'track': [readable(track) for track in self.track],
            'label': self.label,
            'said': self.said.tolist(),
            'percent': np.rint(100 * self.share).astype(int).tolist(),
        }


def _data_of(run: Mapping[str, Any]) -> object:
    """Returns the name of the dataset of a run, as far as it is known: of others no song is the same."""
    return run['config'].get('data', {}).get('name')


def _pair(songs: _Songs, i: int, j: int, same_data: bool) -> dict[str, Any]:
    """Compares two runs: differences are the first minus the second, on the songs of both."""
    both = songs.tested[i] & songs.tested[j]
    pair = {'runs': [i, j], 'songs': int(both.sum()), 'why_not': None}
    if not same_data:
        return pair | {'why_not': 'they have tested other datasets'}
    if pair['songs'] < _LEAST_SONGS:
        kept = [bool(songs.tested[each].any()) for each in (i, j)]
        few = f'only {pair["songs"]} songs are tested by both: expected {_LEAST_SONGS} at least'
        return pair | {'why_not': few if all(kept) else 'one has kept no predictions'}
    group = intervals.number(songs.group[both])
    right = [songs.right[each, both].astype(float) for each in (i, j)]
    of = np.ones(pair['songs'])
    song = paired.ahead((right[0], of), (right[1], of), group)
    segment = paired.ahead(*((songs.hits[each, both], songs.segments[each, both]) for each in (i, j)), group)
    only = [int((right[0] > right[1]).sum()), int((right[1] > right[0]).sum())]
    p = float(scipy.stats.binomtest(only[0], sum(only)).pvalue) if sum(only) else 1.0
    return pair | {
        'song': song['inflation'], 'song_ci95': song['inflation_ci95'],
        'segment': segment['inflation'], 'segment_ci95': segment['inflation_ci95'],
        'only': only, 'p': p,
        'same': float((songs.said[i, both] == songs.said[j, both]).mean()),
    }  # fmt: skip


def holm(p: Sequence[float]) -> list[float]:
    """Returns p values adjusted for their number (Holm 1979)."""
    order = np.argsort(p, kind='stable')
    adjusted = np.zeros(len(p))
    adjusted[order] = np.minimum(
        1, np.maximum.accumulate(np.asarray(p, float)[order] * np.arange(len(p), 0, -1))
    )
    return adjusted.tolist()


def _row(run: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what the first table says of a run."""
    config, result = run['config'], run['result']
    return {
        'model': readable(config['model']['name']),
        'features': readable(config['features']['name']),
        'protocol': result['protocol'],
        'detail': result['protocol_detail'],
        'seed': config['seed'],
        'n': result['n_songs']['test'],
        'parts': {kind: result['parts']['test'][kind] for kind in KINDS},
        'val': result['parts'].get('val', {}).get('song_max_probability'),
    }


def differing(flat: Sequence[Mapping[str, object]]) -> list[tuple[str, list[str]]]:
    """Returns keys of configs that are not the same in all runs, with the value of each run as JSON."""
    found = []
    for key in sorted(set().union(*flat)):
        values = [json.dumps(each[key], ensure_ascii=False) if key in each else '–' for each in flat]
        if len(set(values)) > 1:
            found.append((key, values))
    return found


def _facts(runs: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    """Returns what differs besides the configs: titles, and a value for each run."""
    rows: dict[str, list[str]] = {}
    for title, keys in {
        'data': ('dataset', 'fingerprint'), 'split': ('split_fingerprint',), 'commit': ('git_commit',),
        'device': ('device_kind',), 'devices': ('devices',), 'jax': ('packages', 'jax'),
    }.items():  # fmt: skip
        rows[title] = []
        for run in runs:
            value = run['environment']
            for key in keys:
                value = value.get(key) if value else None
            rows[title].append('unknown' if value is None else str(value)[:12])
    return [(title, values) for title, values in rows.items() if len(set(values)) > 1]


def _recalls(results: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[float | None]]]:
    """Returns classes with the recall of each run by song; None where it tested no song of the class."""
    each = [result['parts']['test']['song_max_probability']['per_class'] for result in results]
    return [
        (name, [run[name]['recall'] if run[name]['support'] else None for run in each])
        for name in results[0]['classes']
    ]


def _settings(
    flat: Sequence[Mapping[str, object]], songs: _Songs, leaky: Sequence[bool], accuracy: Sequence[float]
) -> list[dict[str, Any]]:
    """Returns settings with several runs: their mean, what chance in training does to it, songs pooled.

    `within` is the standard deviation over the seeds of one fold, pooled over folds, and `free` its degrees
    of freedom; None and 0 without a seed that was tried again. A pooled accuracy counts each song as often
    as it was tested, its interval by groups.
    """
    alike: dict[str, list[int]] = {}
    for i, each in enumerate(flat):
        kept = {
            key: value
            for key, value in each.items()
            if key not in _REPEATED and not config_lib.may_differ_on_resume(key)
        }
        alike.setdefault(json.dumps(kept, sort_keys=True, default=str), []).append(i)
    found = []
    for runs in alike.values():
        if len(runs) < 2:
            continue
        values = np.array([accuracy[i] for i in runs])
        folds: dict[tuple, list[float]] = {}
        for i in runs:
            fold = (flat[i].get('split.fold'), flat[i].get('split.seed'))
            folds.setdefault(fold, []).append(accuracy[i])
        free = sum(len(each) - 1 for each in folds.values())
        square = sum(np.var(each) * len(each) for each in folds.values())
        setting = {
            'runs': runs,
            'seeds': len({flat[i]['seed'] for i in runs}),
            'folds': len(folds),
            'leaky': any(leaky[i] for i in runs),
            'mean': float(values.mean()),
            'std': float(values.std(ddof=1)),
            'range': [float(values.min()), float(values.max())],
            'free': free,
            'within': float(np.sqrt(square / free)) if free else None,
            'pooled': None,
        }
        tested = songs.tested[runs].sum(0)
        if tested.any():
            kept = tested > 0
            right = songs.right[runs].sum(0)[kept].astype(float)
            group = intervals.number(songs.group[kept])
            setting['pooled'] = paired.accuracy(right, tested[kept].astype(float), group)
            setting['n'] = int(kept.sum())
        found.append(setting)
    return found


def _contrasts(settings: Sequence[Mapping[str, Any]], songs: _Songs) -> list[dict[str, Any]]:
    """Compares settings on the songs that both have tested: what of a difference songs, or seeds, explain.

    `by_songs_ci95` takes trainings as they are and songs as drawn, in groups; `by_seeds_ci95`, Welch's
    (1947), takes songs as they are and trainings as drawn, by the deviations within folds.
    """
    found = []
    for i, j in itertools.combinations(range(len(settings)), 2):
        first, second = settings[i], settings[j]
        sides = [
            (songs.right[each['runs']].sum(0).astype(float), songs.tested[each['runs']].sum(0).astype(float))
            for each in (first, second)
        ]
        both = (sides[0][1] > 0) & (sides[1][1] > 0)
        contrast = {'settings': [i, j], 'songs': int(both.sum()), 'by_seeds_ci95': None, 'difference': None}
        if contrast['songs'] >= _LEAST_SONGS:
            group = intervals.number(songs.group[both])
            figure = paired.ahead(*((right[both], of[both]) for right, of in sides), group)
            contrast |= {'difference': figure['inflation'], 'by_songs_ci95': figure['inflation_ci95']}
            if first['free'] and second['free']:
                least = 1 / 12 / contrast['songs'] ** 2  # accuracies are counted in whole songs
                parts = [max(each['within'] ** 2, least) / len(each['runs']) for each in (first, second)]
                total = sum(parts)
                of_part = zip(parts, (first, second), strict=True)
                free = total**2 / sum(part**2 / each['free'] for part, each in of_part)
                half = scipy.stats.t.ppf(0.975, free) * np.sqrt(total)
                ends = (figure['inflation'] - half, figure['inflation'] + half)
                contrast['by_seeds_ci95'] = [*map(float, ends)]
        found.append(contrast)
    return found
