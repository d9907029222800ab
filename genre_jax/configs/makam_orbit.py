"""Twenty makams, and the tonic with them: the orbit network on the melodies of 1000 real recordings.

    python -m genre_jax.main --config=configs/makam_orbit.py \
        --config.data.root=otmm_makam_recognition_dataset --workdir=runs/makam_orbit

One of ten folds, `--config.split.fold=0` to 9, of the data of docs/datasets/makam.md. Compositions stay
together, or with `--config.data.group=artist` artists, where metadata beside the pitch tracks name them;
`protocol=paper` has folds of recordings, as the paper of 2016, LEAKY where compositions are named. What the
network is and what it is worth: docs/modal.md. It learns from tonics and from excerpts of all lengths, and is
tested without tonics: on whole recordings, and on an excerpt of 120, 60 and 30 s of each.

`network=sequence` hears in which order the pitches come, in windows of a minute; a recording is named by
eight of them together.

The best of the settings of 2016 name 71.4 % of the makams, told the tonic, and 63.2 % with the tonic; the
tonic is found in 94.9 %, the makam given.
"""

from genre_jax.configs import common


def get_config(text: str | None = None) -> common.Config:
    """Returns the config of 'protocol=grouped,network=orbit', what follows the page's colon."""
    arguments = common.parse_arguments(text, protocol=('grouped', 'paper'), network=('orbit', 'sequence'))
    of_paper = arguments.protocol == 'paper'
    config = common.get_config()
    config.data.update(name='makam', root='', chunk_s=60.0)  # recordings are read whole
    config.split.update(folds=10, fractions=(0.88, 0.02, 0.10), allow_leak=of_paper)
    config.split.protocol = 'kfold' if of_paper else 'artist'  # by song, or by group

    config.windows.update(window_s=0, train_per_track=16, train_draw='grid', train_shortest_s=20.0)
    config.windows.eval_per_track = 1
    config.features.name = 'melody'
    config.model.name = 'orbit'

    config.optim.update(name='adamw', learning_rate=2e-3, schedule='cosine', weight_decay=0.05)
    config.train.update(batch_size=30, length='5 epochs', features_once=True)
    config.eval.update(batch_size=20, excerpts_s=(120.0, 60.0, 30.0))
    config.eval.every = config.checkpoint.every = '5 epochs'
    if arguments.network == 'sequence':
        config.windows.update(window_s=60.0, train_draw='random', eval_per_track=8)
        config.features.name = 'melody_sequence'
        config.model.name = 'sequence'
        # With a shorter way up to this rate the network stays where it began.
        config.optim.update(learning_rate=3e-3, warmup='10 percent', clip_norm=1.0)
        config.train.update(batch_size=32, length='10 epochs', label_smoothing=0.1, features_once=False)
    return config
