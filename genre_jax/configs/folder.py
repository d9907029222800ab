"""A folder of your own recordings: one folder per class, or a CSV with columns path,label.

    python -m genre_jax.main --config=configs/folder.py --config.data.root=DIR --workdir=runs/x

WAV, FLAC, OGG, MP3, AU or AIFF at any rate, channels and length; docs/datasets/folder.md has the
details. Recordings of one artist (else album, else recording) never cross the split.

The shallow CNN with batch normalisation on 2.8-s windows, a learning rate that suits a few hundred
songs, SpecAugment, noise in the place of a tenth of the examples. About 4 minutes for 150
half-minute songs on 2 CPU cores.

    python -m genre_jax.sweep --config=configs/folder.py --config.data.root=DIR --workdir=sweeps/x

searches the learning rate, dropout and label smoothing: 20 such trainings, bad ones ended early.
"""

from genre_jax.configs import common
from genre_jax.sweep.space import LogUniform, Sweep, Uniform


def get_config() -> common.Config:
    """Returns the config."""
    config = common.get_config()
    config.data.update(name='folder', root='', sample_rate_hz=common.optional(int), group='auto')

    config.windows.update(window_s=2.8, train_per_track=8, eval_per_track=10)
    config.features.update(name='schindler', n_fft=1024, hop_length=768)
    config.augment.spec_augment = {
        'time_stripes': 2, 'time_width_frames': 10, 'mel_stripes': 2, 'mel_width_bins': 10,
    }  # fmt: skip
    config.augment.outliers = {'probability': 0.1}
    config.model.update(name='shallow_cnn', hidden_units=200, dropout=0.1, batch_norm=True)

    config.optim.update(learning_rate=5e-4, schedule='cosine')
    config.train.update(batch_size=64, length='20 epochs')
    return config


def sweep() -> Sweep:
    """Returns what genre_jax.sweep tries."""
    space = {
        'optim.learning_rate': LogUniform(1e-4, 5e-3),
        'model.dropout': Uniform(0.0, 0.5),
        'train.label_smoothing': Uniform(0.0, 0.2),
    }
    return Sweep(space, method='tpe', trials=20)
