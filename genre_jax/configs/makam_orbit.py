"""Twenty makams, and the tonic with them: the orbit network on the melodies of 1000 real recordings.

    python -m genre_jax.main --config=configs/makam_orbit.py \
        --config.data.root=otmm_makam_recognition_dataset --workdir=runs/makam_orbit

One of ten folds, `--config.split.fold=0` to 9, of the data of docs/datasets/makam.md. What the network is
and what it is worth: docs/modal.md. It learns from tonics, and is tested without.
"""

from genre_jax.configs import common


def get_config() -> common.Config:
    """Returns the config."""
    config = common.get_config()
    config.data.update(name='makam', root='')
    config.split.update(protocol='kfold', folds=10, fractions=(0.88, 0.02, 0.10))

    config.windows.update(window_s=0, train_per_track=1, train_draw='grid', eval_per_track=1)
    config.features.name = 'melody'
    config.model.name = 'orbit'

    config.optim.update(name='adamw', learning_rate=2e-3, schedule='cosine', weight_decay=0.05)
    config.train.update(batch_size=30, length='25 epochs', features_once=True)
    config.eval.batch_size = 20
    config.eval.every = config.checkpoint.every = '25 epochs'
    return config
