"""A multilayer perceptron on a table of handcrafted features, such as GTZAN's.

    python -m genre_jax.main --config=configs/mlp_features.py \
        --config.data.root=features_3_sec.csv --workdir=runs/mlp

The CSV has the columns filename, label and features (docs/datasets/feature_table.md); our own
`genre_jax.feature_table` writes one from audio. Rows are pieces of songs: they are split by song (or
artist, where a column names it), their probabilities are averaged over the song.

`--config.split.protocol=segment_leaky --config.split.allow_leak=True` splits rows at random, as papers do
(docs/papers.md), and `python -m genre_jax.leak` shows what that is worth. A minute on 2 busy CPU cores for
3000 rows.

    python -m genre_jax.sweep --config=configs/mlp_features.py \
        --config.data.root=features_3_sec.csv --workdir=sweeps/mlp

searches the learning rate, dropout and the layers (sweep() below).
"""

from genre_jax.configs import common
from genre_jax.sweep.space import Choice, LogUniform, Sweep, Uniform


def get_config() -> common.Config:
    """Returns the config."""
    config = common.table_config()
    config.model.update(hidden_units=(256, 256), dropout=0.3)
    config.optim.update(learning_rate=1e-3, schedule='cosine')
    config.train.update(batch_size=64, length='40 epochs')
    config.eval.every = '2 epochs'
    config.checkpoint.every = '10 epochs'
    return config


def sweep() -> Sweep:
    """Returns what genre_jax.sweep tries."""
    space = {
        'optim.learning_rate': LogUniform(1e-4, 1e-2),
        'model.dropout': Uniform(0.0, 0.6),
        'model.hidden_units': Choice(((128,), (256, 256), (512, 256, 128))),
    }
    return Sweep(space, method='tpe', trials=30)
