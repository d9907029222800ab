"""configs/folder.py, shrunk until a run takes seconds: what the tests of the whole program train."""

from genre_jax.configs import folder


def get_config():
    config = folder.get_config()
    config.windows.window_s = 0.6
    config.windows.train_per_track = 4
    config.windows.eval_per_track = 3
    config.features.n_fft = 512
    config.features.hop_length = 512
    config.features.n_mels = 24
    config.model.hidden_units = 8
    config.train.batch_size = 16
    config.eval.batch_size = 16
    config.train.length = '6 epochs'
    config.tracking.wandb = 'off'
    config.report.look = False
    # Everything that a resumed run, other devices or other processes could draw differently.
    config.augment.gaussian_noise = {'sigma': 0.003}
    config.augment.time_shift = {'max_share': 0.1, 'probability': 0.5}
    config.augment.spec_augment = {'time_width_frames': 4, 'mel_width_bins': 4}
    config.augment.mixup = {'alpha': 0.4, 'probability': 0.5}
    return config
