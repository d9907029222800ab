"""Rules for the layers of PyTorch; patterns and targets are without the last name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from genre_jax.convert.engine import Rule


def torch_layer_norm(pattern: str, target: str) -> tuple[Rule, ...]:
    """Returns the rules of a layer norm."""
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
        Rule(rf'{pattern}\.num_batches_tracked', reason='a counter of PyTorch, not used'),
    )


def torch_layers(
    layout: str | Callable, names: Mapping[str, str], part: tuple[int, int] = (0, 1)
) -> tuple[Rule, ...]:
    """Returns the rules of layers with kernel and bias, targets by patterns, or of one part of each."""
    return tuple(
        rule
        for pattern, target in names.items()
        for rule in (
            Rule(rf'{pattern}\.weight', rf'params/{target}/kernel', layout, part),
            Rule(rf'{pattern}\.bias', rf'params/{target}/bias', part=part),
        )
    )
