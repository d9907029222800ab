"""Bu, Gan, Yang and Wei: the final network, one class augmented more strongly, and the test part.

    python -m genre_jax.main --config=configs/bu_final.py --config.data.root=fma --workdir=runs/bu_final
    python -m genre_jax.main --config=configs/bu_final.py:strong=False ...                (Table VIII, above)
    python -m genre_jax.main --config=configs/bu_final.py:recipe=code,protocol=paper ...

The best settings of configs/bu_grid.py, at most 60 epochs. Amounts of augmentation (Table VII):

                                     noise   shift   masked bands   copies in an epoch
    all classes                      0.005   10 %    2 to 5 %       1
    `strong=True`: Experimental      0.01    15 %    5 to 10 %      2

Accuracy on the validation part 61.06 % without and 62.71 % with it, recall of Experimental 0.28 and 0.45
(Table VIII). Test part: **63.65 %** (Table IX); F1 Electronic 0.68, Experimental 0.44, Folk 0.64, Hip-Hop
0.67, Instrumental 0.68, International 0.78, Pop 0.56, Rock 0.63. result.json holds precision, recall and F1
of every class, predictions/test.npz the probabilities that ROC curves are drawn from (Fig. 7).

`recipe=report` follows the text: early stopping after 8 evaluations without gain in the loss. `recipe=code`
follows the code: after 10 without gain in accuracy, no masking, shifts of 5 %, for the strong class 20 % and
two more copies, and that class is **Pop**: most likely so is 'Experimental' in the tables above, and other
names are exchanged likewise (docs/papers.md). `recurrence=time`, `protocol` and what else differs:
configs/bu_models.py.

The paper does not tell hours; a run of its grid took about 15 minutes on an RTX 4060.
"""

from genre_jax.configs import bu_grid, common


def get_config(text: str | None = None) -> common.Config:
    """Returns the config of 'protocol=paper,recipe=code,strong=False', what follows the page's colon."""
    arguments = common.parse_arguments(
        text,
        protocol=('official', 'paper'),
        recipe=('report', 'code'),
        strong=True,
        recurrence=('mel', 'time'),
    )
    config = bu_grid.get_config(f'protocol={arguments.protocol}')
    config.model.recurrence = arguments.recurrence
    config.train.length = '60 epochs'
    emphasis = {'picture_noise': {'sigma': 0.01}}
    if arguments.recipe == 'code':
        config.train.update(stop_metric='val/segment/accuracy', stop_patience=10)
        config.augment.time_shift.max_share = 0.05
        emphasis |= {'classes': ('Pop',), 'copies': 2, 'time_shift': {'max_share': 0.20}}
    else:
        masks = {'min_share': 0.02, 'max_share': 0.05, 'probability': 0.5}
        config.augment.spectral_masking = masks
        emphasis |= {'classes': ('Experimental',), 'copies': 1, 'time_shift': {'max_share': 0.15}}
        emphasis['spectral_masking'] = {'min_share': 0.05, 'max_share': 0.10}
    if arguments.strong:
        config.augment.emphasis = emphasis
    return config
