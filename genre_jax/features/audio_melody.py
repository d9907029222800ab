"""What a mode leaves in audio: the features of its melody, whichever way that is heard."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import ClassVar, Literal

import jax
import numpy as np

from genre_jax.errors import UserError
from genre_jax.features.crepe import Crepe
from genre_jax.features.front_end import AudioFrontEnd, require_positive
from genre_jax.features.melody import Melody
from genre_jax.features.predominant_pitch import PredominantPitch
from genre_jax.features.pyin import Pyin

_TRACKERS = {'constant_q': PredominantPitch, 'pyin': Pyin}  # and Crepe, by the names of its networks


@dataclasses.dataclass(frozen=True, kw_only=True)
class AudioMelody(AudioFrontEnd):
    """`Melody` of the predominant melody of audio: float32 (..., time) -> (..., 2, columns).

    Attributes:
        tracker: what finds the pitch: `PredominantPitch`, `Pyin` or `Crepe` (docs/modal.md compares them).
        hop_length: from one pitch to the next, samples.
        f_min_hz: lowest pitch.
        octaves: from there up to the highest one.
        voiced_db: see `PredominantPitch`, which alone has it.
        periodicity: see `Crepe`, which alone has it.
        weights: digest of the tracker's parameters where it has any, filled in.
        bins_per_octave: see `Melody`, as the others; the pitch itself is read more finely.
    """

    small: ClassVar[bool] = False

    tracker: Literal['constant_q', 'pyin', 'crepe_tiny', 'crepe_full'] = 'constant_q'
    sample_rate_hz: int = 16000
    hop_length: int = 512
    f_min_hz: float = 82.5
    octaves: int = 4
    voiced_db: float = 14.0
    periodicity: float = 0.21
    weights: str = ''
    bins_per_octave: int = 53
    delays_s: tuple[float, ...] = (0.3, 1.0, 2.5)
    components: int = 96
    frequencies: tuple[int, ...] = ()
    basis: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, 'sample_rate_hz', 'hop_length')
        self._melody()  # for its errors
        # Known from here on wherever the front end is written down, and fetched before hours of preparation.
        weights = getattr(self.pitch(), 'weights', '')
        if self.weights not in ('', weights):
            raise UserError(
                f'config.features.weights={self.weights!r}: this version of genre_jax has {weights!r} for '
                f'tracker={self.tracker!r}: take the version that had the others'
            )
        object.__setattr__(self, 'weights', weights)

    def pitch(self) -> AudioFrontEnd:
        """Returns the front end that finds the pitch."""
        kind, fields = _TRACKERS.get(self.tracker, Crepe), {}
        if kind is Crepe:
            fields['network'] = self.tracker
        known = {field.name for field in dataclasses.fields(kind)}
        for name in ('sample_rate_hz', 'hop_length', 'f_min_hz', 'octaves', 'voiced_db', 'periodicity'):
            value = getattr(self, name)
            if name in known:
                fields[name] = value
            elif value != getattr(type(self), name):
                raise UserError(f'config.features.{name}={value!r}: tracker={self.tracker!r} has no such key')
        return kind(**fields)

    def _melody(self) -> Melody:
        names = ('bins_per_octave', 'delays_s', 'components', 'frequencies', 'basis')
        frames_hz = self.sample_rate_hz / self.hop_length
        return Melody(sample_rate_hz=frames_hz, **{name: getattr(self, name) for name in names})

    @property
    def least_samples(self) -> int:
        """Samples of the shortest window."""
        return self.pitch().least_samples

    @property
    def fixed(self) -> bool:
        """Says whether there is nothing left to be fitted."""
        return bool(self.basis)

    def fitted(self, batches: Iterable[np.ndarray]) -> AudioMelody:
        """See `Melody.fitted`; `batches` are float32 [n, time]."""
        pitch_of = jax.jit(lambda waveforms: self.pitch()(waveforms)[..., 0])
        found = self._melody().fitted(map(pitch_of, batches))
        return dataclasses.replace(self, frequencies=found.frequencies, basis=found.basis)

    def clip(self, waveform: jax.Array) -> jax.Array:
        """Computes float32 (2, columns) from one float32 waveform (time,)."""
        return self._melody().track(self.pitch().clip(waveform)[:, 0])
