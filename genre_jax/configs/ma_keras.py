"""Ma, He and Zhou: the deep perceptron of Keras, and what it is blended of.

    python -m genre_jax.main --config=configs/ma_keras.py --config.data.root=features_3_sec.csv \
        --workdir=runs/ma/net_0
    python -m genre_jax.main --config=configs/ma_keras.py:protocol=paper ...

Layers of 2048, 1024, 512, 256, 128 and 64 units, ReLU, dropout 0.5 after each, Adam: **94.34 %** of the 3-s
rows, trained on rows of the same songs. A quarter of an hour on 2 CPU cores for 3,000 rows.

The blend of three such networks, XGBoost, a random forest and k nearest neighbours, **95.85 %**:

    for seed in 0 1 2; do python -m genre_jax.main --config=configs/ma_keras.py \
        --config.seed=$seed --config.data.root=features_3_sec.csv --workdir=runs/ma/net_$seed; done
    python -m genre_jax.classical --config=configs/ma_keras.py --models=xgboost,forest,knn \
        --protocols=grouped --config.data.root=features_3_sec.csv --workdir=runs/ma/classical
    python -m genre_jax.blend --workdir=runs/ma/blend --members=runs/ma/net_0,runs/ma/net_1,\
    runs/ma/net_2,runs/ma/classical/grouped/xgboost,\
    runs/ma/classical/grouped/forest,runs/ma/classical/grouped/knn

`protocol` as in configs/ma_mlp.py, whose data and parts these are; where the networks have `:protocol=paper`,
the classical models take `--protocols=segment_leaky`. What differs (docs/papers.md): the weights of the blend
come from the validation part; rate, batch and length are not given: 1e-3, 128 and 200 epochs here.
"""

from genre_jax.configs import common, ma_mlp


def get_config(text: str | None = None) -> common.Config:
    """Returns the config of 'protocol=paper', what follows the page's colon."""
    arguments = common.parse_arguments(text, protocol=('grouped', 'paper'))
    config = ma_mlp.get_config(f'protocol={arguments.protocol}')
    config.model.update(hidden_units=(2048, 1024, 512, 256, 128, 64), dropout=0.5)
    config.optim.update(name='adam', learning_rate=1e-3, momentum=0.0, l2=0.0)
    config.train.update(batch_size=128, length='200 epochs', stop_patience=0)
    config.eval.every = '4 epochs'
    config.checkpoint.every = '20 epochs'
    return config
