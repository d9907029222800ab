"""Front ends of what is no audio: stored pictures, and rows of a table of features."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from genre_jax.errors import UserError
from genre_jax.features.front_end import FrontEnd


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pictures(FrontEnd):
    """Stored RGB pictures, resized: uint8 (..., rows, columns, 3) -> float32, 0 to 255.

    Attributes:
        height: rows of the result, 0 for those of the picture.
        width: columns, likewise.
    """

    kind: ClassVar[str] = 'image'
    height: int = 0
    width: int = 0

    def __post_init__(self) -> None:
        if self.height < 0 or self.width < 0:
            raise UserError(
                f'config.features: height={self.height} and width={self.width}; expected pixels, or 0 '
                'for those of the picture'
            )

    def __call__(self, pictures: jax.Array) -> jax.Array:
        """Resizes with a triangle filter, which averages where it shrinks."""
        *batch, height, width, channels = pictures.shape
        pictures = pictures.astype(jnp.float32)
        for shape in ((self.height or height, width), (self.height or height, self.width or width)):
            # One direction after the other: XLA (of jaxlib 0.10.2) compiles no product of both for GPUs.
            pictures = jax.image.resize(
                jax.lax.optimization_barrier(pictures), (*batch, *shape, channels), 'linear'
            )
        return pictures


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table(FrontEnd):
    """Rows of handcrafted features, each column standardised: float32 (..., columns) -> the same.

    Attributes:
        mean: of each column over the rows of the training part; empty: columns stay as they are.
        std: their standard deviation.
    """

    kind: ClassVar[str] = 'table'
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    @property
    def fixed(self) -> bool:
        """Says whether there is nothing left to be fitted."""
        return bool(self.mean)

    def fitted(self, batches: Iterable[np.ndarray]) -> Table:
        """Takes means and deviations (of the population) from the training part, and only from it.

        `batches` are float32 [n, columns], each row as often as it trains in an epoch.
        """
        rows = np.concatenate(list(batches))
        std = rows.std(0, dtype=np.float64)
        return dataclasses.replace(
            self,
            mean=tuple(rows.mean(0, dtype=np.float64).tolist()),
            std=tuple(np.where(std > 0, std, 1).tolist()),  # a constant column stays constant
        )

    def __call__(self, rows: jax.Array) -> jax.Array:
        """Standardises."""
        if not self.mean:
            return rows
        return (rows - np.asarray(self.mean, np.float32)) / np.asarray(self.std, np.float32)
