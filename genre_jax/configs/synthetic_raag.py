"""Sixteen raags, by a synthesiser from their grammars: which one, whatever the tonic and whoever plays?

    python -m genre_jax.main --config=configs/synthetic_raag.py --workdir=runs/synthetic_raag

Needs no account and no download (docs/datasets/synthetic_raag.md). Other raags, or one tonic for all:
--config.data.raags="('marwa','puriya','sohni')", --config.data.tonic_hz=146.8.

Twelve of the raags share their scale with another one: who knows the scale alone gets 56 % right. The
musicians of the test part, their instruments and rooms were never heard in training, a tonic like
theirs at most by chance. Sa is nowhere given: the network has to go by intervals. So the picture is a
constant-Q spectrogram, four octaves in quarter tones, on which a change of tonic is a shift, and the
network ends in a mean over all of it, which a shift hardly changes. Its fields of view are 2.8 s and
11 semitones.

Two runs, with seeds 0 and 1 of the split and of the training, 48 songs of 3 musicians in each test part:
64.6 % of the songs in both, [56.2, 68.8] and [62.5, 68.8], and 55.8 % of the windows of 10 s; chance has
6.2 %. That they agree is chance: on the validation parts they have 66.7 and 77.1 %. 8 of the 17 mistakes
are a raag of the same scale, in both. About 370 s of processor time, evaluation included.
"""

from genre_jax.configs import common


def get_config() -> common.Config:
    """Returns the config."""
    config = common.get_config()
    config.data.update(name='synthetic_raag', raags=(), tonic_hz=common.optional(float))
    config.data.update(per_class=20, musicians=20, duration_s=30.0, sample_rate_hz=16000, seed=0)

    config.windows.update(window_s=10.0, train_per_track=3, eval_per_track=5)
    config.features.update(name='constant_q', sample_rate_hz=16000)
    config.features.hop_length = 2048  # 128 ms
    config.features.f_min_hz = 73.0  # the lowest note of the lowest tonic
    config.features.update(n_bins=96, bins_per_octave=24)
    config.features.update(compression='db', db_reference='peak', top_db=50.0)
    config.model.update(name='efficient_cnn', cnn_dropout=0.0, classifier_dropout=0.1)

    config.optim.update(learning_rate=5e-3, schedule='cosine', warmup='5 percent')
    config.train.update(batch_size=16, length='36 epochs')
    config.eval.every = config.checkpoint.every = '6 epochs'
    return config
