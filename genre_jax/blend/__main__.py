"""Blends finished runs: nets, classical models, several seeds, whatever has predictions.

    python -m genre_jax.blend --members=runs/a,runs/b,runs/c --workdir=runs/blend \
        [--method=integer|greedy|stacking|mean] [--level=segment|song]

A member is a run folder, or a folder of a cross-validation's folds (fold_0, fold_1, ...). SOURCE/MODEL of
genre_jax.classical, genre_jax.transfer and genre_jax.leak is one or the other. Members are of one split;
beside a run (of config.split.fold) a cross-validation stands for its fold of the run's split.

Methods (genre_jax/blend/methods.py, genre_jax/blend/integer_weights.py):

- `integer`: the weights from 0 to 5 with which most rows are right, all combinations tried, then wider
  ranges while there is a gain; votes are one-hot (`--votes=probability`: probabilities). Ma et al.
- `greedy`: the member that helps most, again and again (`--metric`, `--steps`, `--bags`). Caruana et al.
- `stacking`: a logistic regression on log-probabilities.
- `mean`: all count the same.

Weights are fitted to the validation part, or for each fold to the other folds' test predictions, and never
see the test part. (The models of the other folds have learnt from that fold's songs, as for any choice that
is made by cross-validation.) `--leaky_fit_on_test` fits them to the test part, as Ma et al. did, marks
everything LEAKY, and shows the gap to the honest blend beside it.

Members whose segments lie elsewhere (other windows) are blended by song: `--level=song`.

Writes a run folder that can be blended again, with result.json, a page, and, of folds, a run folder for
each. The same command again computes it anew.
"""

import pathlib

from absl import flags

from genre_jax import program
from genre_jax.errors import UserError, say

_MEMBERS = flags.DEFINE_list('members', [], 'folders of finished runs, with commas between')
_METHOD = flags.DEFINE_enum(
    'method', 'integer', ['integer', 'greedy', 'stacking', 'mean'], 'how the weights are found'
)
_LEVEL = flags.DEFINE_enum('level', 'segment', ['segment', 'song'], 'what is blended')
_LEAKY = flags.DEFINE_bool('leaky_fit_on_test', False, 'fit on the test part, everything marked LEAKY')
_VOTES = flags.DEFINE_enum('votes', 'onehot', ['onehot', 'probability'], 'integer: what is summed')
_MAX_WEIGHT = flags.DEFINE_integer('max_weight', 5, 'integer: first upper bound', lower_bound=1)
_GROW_BY = flags.DEFINE_integer(
    'grow_by', 5, 'integer: how much the bound grows while that brings a gain', lower_bound=0
)
_METRIC = flags.DEFINE_enum('metric', 'log_loss', ['log_loss', 'accuracy'], 'greedy: made best')
_STEPS = flags.DEFINE_integer('steps', 100, 'greedy: draws', lower_bound=1)
_BAGS = flags.DEFINE_integer(
    'bags', 0, 'greedy: repetitions with a random half of the members', lower_bound=0
)
_OF_METHOD = {
    'integer': (_VOTES, _MAX_WEIGHT, _GROW_BY),
    'greedy': (_METRIC, _STEPS, _BAGS),
    'stacking': (),
    'mean': (),
}


def main(argv: list[str]) -> None:
    """Runs what the flags say."""
    _check_flags(argv)
    program.start_jax()

    from genre_jax.blend import run as blend_run
    from genre_jax.blend.table import table
    from genre_jax.logbook import summary_lines

    workdir = pathlib.Path(flags.FLAGS.workdir)
    settings = {flag.name: flag.value for flag in _OF_METHOD[_METHOD.value]}
    recipe = blend_run.Recipe(_METHOD.value, settings, _LEVEL.value, _LEAKY.value)
    result = blend_run.run([pathlib.Path(name) for name in _MEMBERS.value], workdir, recipe)
    say(*table(result).split('\n'))
    say(*summary_lines(result, workdir))


def _check_flags(argv: list[str]) -> None:
    program.refuse_words(argv)
    if flags.FLAGS.config is not None:
        raise UserError('--config: a blend has no config page; name finished runs with --members')
    if not _MEMBERS.value or not flags.FLAGS.workdir:
        raise UserError('--members=DIR,DIR,... and --workdir=DIR are needed')
    for method, own in _OF_METHOD.items():
        given = [flag.name for flag in own if flags.FLAGS[flag.name].present]
        if given and method != _METHOD.value:
            raise UserError(f'--{given[0]} belongs to --method={method}, not to {_METHOD.value}')


if __name__ == '__main__':
    program.run(main)
