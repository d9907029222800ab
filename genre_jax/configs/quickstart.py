"""Reel, jig, hornpipe, slip jig or strathspey? Real dance tunes, rendered to audio, in minutes.

    python -m genre_jax.main --config=configs/quickstart.py --workdir=runs/quickstart

Needs no account and no download: the tunes are public-domain scores inside the music21 package,
played by a small synthesiser (docs/datasets/tunes.md). Settings of the same tune never cross the
split. The shallow CNN with batch normalisation on log-mel pictures of 5 s, long enough to hold a few
bars: 100 frames of 20 bands, coarse in frequency because the dance is in the rhythm.
"""

from genre_jax.configs import common


def get_config() -> common.Config:
    """Returns the config."""
    config = common.get_config()
    config.data.update(name='tunes', max_per_class=110, duration_s=20.0)
    config.data.update(sample_rate_hz=16000, seed=0)

    config.windows.update(window_s=5.0, train_per_track=4, eval_per_track=8)
    config.features.update(name='schindler', sample_rate_hz=16000, n_fft=1024, n_mels=20)
    config.features.hop_length = 800  # 50 ms, a quarter of the shortest common note
    config.features.f_min_hz = 200.0  # the melody, and a few harmonics of it
    config.features.f_max_hz = 3000.0
    config.features.log_offset = 0.1  # hides the noise floor
    config.augment.outliers = {'probability': 0.1}
    config.model.update(name='shallow_cnn', hidden_units=200, dropout=0.1, batch_norm=True)

    config.optim.update(learning_rate=1e-3, schedule='cosine')
    config.train.update(batch_size=16, length='20 epochs', log_every='1 epochs')
    config.eval.every = config.checkpoint.every = '4 epochs'
    config.report.audio_mb = 1.5  # some 20 songs: a megabyte takes seconds to encode
    return config
