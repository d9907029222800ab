"""Optimisers, decay, clipping, averages, weighted and smoothed losses, plateaus: against PyTorch."""

import jax
import numpy as np
import pytest
import torch

from genre_jax.training import step as train
from genre_jax.training import watch
from tests.training.test_recipes import BATCHES, make, trained

MANY = BATCHES * 4


def torch_network(params):
    layers = [torch.nn.Linear(5, 7), torch.nn.ReLU(), torch.nn.Linear(7, 3)]
    for layer, name in ((layers[0], 'dense_1'), (layers[2], 'output')):
        layer.weight.data = torch.tensor(np.array(params[name]['kernel']).T.copy())
        layer.bias.data = torch.tensor(np.array(params[name]['bias']))
    return torch.nn.Sequential(*layers)


RECIPES = {
    'adam': ({}, lambda p: torch.optim.Adam(p, 1e-2)),
    'adam, decay': (
        {'optim__weight_decay': 0.1},
        lambda p: torch.optim.Adam(p, 1e-2, weight_decay=0.1),
    ),
    'adamw': (
        {'optim__name': 'adamw', 'optim__weight_decay': 0.3, 'optim__b2': 0.98},
        lambda p: torch.optim.AdamW(p, 1e-2, betas=(0.9, 0.98), weight_decay=0.3),
    ),
    'sgd': ({'optim__name': 'sgd'}, lambda p: torch.optim.SGD(p, 1e-2)),
    'sgd, momentum, decay': (
        {'optim__name': 'sgd', 'optim__momentum': 0.3, 'optim__weight_decay': 0.05},
        lambda p: torch.optim.SGD(p, 1e-2, momentum=0.3, weight_decay=0.05),
    ),
}
LOSSES = {
    'plain': ({}, {}),
    'smooth': ({'train__label_smoothing': 0.2}, {'label_smoothing': 0.2}),
    'weighted': (
        {'train__class_weights': ('a=0.5', 'c=3')},
        {'weight': torch.tensor([0.5, 1.0, 3.0])},
    ),
    'smooth, weighted': (
        {'train__label_smoothing': 0.1, 'train__class_weights': ('a=0.5', 'c=3')},
        {'weight': torch.tensor([0.5, 1.0, 3.0]), 'label_smoothing': 0.1},
    ),
}


@pytest.mark.parametrize(
    ('recipe', 'loss', 'clip_norm'),
    [(recipe, 'smooth, weighted', 0.2) for recipe in RECIPES] + [('adam', loss, 0.0) for loss in LOSSES],
)
def test_twenty_steps(recipe, loss, clip_norm):
    keys, make_optimizer = RECIPES[recipe]
    more, arguments = LOSSES[loss]
    job = make(
        **keys, **more, optim__learning_rate=1e-2, optim__clip_norm=clip_norm, optim__ema_decay=0.9,
        optim__schedule='halving', optim__halve_every='7 steps', optim__warmup='4 steps',
    )  # fmt: skip
    network = torch_network(jax.device_get(train.make_state(job).params))
    optimizer = make_optimizer(network.parameters())
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(step / 4, 1) * 0.5 ** (step // 7)
    )
    average = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9), use_buffers=True
    )
    criterion = torch.nn.CrossEntropyLoss(**arguments)
    for batch in MANY:
        optimizer.zero_grad()
        value = criterion(network(torch.tensor(batch['table'])), torch.tensor(batch['label']).long())
        value.backward()
        if clip_norm:
            torch.nn.utils.clip_grad_norm_(network.parameters(), clip_norm)
        optimizer.step()
        schedule.step()
        average.update_parameters(network)
    state = trained(job, MANY)[-1]
    for ours, theirs in ((state.params, network), (state.evaluated['params'], average.module)):
        for name, layer in (('dense_1', theirs[0]), ('output', theirs[2])):
            weight, bias = (x.detach().numpy() for x in (layer.weight, layer.bias))
            np.testing.assert_allclose(ours[name]['kernel'], weight.T, atol=2e-6)
            np.testing.assert_allclose(ours[name]['bias'], bias, atol=2e-6)


@pytest.mark.parametrize('mode', ['min', 'max'])
@pytest.mark.parametrize(('factor', 'patience', 'least'), [(0.1, 5, 1e-7), (0.5, 0, 3e-3), (0.7, 2, 0)])
def test_a_random_walk_over_plateaus(mode, factor, patience, least):
    metric = 'val/loss' if mode == 'min' else 'val/segment/accuracy'
    config = make(
        optim__schedule='plateau', optim__plateau_metric=metric, optim__plateau_factor=factor,
        optim__plateau_patience=patience, optim__plateau_min_learning_rate=float(least),
        optim__learning_rate=1e-2,
    ).config  # fmt: skip
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 1e-2)
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, mode, factor, patience, min_lr=least, eps=0
    )
    remembered = watch.initial(config)
    walk = 0.5 + 0.02 * np.random.default_rng(3).standard_normal(80).cumsum()
    for value in np.float32(np.abs(walk) + 0.1):
        schedule.step(float(value))
        remembered = watch.observe(config, remembered, {metric: float(value)})
        rate = 1e-2 * float(remembered['plateau_scale'])
        assert rate == pytest.approx(optimizer.param_groups[0]['lr'], rel=1e-5)
    assert rate < 1e-2
