"""Classical models side by side, under protocols that leak and that do not.

    python -m genre_jax.classical --config=configs/mlp_features.py --config.data.root=features_10_sec.csv \
        --workdir=runs/classical [--models=all] [--set=knn.n_neighbors=19] [--folds=5] \
        [--protocols=segment_leaky,kfold,artist] [--embeddings_of=RUN]

XGBoost, random forest, k nearest neighbours, SVM, logistic regression, SGD, tree and naive Bayes on the rows
of a table, or, with `--embeddings_of`, on what a network makes of windows of audio (genre_jax.embeddings
says which networks; the page then is one for audio). Settings and where they come from: estimators.py.

Models are fitted to the training part alone, and so is their scaling. Nothing sees the validation part: the
weights of a blend can be fitted there. Without `--folds` there is one split, fold config.split.fold of
config.split.folds; `--config.split.folds=5` tests a fifth, as Ma et al. do, who have no validation part:
`--config.split.fractions=(0.78,0.02,0.2)` leaves little to it. With `--folds=5` every song is tested once.

Prints accuracies, and writes them as classical.csv and as a page, index.html. Each model has a folder like
that of a run, WORKDIR/PROTOCOL/SOURCE/MODEL[/fold_N], with SOURCE `features` or the network's name (`python
-m genre_jax.report` makes its page); the same command again fits only what is missing. Models are blended,
with their folds or without, by

    python -m genre_jax.blend --workdir=runs/blend \
        --members=runs/classical/artist/features/knn,runs/classical/artist/features/svm

What Ma et al. print of such models on GTZAN stands beside ours in `python -m genre_jax.reproduce ma`.
"""

import ml_collections
from absl import flags

from genre_jax import program
from genre_jax.errors import say
from genre_jax.loading import protocols

_MODELS = flags.DEFINE_string('models', 'all', 'names with commas between them, or all')
_SET = flags.DEFINE_multi_string('set', [], 'MODEL.SETTING=VALUE; may be given several times')
_FOLDS = flags.DEFINE_integer('folds', 0, 'folds of a cross-validation; 0: one split')
_PROTOCOLS = flags.DEFINE_list('protocols', [], 'default: the cross-validations that differ')
_OF = flags.DEFINE_string('embeddings_of', '', 'a network: its embeddings in the place of rows')


def _check(config: ml_collections.ConfigDict) -> None:
    """Refuses what cannot be, before anything is prepared."""
    from genre_jax import config as config_lib
    from genre_jax.config import keys
    from genre_jax.data import request
    from genre_jax.errors import UserError

    for name in _PROTOCOLS.value:
        if name not in keys.PROTOCOL.choices:
            hint = config_lib.nearest(name, keys.PROTOCOL.choices)
            raise UserError(f'--protocols: unknown protocol {name!r}{hint}')
        if _FOLDS.value and name not in protocols.WORDS:
            raise UserError(
                f'--protocols={name} has no folds: leave out --folds, or use {", ".join(protocols.WORDS)}'
            )
    if _FOLDS.value < 0 or _FOLDS.value == 1:
        raise UserError(f'--folds={_FOLDS.value}: expected 2 or more, or 0 for one split')
    kind = request.load_source(config.data).kind
    if kind != 'table' and not _OF.value:
        raise UserError(
            f'config.data.name={config.data.name!r} holds data of kind {kind!r}; expected a table of '
            'features (configs/mlp_features.py), or --embeddings_of=NETWORK'
        )
    if config.augment and not _OF.value:
        raise UserError(f'config.augment: {", ".join(config.augment)} is for networks; leave it out')


def main(argv: list[str]) -> None:
    """Runs what the flags say."""
    config, workdir = program.prepare(argv)

    from genre_jax.classical import estimators
    from genre_jax.classical import fits as classical_fits
    from genre_jax.classical import table as classical_report
    from genre_jax.run import folder as run_folder
    from genre_jax.study.table import write_csv

    models = estimators.choose(_MODELS.value, _SET.value)
    _check(config)
    with run_folder.own(workdir):
        result = classical_fits.measure(config, workdir, models, _PROTOCOLS.value, _FOLDS.value, _OF.value)
        write_csv(result['figures'], workdir / 'classical.csv')
        classical_report.write_page(result, workdir)
    say('', *classical_report.table(result).split('\n'))
    say('', f'figures: {workdir / "classical.csv"}', f'page:    {workdir / "index.html"}')


if __name__ == '__main__':
    program.run(main)
