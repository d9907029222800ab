"""Every head on every source, in every fold of the target, each with a folder like that of a run."""

import dataclasses
import functools
import itertools
import pathlib
from collections.abc import Callable, Mapping, Sequence

import ml_collections
import numpy as np

from genre_jax import config as config_lib
from genre_jax.data import request
from genre_jax.embeddings.network import Pass
from genre_jax.errors import UserError
from genre_jax.evaluation import evaluate
from genre_jax.loading import run_data
from genre_jax.logbook import read_json
from genre_jax.models.layers import LAST, WEIGHTED, WEIGHTS
from genre_jax.study import cells
from genre_jax.study.cells import Answer, Features, Fold, Outcome
from genre_jax.transfer import heads as transfer_heads
from genre_jax.transfer import sources as transfer_sources
from genre_jax.transfer.attention import Attention
from genre_jax.transfer.heads import Head, Windows


def check(
    config: ml_collections.ConfigDict,
    wanted: Sequence[str],
    heads: Sequence[str],
    folds: int,
    layers: Sequence[str] = (LAST,),
) -> None:
    """Refuses sources, heads, layers and folds (0: one split) that cannot be, before anything is prepared."""
    transfer_sources.names(wanted)
    if WEIGHTED in layers and not set(heads) & set(transfer_heads.TRAINED):
        raise UserError(
            f'--layers={WEIGHTED}: --heads has none that learns the weights; expected '
            f'{" or ".join(transfer_heads.TRAINED)} among them'
        )
    for layer in layers:
        if list(layers).count(layer) > 1:
            raise UserError(f'--layers: {layer} is named twice')
    for head in heads:
        if head not in transfer_heads.SETTINGS:
            hint = config_lib.nearest(head, transfer_heads.SETTINGS)
            raise UserError(f'--heads: unknown head {head!r}{hint}')
        if list(heads).count(head) > 1:
            raise UserError(f'--heads: {head} is named twice')
    if folds < 0 or folds == 1:
        raise UserError(f'--folds={folds}: expected 2 or more, or 0 for one split')
    protocol = config.split.protocol
    if protocol == 'segment_leaky':
        raise UserError(
            'config.split.protocol=segment_leaky: whole songs are tested here, and it has none; expected '
            'another protocol, such as grouped'
        )
    if folds and protocol not in ('grouped', 'artist', 'kfold'):
        raise UserError(
            f'--folds={folds}: config.split.protocol={protocol} has no folds; leave out one of them'
        )
    kind = request.load_source(config.data).kind
    if kind != 'audio':
        raise UserError(
            f'config.data.name={config.data.name!r} holds data of kind {kind!r}; expected recordings: of '
            'these the networks make embeddings'
        )


def _fill(
    fold: Fold, head: str, features: Features, source: transfer_sources.Source, bag: str, n_seeds: int
) -> None:
    """Fits a head to a fold and writes its folder, unless that is finished."""
    settings = {'tried': transfer_heads.SETTINGS[head], 'bag': bag}
    if source.layer != LAST:
        settings |= {'layers': source.layer, 'pooling': source.network.pooling}
    if head in transfer_heads.TRAINED:
        settings['seeds'] = n_seeds
    if source.among:
        settings['among'] = source.among
        chosen = functools.partial(_chosen, fold, head, source.among)
        fold.fill(head, settings, dict, lambda _: chosen)
        return
    seeds = [fold.config.seed + i for i in range(n_seeds)]

    def fit(embeddings: Mapping[str, np.ndarray]) -> Callable[[], Answer]:
        bags = fold.dataset.column('group') if bag == 'group' else fold.songs
        parts = {
            part: Windows(embeddings[part], each.labels, fold.songs[each.track], bags[each.track])
            for part, each in fold.tables.items()
        }
        fitted = transfer_heads.fit(head, parts, fold.dataset.labels, seeds)
        return lambda: answer(fitted)

    def answer(fitted: Head) -> Answer:
        predictions = {}
        for part, probabilities in fitted.probabilities.items():
            # Of the windows that the answers stand for: all, or the first of each song.
            table, rows = fold.tables[part], fitted.rows[part]
            own = table.predictions(np.zeros(len(table))).take(rows)
            predictions[part] = dataclasses.replace(own, probabilities=probabilities)
        facts = dict(fitted.chosen) | {'bag': bag}
        if fitted.weights is not None:
            test, table = predictions['test'], fold.tables['test']
            facts['test_accuracy_of_seeds'] = [
                float((seed.argmax(-1) == test.label).mean()) for seed in fitted.seeds['test']
            ]
            attention = Attention(
                fold.songs[table.track],
                table.start_s,
                np.float32(table.window / fold.dataset.sample_rate_hz),
                fitted.weights,
            )
            attention.save(fold.folder(head) / 'attention.npz')
        return Answer(predictions, fitted.notes, {'head': facts})

    fold.fill(head, settings, features, fit)


