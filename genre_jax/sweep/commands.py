"""Command lines that train a config, and the YAML file by which agents of Weights & Biases start them."""

import pathlib
import shlex

import ml_collections
import yaml

from genre_jax import config as config_lib
from genre_jax.sweep.space import Choice, IntUniform, LogUniform, Sweep, Uniform

_METHODS = {'grid': 'grid', 'random': 'random', 'tpe': 'bayes'}
_DISTRIBUTIONS = {
    IntUniform: ('int_uniform', int),
    LogUniform: ('log_uniform_values', float),
    Uniform: ('uniform', float),
}


def command(page: str, config: ml_collections.ConfigDict, workdir: pathlib.Path) -> str:
    """Returns the command line that trains a config: its page, and what differs from that."""
    return shlex.join([*_words(page, config), f'--workdir={workdir}_best'])


def _words(page: str, config: ml_collections.ConfigDict) -> list[str]:
    plain, changed = (config_lib.flatten(one) for one in (config_lib.load_page(page), config))
    flags = [f'--config.{k}={value}' for k, value in changed.items() if value != plain.get(k)]
    return ['python', '-m', 'genre_jax.main', f'--config={page}', *flags]


def wandb_yaml(sweep: Sweep, page: str, config: ml_collections.ConfigDict, workdir: pathlib.Path) -> str:
    """Returns a checked sweep as `wandb sweep` takes it; its agents call genre_jax.main.

    https://docs.wandb.ai/models/sweeps/sweep-config-keys has the keys. Runs have own folders in `workdir`.
    """
    folder = shlex.quote(f'--workdir={workdir}/')
    content = {
        'name': workdir.resolve().name,
        'project': config.tracking.wandb_project,
        'method': _METHODS[sweep.method],
        'metric': {'name': sweep.metric, 'goal': 'minimize' if sweep.lower_is_better else 'maximize'},
        'parameters': {f'config.{key}': _parameter(each) for key, each in sweep.space.items()},
        'program': 'genre_jax/main.py',
        # The shell puts the run's name into --workdir.
        'command': [
            *('${env}', 'sh', '-c'),
            f'exec {shlex.join(_words(page, config))} {folder}"$WANDB_RUN_ID" "$@"',
            *('sh', '${args}'),
        ],
    }
    if sweep.method != 'grid':
        content['run_cap'] = sweep.trials
    return yaml.safe_dump(content, sort_keys=False)


def _parameter(each: Choice | Uniform) -> dict:
    if isinstance(each, Choice):
        # An agent writes a value into a flag as Python prints it.
        plain = bool | int | float | str
        return {'values': [v if isinstance(v, plain) else str(v) for v in each.values]}
    kind, number = _DISTRIBUTIONS[type(each)]
    return {'distribution': kind, 'min': number(each.low), 'max': number(each.high)}
