"""What every augmentation is: a frozen set of constants, called on one example."""

from __future__ import annotations

import dataclasses
import math
import numbers
from typing import ClassVar, Literal

import jax

Stage = Literal['waveform', 'features']


@dataclasses.dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Base of all augmentations.

    Attributes:
        probability: of an example to be changed; where config.augment.one_of names the augmentation,
            once a group with it has been drawn.
        on: what is changed, 'waveform' or 'features'.
    """

    probability: float = 1.0
    on: ClassVar[Stage]

    def __post_init__(self) -> None:
        self.require('probability', 0, 1)

    def __call__(self, key: jax.Array, example: jax.Array) -> jax.Array:
        """Changes one example.

        Args:
            key: random key.
            example: float32 (time,) or (frames, bins).

        Returns:
            float32 of the same shape.
        """
        raise NotImplementedError

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Refuses examples to which the augmentation cannot be applied.

        Args:
            shape: of one example, (time,) or (frames, bins).

        Raises:
            ValueError: it does not fit.
        """

    def require(
        self, name: str, least: float, most: float = math.inf, *, whole: bool = False
    ) -> None:
        """Refuses a field out of range.

        Args:
            name: the field.
            least: smallest value it may have.
            most: largest value it may have.
            whole: whether it has to be a whole number.

        Raises:
            ValueError: it is out of range, or no number.
        """
        value = getattr(self, name)
        kind = numbers.Integral if whole else numbers.Real
        if isinstance(value, bool) or not (isinstance(value, kind) and least <= value <= most):
            wanted = f'from {least:g} to {most:g}' if most < math.inf else f'of at least {least:g}'
            raise ValueError(
                f'{name}={value!r}: expected a {"whole " if whole else ""}number {wanted}'
            )

    def require_choice(self, name: str, *choices: object) -> None:
        """Refuses a field that is not one of the choices.

        Args:
            name: the field.
            *choices: the values it may have.

        Raises:
            ValueError: it has another.
        """
        value = getattr(self, name)
        if value not in choices:
            raise ValueError(f'{name}={value!r}: expected one of {", ".join(map(repr, choices))}')
