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
from genre_jax.errors import UserError
from genre_jax.loading import run_data
from genre_jax.study import cells
from genre_jax.study.cells import Answer, Features, Fold, Outcome
from genre_jax.transfer import heads as transfer_heads
from genre_jax.transfer import sources as transfer_sources
from genre_jax.transfer.attention import Attention
from genre_jax.transfer.heads import Head, Windows


def check(config: ml_collections.ConfigDict, wanted: Sequence[str], heads: Sequence[str], folds: int) -> None:
    """Refuses sources, heads and folds (0: one split) that cannot be, before anything is prepared."""
    transfer_sources.names(wanted)
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


def _fill(fold: Fold, head: str, features: Features, bag: str, n_seeds: int) -> None:
    """Fits a head to a fold and writes its folder, unless that is finished."""
    settings = {'tried': transfer_heads.SETTINGS[head], 'bag': bag}
    if head == 'attention':
        settings['seeds'] = n_seeds
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


def measure(
    config: ml_collections.ConfigDict,
    workdir: pathlib.Path,
    wanted: Sequence[str],
    heads: Sequence[str],
    folds: int,
    bag: str,
    n_seeds: int,
) -> dict:
    """Fits and tests every head on every source, in one split or in folds; see the flags of the program.

    Returns facts about the target, 'folders' (`cells.places`) and 'figures', a dict for each cell.
    UserError: config, data or sources.
    """
    dataset = run_data.open_dataset(config)
    if bag == 'group':
        group, label = ({t['track']: t[key] for t in dataset.tracks} for key in ('group', 'label'))
        transfer_heads.check_bags(group, label)
    sources = transfer_sources.open_sources(wanted, config, dataset, workdir)
    protocol = config.split.protocol
    if folds and protocol != 'kfold':
        protocol = 'artist'
    opened = {
        source.name: cells.open_folds(
            source.network.config, protocol, folds, workdir / source.name, dataset, source.network
        )
        for source in sources
    }
    fill = functools.partial(_fill, bag=bag, n_seeds=n_seeds)
    outcomes = cells.run(opened, heads, fill, 'heads')
    figures, warnings = [], set()
    for source, head in itertools.product(sources, heads):
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
            }
        )
        warnings.update(*(result['warnings'] for result in own.results))
    described, first = cells.describe(dataset, folds), opened[sources[0].name][0].split
    return described | {
        'dataset': f'{config.data.get("root", "")} {described["dataset"]}'.strip(),
        'bag': bag,
        'protocol': first.protocol,
        'protocol_detail': first.detail,
        'words': {source.name: source.words for source in sources},
        'figures': figures,
        'warnings': sorted(warnings),
        'folders': cells.places(opened, heads, workdir),
        **_tested(outcomes[sources[0].name, heads[0]]),
    }


def _tested(outcome: Outcome) -> dict[str, object]:
    """Returns how many songs and groups are tested, and how many the commonest class gets right."""
    songs = sum(result['n_songs']['test'] for result in outcome.results)
    right = sum(r['majority']['accuracy'] * r['n_songs']['test'] for r in outcome.results)
    groups = {group for part in outcome.tests for group in part.group.tolist()}
    return {'songs': songs, 'groups': len(groups), 'majority': right / songs}
