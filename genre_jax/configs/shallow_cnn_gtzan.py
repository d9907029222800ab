"""Shallow CNN of Schindler, Lidy and Rauber (2016) as Herbert re-implemented it, on GTZAN.

    python -m genre_jax.main --config=configs/shallow_cnn_gtzan.py \
        --config.data.root=GTZAN/genres_original --workdir=runs/shallow_cnn
    python -m genre_jax.main --config=configs/shallow_cnn_gtzan.py:batch_norm=True,protocol=paper ...
    python -m genre_jax.sweep --config=configs/shallow_cnn_gtzan.py ...       (the paper's five runs)

Two parallel convolutions over 80 x 80 log-mel pictures of 0.93 s, 15 of them drawn at random from
each track (half-overlapping grid), Adam 5e-5, batch 64, L1 1e-4, He initialisation, 200 epochs, or
`epochs=100`. Wants a GPU: 28,000 steps.

Accuracy on the test part in %, mean of five runs (Tables I and II; `raw` is by picture, `max` by song with
summed probabilities, `maj` by song with votes; result.json has all three):

                        100 epochs              200 epochs
                        raw    max    maj       raw    max    maj
    plain               62.96  75.80  73.53     64.01  77.60  76.60
    batch_norm=True     66.30  77.30  77.56     66.55  78.68  77.64

`protocol=grouped` keeps the tracks of an artist together where Sturm's index names artists
(docs/datasets/gtzan.md). `protocol=paper` is the paper's: 750 and 250 tracks, 25 of each genre at random;
artists stand in both parts. `protocol=fault_filtered` is the list without repeated and mislabelled tracks.

What differs (docs/papers.md): here 15 of the 75 % are set aside for choosing the checkpoint, where the paper
watched its 250 tracks and took the last epoch. Its window of 1024 samples gives 40 frames, not 80:
genre_jax/features/__init__.py says what is done here.
"""

from genre_jax.configs import common
from genre_jax.sweep.space import Choice, Sweep


def get_config(text: str | None = None) -> common.Config:
    """Returns the config of 'protocol=paper,batch_norm=True,epochs=100', what follows the page's colon."""
    arguments = common.parse_arguments(
        text, protocol=('grouped', 'paper', 'fault_filtered'), batch_norm=False, epochs=(200, 100)
    )
    config = common.get_config()
    config.data.update(name='gtzan', root='', sample_rate_hz=22050, index='', splits='')
    config.split.update(protocol=arguments.protocol, allow_leak=arguments.protocol == 'paper')
    config.split.fractions = (0.60, 0.15, 0.25)

    config.windows.update(window_s=0.93, train_per_track=15, train_draw='grid')
    config.windows.update(eval_per_track=15, eval_draw='grid')
    config.features.name = 'schindler'
    config.model.update(name='shallow_cnn', hidden_units=200, dropout=0.1)
    config.model.batch_norm = arguments.batch_norm

    config.optim.update(learning_rate=5e-5, l1=1e-4)
    config.train.update(batch_size=64, length=f'{arguments.epochs} epochs')
    config.eval.every = config.checkpoint.every = '5 epochs'
    return config


def sweep() -> Sweep:
    """Returns the five runs that the paper's means are of."""
    return Sweep({'seed': Choice((0, 1, 2, 3, 4))}, method='grid')