def _chosen(fold: Fold, head: str, among: Sequence[str]) -> Answer:
    """Returns the answers of the source whose head validation likes best, of those that are named."""
    results = {}
    for name in among:
        folder = fold.home.with_name(name) / head / fold.place
        if (folder / 'result.json').exists():  # not every head is one for every layer
            results[name] = folder, read_json(folder / 'result.json', cells.REMEDY)

    def rank(name: str) -> tuple[float, float]:
        tried = results[name][1]['head']['tried_on_val']
        return max((each['accuracy'], -each['log_loss']) for each in tried)

    best = max(results, key=rank)
    folder, result = results[best]
    predictions = {
        part: evaluate.Predictions.read(folder / 'predictions' / f'{part}.npz', cells.REMEDY)
        for part in ('val', 'test')
    }
    ranks = {name: dict(zip(('accuracy', 'log_loss'), np.abs(rank(name)), strict=True)) for name in results}
    return Answer(predictions, (), {'head': result['head'] | {'source': best, 'sources_on_val': ranks}})


def measure(
    config: ml_collections.ConfigDict,
    workdir: pathlib.Path,
    wanted: Sequence[str],
    heads: Sequence[str],
    folds: int,
    bag: str,
    n_seeds: int,
    layers: Sequence[str] = (LAST,),
    pooling: str = 'mean',
    windows: str = transfer_sources.PAGE,
) -> dict:
    """Fits and tests every head on every source, in one split or in folds; see the flags of the program.

    Returns facts about the target, 'folders' (`cells.places`) and 'figures', a dict for each cell.
    UserError: config, data or sources.
    """
    dataset = run_data.open_dataset(config)
    if bag == 'group':
        group, label = ({t['track']: t[key] for t in dataset.tracks} for key in ('group', 'label'))
        transfer_heads.check_bags(group, label)
    sources = transfer_sources.open_sources(wanted, config, dataset, workdir, layers, pooling, windows)
    protocol = config.split.protocol
    if folds and protocol != 'kfold':
        protocol = 'artist'
    opened = {
        source.name: cells.open_folds(
            source.network.config, protocol, folds, workdir / source.name, dataset, source.network
        )
        for source in sources
    }
    outcomes, own_heads = {}, {}
    for source in sources:
        # The weights of layers are learnt by a head that is trained.
        known = transfer_heads.TRAINED if source.layer == WEIGHTED else transfer_heads.SETTINGS
        own_heads[source.name] = [head for head in heads if head in known]
        fill = functools.partial(_fill, source=source, bag=bag, n_seeds=n_seeds)
        columns = {source.name: opened[source.name]}
        outcomes |= cells.run(columns, own_heads[source.name], fill, 'heads')
    figures, warnings = [], set()
    times = _times(sources, opened)
    for source, head in itertools.product(sources, heads):
        if head not in own_heads[source.name]:
            continue
        own = outcomes[source.name, head]
        pair = {'own': own, 'control': outcomes[source.control or source.name, head]}
        # On the same songs, of one split too.
        found = cells.compare(pair)['own']['song']
        figures.append(
            {
                'source': source.name,
                'head': head,
                'leaky': own.leaky,
                'accuracy': found['accuracy'],
                'accuracy_ci95': found['accuracy_ci95'],
                'control': source.control,
                'above_control': found['inflation'] if source.control else None,
                'above_ci95': found['inflation_ci95'] if source.control else None,
                **_above_first(source.name, sources[0].name, head, outcomes),
                **times[_network(source)].facts,
            }
        )
        warnings.update(*(result['warnings'] for result in own.results))
    described, first = cells.describe(dataset, folds), opened[sources[0].name][0].split
    return described | {
        'dataset': f'{config.data.get("root", "")} {described["dataset"]}'.strip(),
        'bag': bag,
        'protocol': first.protocol,
        'protocol_detail': first.detail,
        'words': {source.name: f'{source.words}; {_window(source)}' for source in sources},
        'figures': figures,
        'warnings': sorted(warnings),
        'heads': list(heads),
        'layers': _layers(outcomes),
        'times': [each.line for each in times.values()],
        'folders': {
            name: places
            for each, folds in opened.items()
            for name, places in cells.places({each: folds}, own_heads[each], workdir).items()
        },
        **_tested(next(iter(outcomes.values()))),
    }


