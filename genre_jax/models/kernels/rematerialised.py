"""Activations of a module that are computed again in the backward pass instead of being kept."""

import functools
from typing import Any

import flax.linen as nn


@functools.cache
def rematerialised(kind: type[nn.Module]) -> type[nn.Module]:
    """Returns what `nn.remat` does of a module's class, with a call that interceptors see from outside too.

    They see it within first, then from outside: what is read there can be used behind the call (layers.py).
    Of `nn.remat` they see what is within alone.
    """

    # Flax tells interceptors this name.
    def __call__(self: nn.Module, *arguments: Any) -> Any:  # noqa: N807
        return nn.remat(kind.__call__)(self, *arguments)

    return type(kind.__name__, (kind,), {'__call__': __call__, '__module__': kind.__module__})
