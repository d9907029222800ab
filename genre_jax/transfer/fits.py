"""Every head on every source, in every fold of the target, each with a folder like that of a run."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence

import ml_collections
import numpy as np

from genre_jax import config as config_lib
from genre_jax.data import request
from genre_jax.errors import UserError
from genre_jax.evaluation import evaluate
from genre_jax.loading import loader, run_data
from genre_jax.study import cells
from genre_jax.study.cells import Answer, Fold, Outcome
from genre_jax.transfer import attention as transfer_attention
from genre_jax.transfer import heads as transfer_heads
from genre_jax.transfer import sources as transfer_sources
from genre_jax.transfer.heads import Head, Windows
from genre_jax.transfer.sources import Source


def check(
    config: ml_collections.ConfigDict, wanted: Sequence[str], heads: Sequence[str], folds: int
) -> None:
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


def _windows(fold: Fold, embeddings: Mapping[str, np.ndarray], bag: str) -> dict[str, Windows]:
    """Returns the windows of each part with their embeddings."""
    groups = np.asarray([track['group'] for track in fold.dataset.tracks])
    bags = groups if bag == 'group' else fold.songs
    return {
        part: Windows(embeddings[part], table.labels, fold.songs[table.track], bags[table.track])
        for part, table in fold.tables.items()
    }


def _fill(
    fold: Fold, head: str, features: Callable[[], Mapping[str, np.ndarray]], bag: str, n_seeds: int
) -> None:
    """Fits a head to a fold and writes its folder, unless that is finished."""
    settings = {'tried': transfer_heads.SETTINGS[head], 'bag': bag}
    if head == 'attention':
        settings['seeds'] = n_seeds
    seeds = [fold.config.seed + i for i in range(n_seeds)]

    def fit(embeddings: Mapping[str, np.ndarray]) -> Head:
        parts = _windows(fold, embeddings, bag)
        return transfer_heads.fit(head, parts, fold.dataset.labels, seeds)

    def answer(fitted: Head, embeddings: Mapping[str, np.ndarray]) -> Answer:
        del embeddings
        predictions = {
            part: _predictions(fold.tables[part], fitted.rows[part], each)
            for part, each in fitted.probabilities.items()
        }
        facts = dict(fitted.chosen) | {'bag': bag}
        if fitted.weights is not None:
            test = predictions['test']
            facts['test_accuracy_of_seeds'] = [
                float((seed.argmax(-1) == test.label).mean()) for seed in fitted.seeds['test']
            ]
            table = fold.tables['test']
            attention = transfer_attention.Attention(
                fold.songs[table.track],
                table.start_s,
                np.float32(table.window / fold.dataset.sample_rate_hz),
                fitted.weights,
            )
            attention.save(fold.folder(head) / 'attention.npz')
            transfer_attention.draw(attention, test, fold.folder(head) / 'attention.png')
        return Answer(predictions, fitted.notes, {'head': facts})

    fold.fill(head, settings, features, fit, answer)


def _predictions(
    table: loader.WindowTable, rows: np.ndarray, probabilities: np.ndarray
) -> evaluate.Predictions:
    """Joins answers with the windows that they stand for: all, or the first of each song."""
    spread = np.zeros((len(table), probabilities.shape[1]), np.float32)
    spread[rows] = probabilities
    whole = table.predictions(spread)
    columns = {
        name: array[rows]
        for name, array in vars(whole).items()
        if name != 'classes' and array is not None
    }
    return dataclasses.replace(whole, **columns)


def measure(
    config: ml_collections.ConfigDict,
    workdir: pathlib.Path,
    wanted: Sequence[str],
    heads: Sequence[str],
    folds: int,
    bag: str,
    n_seeds: int,
) -> dict:
    """Fits and tests every head on every source.

    Args:
        config: the whole config of the target.
        workdir: folder for the cells.
        wanted: sources.
        heads: keys of genre_jax.transfer.heads.SETTINGS.
        folds: of a cross-validation; 0: one split.
        bag: 'song' or 'group'.
        n_seeds: of the head 'attention'.

    Returns:
        What genre_jax.transfer.table shows: facts about the target and 'figures', a dict for each cell.

    Raises:
        UserError: a mistake in the config, the data or the sources.
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
    outcomes = cells.run(
        opened,
        heads,
        lambda fold, head, features: _fill(fold, head, features, bag, n_seeds),
        'heads',
    )
    first = opened[sources[0].name][0].split
    described = cells.describe(dataset, folds) | {
        'bag': bag,
        'protocol': first.protocol,
        'protocol_detail': first.detail,
        'words': {source.name: source.words for source in sources},
        'figures': _figures(sources, heads, outcomes),
        'warnings': sorted(
            {w for o in outcomes.values() for r in o.results for w in r['warnings']}
        ),
    }
    described['dataset'] = f'{config.data.get("root", "")} {described["dataset"]}'.strip()
    return described | _tested(outcomes[sources[0].name, heads[0]])


def _figures(
    sources: Sequence[Source],
    heads: Sequence[str],
    outcomes: Mapping[tuple[str, str], Outcome],
) -> list[dict]:
    """Returns a dict for each cell, accuracies as shares; the reference of a source is its control."""
    figures = []
    for source in sources:
        for head in heads:
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
    return figures


def _tested(outcome: Outcome) -> dict[str, object]:
    """Returns how many songs and groups are tested, and how many the commonest class gets right."""
    songs = sum(result['n_songs']['test'] for result in outcome.results)
    right = sum(r['majority']['accuracy'] * r['n_songs']['test'] for r in outcome.results)
    groups = {group for part in outcome.tests for group in part.group.tolist()}
    return {'songs': songs, 'groups': len(groups), 'majority': right / songs}