def _above_first(source: str, first: str, head: str, outcomes: Mapping) -> dict[str, object]:
    """Compares a source with the first that is named, song by song."""
    facts = {'first': '', 'above_first': None, 'above_first_ci95': None}
    if source != first and (first, head) in outcomes:
        pair = {'own': outcomes[source, head], 'first': outcomes[first, head]}
        found = cells.compare(pair)['own']['song']
        facts = {
            'first': first,
            'above_first': found['inflation'],
            'above_first_ci95': found['inflation_ci95'],
        }
    return facts


def _window(source: transfer_sources.Source) -> str:
    window_s = source.network.config.windows.window_s
    return f'windows of {window_s:.4g} s' if window_s else 'whole recordings'


@dataclasses.dataclass(frozen=True)
class _Time:
    """How long the embeddings of a network took: one pass for all layers."""

    source: str  # the first of those that it is read as
    passes: Sequence[Pass]  # none where that is not known
    earlier: bool  # they are of an earlier program

    @property
    def facts(self) -> dict[str, object]:
        """Seconds for an hour of windows, on what, and whether earlier; None where they are not known."""
        rate_s = devices = earlier = None
        if self.passes:
            rate_s = 3600 * sum(p.seconds for p in self.passes) / sum(p.heard_s for p in self.passes)
            devices = ' and '.join(dict.fromkeys(each.devices for each in self.passes))
            earlier = self.earlier
        return {'seconds_per_hour': rate_s, 'devices': devices, 'earlier_pass': earlier}

    @property
    def line(self) -> str:
        """The same in words."""
        facts = self.facts
        if facts['seconds_per_hour'] is None:
            return (
                f'{self.source}: how long its embeddings took is not known: they were a single batch, with '
                'which the program is compiled, or are kept without it'
            )
        return (
            f'{self.source}: {facts["seconds_per_hour"]:.0f} s for the embeddings of an hour of windows, on '
            f'{facts["devices"]}' + ', in the earlier pass that they are kept from' * self.earlier
        )


def _times(
    sources: Sequence[transfer_sources.Source], opened: Mapping[str, Sequence[Fold]]
) -> dict[str, _Time]:
    """Returns the times of each network."""
    networks = {_network(source): source for source in reversed(sources)}
    return {
        name: _Time(source.name, *source.network.took(opened[source.name][0].tables['test']))
        for name, source in reversed(networks.items())
    }


def _network(source: transfer_sources.Source) -> str:
    return source.network.config.init.checkpoint


def _layers(outcomes: Mapping[tuple[str, str], Outcome]) -> list[str]:
    """Tells in lines which layers were chosen, and how layers are weighted: means over folds and seeds."""
    lines = []
    for (source, head), outcome in outcomes.items():
        found = [result['head'] for result in outcome.results]
        if 'source' in found[0]:
            lines.append(f'{source}, {head}: on validation {", ".join(each["source"] for each in found)}')
        elif WEIGHTS in found[0]:
            shares = np.mean([each[WEIGHTS] for each in found], axis=(0, 1))
            lines.append(f'{source}, {head}: weights of the layers {", ".join(f"{x:.2f}" for x in shares)}')
    return lines


def _tested(outcome: Outcome) -> dict[str, object]:
    """Returns how many songs and groups are tested, and how many the commonest class gets right."""
    songs = sum(result['n_songs']['test'] for result in outcome.results)
    right = sum(r['majority']['accuracy'] * r['n_songs']['test'] for r in outcome.results)
    groups = {group for part in outcome.tests for group in part.group.tolist()}
    return {'songs': songs, 'groups': len(groups), 'majority': right / songs}
