"""Models under several protocols, some of which leak: what each came to, and by how much they differ."""

import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import ml_collections

from genre_jax.embeddings.network import Network
from genre_jax.errors import UserError
from genre_jax.loading import protocols, run_data
from genre_jax.study import cells

ROWS = 'features'  # the source of what learns from rows of a table


def measure(
    config: ml_collections.ConfigDict,
    workdir: pathlib.Path,
    names: Sequence[str],
    folds: int,
    models: Sequence[str],
    fill: Callable,
    network: Network | None = None,
    source: str = '',
    unit: str = '',
    more: Sequence[str] = (),
) -> dict[str, Any]:
    """Fits and tests every model in every fold of every protocol, and compares.

    Folders are PROTOCOL/SOURCE/MODEL/fold_N. The protocol of the config is replaced by each of `names`,
    without any by the cross-validations that differ for these data, and `more`, the strictest last; 0 folds
    are one split. `fill` fits one model, as for `cells.run`; embeddings of `network` take the place of rows.
    Without a name the source is `features` for rows of a table, else the front end's; without a unit there is
    no bar.

    Returns facts about the data, 'protocols', {name: {'leaky', 'detail'}}, 'folders' (`cells.places`), and
    'figures', a dict for each model, protocol and level, with differences to the strictest protocol where
    there are folds. A mistake in the config, the data or the settings of a model is a UserError.
    """
    dataset = run_data.open_dataset(config)
    source = source or (ROWS if dataset.kind == 'table' else config.features.name)
    stored = dataset.stored(config.windows.window_s)
    differ = protocols.that_differ(dataset.tracks, stored.shape[0] if stored.over_time else 1)
    opened = {}
    for name in names or (*differ, *more):
        one = config.copy_and_resolve_references()
        # They are there to be compared, and what leaks is marked; tonics are apart only where groups are.
        one.split.allow_leak |= name in protocols.WORDS and name != 'tonic'
        home = source_home(workdir, name, source)
        opened[name] = cells.open_folds(one, name, folds, home, dataset, network)
    outcomes = cells.run(opened, models, fill, unit)
    figures = []
    for model in models:
        own = {name: outcomes[name, model] for name in opened}
        if folds:
            compared = cells.compare(own)
        else:  # each protocol has test songs of its own: no differences
            compared = {name: cells.compare({name: each})[name] for name, each in own.items()}
        figures += [
            {
                'model': model,
                'protocol': name,
                'leaky': own[name].leaky,
                'level': level,
                'accuracy': found['accuracy'],
                'accuracy_ci95': found['accuracy_ci95'],
                'above_strictest': found['inflation'] if folds else None,
                'above_ci95': found['inflation_ci95'] if folds else None,
                'fit_s': own[name].fit_s,
            }
            for name in opened
            for level, found in compared[name].items()
        ]
    return cells.describe(dataset, folds) | {
        'protocols': {
            name: {'leaky': every[0].split.leaky, 'detail': every[0].split.detail}
            for name, every in opened.items()
        },
        'figures': figures,
        'folders': cells.places(opened, models, workdir),
    }


def source_home(workdir: pathlib.Path, protocol: str, source: str) -> pathlib.Path:
    """Returns the folder of a source under a protocol; UserError: an earlier version wrote there."""
    folder = workdir / protocol
    if old := sorted([*folder.glob('fold_*'), *(file.parent for file in folder.glob('*/config.json'))]):
        raise UserError(
            f'{old[0]} was written by an earlier version, which laid out its folders in another way; '
            f'expected {folder / source}/MODEL/fold_N: use another --workdir'
        )
    return folder / source


def title(protocol: str, leaky: bool) -> str:
    """Returns a protocol's name with what is drawn in it, and LEAKY where it leaks."""
    words = protocols.WORDS.get(protocol)
    name = f'{words} ({protocol})' if words else protocol
    return f'{name} LEAKY' if leaky else name
