"""The melody's fundamental frequency by CREPE, a network that was trained to hear it."""

import dataclasses
import functools
import importlib
import math
from collections.abc import Callable
from typing import ClassVar, Literal

import flax
import jax
import jax.numpy as jnp
import numpy as np

from genre_jax.errors import UserError
from genre_jax.features import stft
from genre_jax.features.front_end import AudioFrontEnd, require_positive
from genre_jax.features.viterbi import best_way, triangular

_RATE_HZ, _FRAME = 16000, 1024
# Its classes: pitches from the lowest one upwards.
_BINS, _CENTS, _LOWEST_HZ = 360, 20, 10 * 2 ** (1997.3794084376191 / 1200)
_REACH = 12  # a step between frames is less likely the further it leads, up to so many bins
_TINY = np.finfo(np.float32).tiny
_ABOUT = 4  # bins on either side of the one that was found, of which its pitch is the mean
_FRAMES_AT_ONCE = 32


@dataclasses.dataclass(frozen=True, kw_only=True)
class Crepe(AudioFrontEnd):
    """Fundamental frequency by CREPE: float32 (..., time) -> (..., frames, 1), Hz, 0 in rests.

    Probabilities and the way through them (Viterbi) are those of the package torchcrepe; the pitch is the
    mean about that way, weighed by the probabilities, as its authors have it (Kim et al., ICASSP 2018).

    Attributes:
        hop_length: from frame to frame, samples; a frame has 1024.
        f_min_hz: lowest pitch.
        octaves: from there up to the highest one.
        network: a published one.
        periodicity: a frame whose pitch is less probable is a rest.
    """

    small: ClassVar[bool] = False

    sample_rate_hz: int = _RATE_HZ
    hop_length: int = 512
    f_min_hz: float = 82.5
    octaves: int = 4
    network: Literal['crepe_tiny', 'crepe_full'] = 'crepe_tiny'
    periodicity: float = 0.21

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, 'hop_length', 'f_min_hz', 'octaves', 'periodicity')
        if self.sample_rate_hz != _RATE_HZ:
            raise UserError(
                f'config.features.sample_rate_hz={self.sample_rate_hz}: expected {_RATE_HZ}, which CREPE was '
                'trained at (recordings of any rate are resampled to it)'
            )
        first, end = self._range()
        if first < 0 or end > _BINS:
            raise UserError(
                f'config.features: {self.octaves} octaves from {self.f_min_hz:g} Hz: CREPE hears '
                f'{_LOWEST_HZ:.1f} to {_hz(_BINS - 1):.0f} Hz: lower octaves or change f_min_hz'
            )

    @property
    def weights(self) -> str:
        """Digest of the network's parameters, which are fetched; a UserError where they cannot be."""
        return _published(self.network)[1]

    def _range(self) -> tuple[int, int]:
        """Returns the first bin that a pitch may be in, and the one after the last."""
        first = math.floor(_bin(self.f_min_hz))
        return first, math.ceil(_bin(self.f_min_hz * 2**self.octaves))

    @property
    def least_samples(self) -> int:
        """Samples of the shortest window."""
        return _FRAME

    def clip(self, waveform: jax.Array) -> jax.Array:
        """Computes float32 (frames, 1) from one float32 waveform (time,); it has no gradient."""
        probabilities = self.probabilities(jax.lax.stop_gradient(waveform))
        places = self.way(probabilities)
        near = places[:, None] + np.arange(-_ABOUT, _ABOUT + 1)
        inside = (near >= 0) & (near < _BINS)
        around = jnp.take_along_axis(probabilities, jnp.clip(near, 0, _BINS - 1), 1)
        mean = jnp.average(near, axis=1, weights=jnp.where(inside, around, 0) + _TINY)
        voiced = around[:, _ABOUT] >= self.periodicity
        hz = jnp.where(voiced, _hz(mean), 0)
        return jnp.where(jnp.isfinite(probabilities).all(1), hz, jnp.nan)[:, None]

    def probabilities(self, waveform: jax.Array) -> jax.Array:
        """Returns the probability of each pitch in each frame of (time,), float32 (frames, 360)."""
        frames = stft.frames(stft.pad(waveform, _FRAME, 'zeros'), _FRAME, self.hop_length)
        centred = frames - frames.mean(1, keepdims=True)
        frames = centred / jnp.maximum(frames.std(1, keepdims=True, ddof=1), 1e-10)
        logits, _ = _published(self.network)
        in_pieces = jax.lax.map(lambda piece: logits(piece[None])[0], frames, batch_size=_FRAMES_AT_ONCE)
        # The network's maxima pass over what is no number.
        return jnp.where(jnp.isfinite(frames).all(1, keepdims=True), jax.nn.sigmoid(in_pieces), jnp.nan)

    def way(self, probabilities: jax.Array) -> jax.Array:
        """Returns the bin of each frame, int32 (frames,), as torchcrepe's `decode.viterbi`."""
        first, end = self._range()
        sound = jnp.where(jnp.isfinite(probabilities), probabilities, 0)
        likely = jax.nn.softmax(sound[:, first:end])
        outside = (0, 0), (first, _BINS - end)
        steps = np.log(triangular(_BINS, _REACH) + _TINY).astype(np.float32)
        return best_way(jnp.log(jnp.pad(likely, outside) + _TINY), steps)


def _bin(hz: float) -> float:
    return 1200 * math.log2(hz / _LOWEST_HZ) / _CENTS


def _hz(place: float | jax.Array) -> float | jax.Array:
    return _LOWEST_HZ * 2 ** (place * _CENTS / 1200)


@functools.cache
def _published(name: str) -> tuple[Callable[[jax.Array], jax.Array], str]:
    """Returns a network, frames float32 (n, 1024) to logits (n, 360), and the digest of its parameters.

    Networks and published weights are rooms above this one, looked up by name as those of a config's sections
    are. A UserError where the weights cannot be fetched.
    """
    find = importlib.import_module('genre_jax.convert.init_from').find
    build = importlib.import_module('genre_jax.models').build
    source = find(name, 'config.features.tracker')
    model = build({'name': source.model, **source.settings}, source.num_classes)
    variables = flax.traverse_util.unflatten_dict(source.variables, sep='/')

    def logits(frames: jax.Array) -> jax.Array:
        with jax.default_matmul_precision('highest'):
            return model.apply(variables, frames[..., None], train=False)[0]

    return logits, source.sha256
