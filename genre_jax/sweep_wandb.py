"""A sweep as the YAML file that `wandb sweep` takes, for agents of Weights & Biases."""

from __future__ import annotations

import pathlib
import shlex

import ml_collections
import yaml

from genre_jax.search_space import Choice, IntUniform, LogUniform, Sweep
from genre_jax.sweep_report import config_words, write_text

_METHODS = {'grid': 'grid', 'random': 'random', 'tpe': 'bayes'}


def export(
    sweep: Sweep,
    page: str,
    config: ml_collections.ConfigDict,
    workdir: pathlib.Path,
    file: pathlib.Path,
) -> None:
    """Writes the YAML file; its agents call genre_jax.main, each run in a folder of its own.

    Args:
        sweep: checked.
        page: of the config, with its arguments.
        config: the whole config; what differs from the page is in the command.
        workdir: folder for the runs.
        file: YAML to write.
    """
    content = {
        'name': workdir.resolve().name,
        'project': config.tracking.wandb_project,
        'method': _METHODS[sweep.method],
        'metric': {
            'name': sweep.metric,
            'goal': 'minimize' if sweep.metric.endswith('loss') else 'maximize',
        },
        'parameters': {f'config.{key}': _parameter(each) for key, each in sweep.space.items()},
        'program': 'genre_jax/main.py',
        'command': _command(page, config, workdir),
    }
    if sweep.method != 'grid':
        content['run_cap'] = sweep.trials
    write_text(file, yaml.safe_dump(content, sort_keys=False))


def _parameter(each: object) -> dict:
    if isinstance(each, Choice):
        # An agent writes a value into a flag as Python prints it.
        plain = (bool, int, float, str)
        return {'values': [v if isinstance(v, plain) else str(v) for v in each.values]}
    ends = {'min': each.low, 'max': each.high}
    if isinstance(each, IntUniform):
        return {'distribution': 'int_uniform', **ends}
    if isinstance(each, LogUniform):
        return {'distribution': 'log_uniform_values', **ends}
    return {'distribution': 'uniform', **{name: float(end) for name, end in ends.items()}}


def _command(page: str, config: ml_collections.ConfigDict, workdir: pathlib.Path) -> list[str]:
    """Returns the words that an agent starts; the shell puts the run's name into --workdir."""
    words = shlex.join(['python', '-m', 'genre_jax.main', *config_words(page, config)])
    folder = shlex.quote(f'--workdir={workdir}/')
    return ['${env}', 'sh', '-c', f'exec {words} {folder}"$WANDB_RUN_ID" "$@"', 'sh', '${args}']
