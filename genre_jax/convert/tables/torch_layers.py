"""Rules for the layers of PyTorch."""

from __future__ import annotations

from collections.abc import Callable

from genre_jax.convert.engine import Rule

_COUNTER = 'a counter of PyTorch, not used'


def torch_layer_norm(pattern: str, target: str) -> tuple[Rule, ...]:
    """Returns the rules of a layer norm: pattern and target without the last name."""
    return (
        Rule(rf'{pattern}\.weight', rf'params/{target}/scale'),
        Rule(rf'{pattern}\.bias', rf'params/{target}/bias'),
    )


def torch_norm(pattern: str, target: str) -> tuple[Rule, ...]:
    """Returns the rules of a batch normalisation."""
    return (
        *torch_layer_norm(pattern, target),
        Rule(rf'{pattern}\.running_mean', rf'batch_stats/{target}/mean'),
        Rule(rf'{pattern}\.running_var', rf'batch_stats/{target}/var'),
        Rule(rf'{pattern}\.num_batches_tracked', reason=_COUNTER),
    )


def torch_layer(
    pattern: str, target: str, layout: str | Callable, part: tuple[int, int] = (0, 1)
) -> tuple[Rule, ...]:
    """Returns the rules of a layer with kernel and bias, or of one part of it."""
    return (
        Rule(rf'{pattern}\.weight', rf'params/{target}/kernel', layout, part),
        Rule(rf'{pattern}\.bias', rf'params/{target}/bias', part=part),
    )
