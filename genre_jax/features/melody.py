"""What a mode leaves in a melody: distributions of its pitch, surfaces of its pitch now and a little later.

Pitch is counted in bins of an octave. The features are written down from the lowest of the candidates for the
tonic upwards, and these lie about the median of the melody: a melody that is transposed by any number of half
bins has the very same features, but for the place where they begin.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from genre_jax.errors import UserError
from genre_jax.features.chroma import median
from genre_jax.features.front_end import FrontEnd, require_positive

REFERENCE_HZ = 55.0  # bin 0
GRIDS = 2  # half a bin apart
QUARTERS = 4  # of the voiced frames
ENDS_S = 10.0  # the beginning and the end, which come close to the tonic
# In octaves: candidates for the tonic lie from here to an octave higher about the median, and what a
# candidate is judged by from an octave below it to two above it (docs/modal.md).
_LOWEST = -0.75
BELOW, WINDOW = 1, 3
_BLOCK = 2048  # frames that are counted at once


class Columns(NamedTuple):
    """What stands in one row of the features, of a grid, float32."""

    lowest: jax.Array  # the lowest candidate, in bins above `REFERENCE_HZ`, (...)
    unfolded: jax.Array  # shares of the voiced frames, whole and by quarters, (..., 5, 4 octaves - 1)
    folded: jax.Array  # likewise by pitch class, then the first and the last seconds, (..., 7, octave)
    surfaces: jax.Array  # components as real and imaginary part, and their frequency, (..., components, 3)


def columns(features: jax.Array, bins_per_octave: int) -> Columns:
    """Takes features (..., columns) apart; `bins_per_octave` are those of the front end."""
    reach = (WINDOW + 1) * bins_per_octave - 1
    sizes = np.cumsum([1, (1 + QUARTERS) * reach, (3 + QUARTERS) * bins_per_octave])
    lowest, unfolded, folded, surfaces = jnp.split(features, sizes, axis=-1)
    batch = features.shape[:-1]
    return Columns(
        lowest[..., 0],
        unfolded.reshape(*batch, 1 + QUARTERS, reach),
        folded.reshape(*batch, 3 + QUARTERS, bins_per_octave),
        surfaces.reshape(*batch, -1, 3),
    )


def bins_above_reference(hz: jax.Array, bins_per_octave: int) -> jax.Array:
    """Returns pitch in bins, of frequencies above 0."""
    return bins_per_octave * jnp.log2(hz / REFERENCE_HZ)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Melody(FrontEnd):
    """Pitch distributions and surfaces of a melody on two grids: float32 (..., frames) -> (..., 2, columns).

    `Columns` says what stands in a row. Surfaces are time-delayed melody surfaces (Gulati, Serra, Ganguli,
    Senturk and Serra, ISMIR 2016): how often pitch class p is followed by q after a delay, blurred by a bin,
    as shares, their square root. Written as S[p, q - p], a transposition turns the first axis alone, and
    multiplies a Fourier component of frequency k by a phase; of these, components that tell most.

    Attributes:
        sample_rate_hz: frames in a second.
        bins_per_octave: of pitch; 53 are Holdrian commas, 22.6 cents.
        delays_s: of the surfaces.
        components: complex ones of each surface.
        frequencies: along the octave, of the components of all surfaces, fitted.
        basis: over the intervals q - p, for each of them as real and imaginary parts, fitted.
    """

    kind: ClassVar[str] = 'pitch'
    sample_rate_hz: float = 44100 / 1024
    bins_per_octave: int = 53
    delays_s: tuple[float, ...] = (0.3, 1.0, 2.5)
    components: int = 96
    frequencies: tuple[int, ...] = ()
    basis: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, 'sample_rate_hz', 'bins_per_octave', 'components')
        bins = self.bins_per_octave
        if any(delay_s <= 0 for delay_s in self.delays_s):
            raise UserError(f'config.features.delays_s={self.delays_s}: expected seconds above 0')
        if self.components > bins * (bins // 2 + 1):
            raise UserError(
                f'config.features.components={self.components}: a surface of {bins} bins has no more than '
                f'{bins * (bins // 2 + 1)}'
            )

    @property
    def fixed(self) -> bool:
        """Says whether there is nothing left to be fitted."""
        return bool(self.basis)

    def fitted(self, batches: Iterable[np.ndarray]) -> Melody:
        """Takes the basis of each surface from the training part: principal components, by frequency.

        `batches` are float32 [n, frames]. Components are not centred, so that phases stay phases.
        """
        spectra_of = jax.jit(lambda tracks: jax.vmap(self._spectra)(jax.lax.map(self._counted, tracks)[-1]))
        moments = np.zeros((len(self.delays_s), self.bins_per_octave // 2 + 1, *[self.bins_per_octave] * 2))
        for tracks in batches:
            spectra = np.asarray(spectra_of(tracks), np.complex128)
            by_frequency = spectra.reshape(-1, *spectra.shape[2:]).transpose(1, 2, 3, 0)
            moments = moments + by_frequency @ by_frequency.conj().swapaxes(-1, -2)
        frequencies, basis = [], []
        for of_delay in moments:
            values, vectors = np.linalg.eigh(of_delay)
            frequency = np.arange(len(values))
            values = values * np.where(2 * frequency % self.bins_per_octave, 2, 1)[:, None]  # k and -k
            order = np.argsort(-values, axis=None, kind='stable')[: self.components]
            for k, i in zip(*np.unravel_index(order, values.shape), strict=True):
                vector = vectors[k, :, i]
                largest = vector[np.abs(vector).argmax()]
                vector = vector * largest.conj() / abs(largest)  # else its phase is anything
                frequencies.append(int(k))
                basis += np.stack([vector.real, vector.imag], -1).ravel().round(6).tolist()
        return dataclasses.replace(self, frequencies=tuple(frequencies), basis=tuple(basis))

    def __call__(self, f0_hz: jax.Array) -> jax.Array:
        """Computes float32 (..., 2, columns) of float32 (..., frames) in Hz, 0 where unvoiced."""
        tracks = jax.lax.stop_gradient(f0_hz.reshape(-1, f0_hz.shape[-1]))
        # Counts take one core, track by track; what follows from them takes all, for all tracks at once.
        rows = jax.vmap(self._described)(tracks, jax.lax.map(self._counted, tracks))
        return rows.reshape(*f0_hz.shape[:-1], *rows.shape[1:])

    def track(self, f0_hz: jax.Array) -> jax.Array:
        """Computes float32 (2, columns) of one track (frames,); counts have no gradient."""
        f0_hz = jax.lax.stop_gradient(f0_hz)
        return self._described(f0_hz, self._counted(f0_hz))

    def _described(self, f0_hz: jax.Array, counts: tuple) -> jax.Array:
        bins = self.bins_per_octave
        first, unfolded, folded, surfaces = counts
        parts = jnp.concatenate([unfolded.sum(0, keepdims=True), unfolded])
        classes = jnp.concatenate([folded[:QUARTERS].sum(0, keepdims=True), folded])
        total = jnp.maximum(classes[0].sum(), 1)
        # Grid r holds the fine bins first + r, first + r + 2, ...; turned to begin with a candidate.
        reach, rows = 2 * ((WINDOW + 1) * bins - 1), []
        spectra = self._spectra(surfaces)
        frequencies, basis = self._basis()
        for r in range(GRIDS):
            by_class = jnp.roll(_hat(classes, circular=True), -(first + r), axis=-1)[:, ::2][:, :bins]
            by_bin = _hat(parts, circular=False)[:, r : r + reach : 2]
            grid = (first + r) % 2
            begin = (first + r - grid) // 2
            spectrum = jnp.take(spectra, grid, axis=0)
            surface = np.repeat(np.arange(len(self.delays_s)), self.components)
            found = (spectrum[surface, frequencies] * basis.conj()).sum(-1)
            found = found * jnp.exp(2j * np.pi / bins * (frequencies * begin % bins))
            described = jnp.stack([found.real, found.imag, jnp.asarray(frequencies, jnp.float32)], -1)
            lowest = ((first + r) / 2).astype(jnp.float32)[None]
            rows.append(
                jnp.concatenate(
                    [lowest, (by_bin / total).ravel(), (by_class / total).ravel(), described.ravel()]
                )
            )
        # What holds a frame that is no number is none itself: such frames are not counted.
        return jnp.where(jnp.isfinite(f0_hz).all(), jnp.stack(rows), jnp.nan)

    def _counted(self, f0_hz: jax.Array) -> tuple:
        """Counts a track in fine bins, half as wide: with the lowest candidate, from which they begin."""
        bins, fine = self.bins_per_octave, 2 * self.bins_per_octave
        delays = [round(delay_s * self.sample_rate_hz) for delay_s in self.delays_s]
        voiced = f0_hz > 0
        n_voiced = voiced.sum()
        rank = jnp.cumsum(voiced) - voiced
        frame = jnp.arange(len(f0_hz))
        begin = jnp.argmax(voiced)
        end = jnp.max(jnp.where(voiced, frame + 1, 0))
        ends = round(ENDS_S * self.sample_rate_hz)
        middle_hz = jnp.where(n_voiced > 0, median(f0_hz, voiced), REFERENCE_HZ)
        middle = 2 * bins_above_reference(middle_hz, bins)
        first = jnp.ceil(middle + _LOWEST * fine).astype(jnp.int32)
        pad = (0, _BLOCK + max(delays, default=0))
        height = jnp.pad(2 * bins_above_reference(jnp.where(voiced, f0_hz, REFERENCE_HZ), bins), pad)
        share = jnp.pad(voiced.astype(jnp.float32), pad)
        quarter = jnp.pad(jnp.minimum(rank * QUARTERS // jnp.maximum(n_voiced, 1), QUARTERS - 1), pad)
        # One bin more at each end, for what the coarse bins take of their neighbours.
        n_unfolded = (WINDOW + 1) * fine

        def count(block: jax.Array, counts: tuple) -> tuple:
            unfolded, folded, surfaces = counts
            start = block * _BLOCK
            at = start + jnp.arange(_BLOCK)

            def cut(values: jax.Array, delay: int = 0) -> jax.Array:
                return jax.lax.dynamic_slice(values, (start + delay,), (_BLOCK,))

            def two_bins(values: jax.Array) -> tuple[jax.Array, jax.Array]:
                """Returns the bins that a pitch lies between, and its share of each, (2, frames)."""
                low = jnp.floor(values)
                bins = low.astype(jnp.int32) + np.arange(2)[:, None]
                return bins, jnp.stack([low + 1 - values, values - low])

            own, part = cut(share), cut(quarter)
            place, weight = two_bins(cut(height))
            where = place - first + BELOW * fine + 1
            inside = own * weight * ((where >= 0) & (where < n_unfolded))
            unfolded = unfolded.at[part, jnp.clip(where, 0, n_unfolded - 1)].add(inside)
            near = jnp.stack([at < begin + ends, at >= end - ends])
            rows = jnp.stack([part, *(jnp.full(_BLOCK, QUARTERS + i) for i in range(2))])
            masks = jnp.concatenate([jnp.ones((1, _BLOCK)), near]) * own
            folded = folded.at[rows[:, None], place % fine].add(masks[:, None] * weight)
            for i, delay in enumerate(delays):
                later, later_weight = two_bins(cut(height, delay))
                pairs = (i * fine + place % fine)[:, None] * fine + later % fine
                both = own * cut(share, delay)
                surfaces = surfaces.at[pairs].add(weight[:, None] * later_weight * both)
            return unfolded, folded, surfaces

        zeros = 0 * middle_hz  # made of the data: under shard_map the loop has to begin with what differs
        counts = (
            zeros + jnp.zeros((QUARTERS, n_unfolded)),
            zeros + jnp.zeros((QUARTERS + 2, fine)),
            zeros + jnp.zeros(len(delays) * fine**2),
        )
        blocks = -(-end // _BLOCK)
        unfolded, folded, surfaces = jax.lax.fori_loop(0, blocks, count, counts)
        return first, unfolded, folded, surfaces.reshape(len(delays), fine, fine)

    def _spectra(self, surfaces: jax.Array) -> jax.Array:
        """Returns Fourier components, complex64 (2 grids, surfaces, frequencies, intervals)."""
        bins = self.bins_per_octave
        coarse = _hat(_hat(surfaces, circular=True).swapaxes(-1, -2), circular=True).swapaxes(-1, -2)
        grids = jnp.stack([coarse[:, r::2, r::2] for r in range(GRIDS)])
        distance = np.arange(bins)[:, None] - np.arange(bins)
        distance = np.abs((distance + bins // 2) % bins - bins // 2)
        blur = np.exp(-0.5 * distance**2).astype(np.float32)
        blurred = jnp.matmul(jnp.matmul(blur, grids, precision='highest'), blur, precision='highest')
        total = blurred.sum((-1, -2), keepdims=True)
        root = jnp.sqrt(blurred / jnp.where(total > 0, total, 1))
        p = np.arange(bins)[:, None]
        sheared = root[..., p, (p + np.arange(bins)) % bins]
        turn = np.exp(-2j * np.pi / bins * np.outer(np.arange(bins // 2 + 1), np.arange(bins))) / bins**0.5
        real, imaginary = (
            jnp.matmul(part.astype(np.float32), sheared, precision='highest')
            for part in (turn.real, turn.imag)
        )
        return jax.lax.complex(real, imaginary)

    def _basis(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns frequencies [components] and basis [components, bins] of all surfaces."""
        bins, n = self.bins_per_octave, len(self.delays_s) * self.components
        if self.basis:
            parts = np.asarray(self.basis, np.float32).reshape(n, bins, 2)
            return np.asarray(self.frequencies), (parts[..., 0] + 1j * parts[..., 1]).astype(np.complex64)
        # Not fitted: the components themselves, interval by interval.
        interval, frequency = np.divmod(np.arange(self.components), bins // 2 + 1)
        basis = np.eye(bins, dtype=np.complex64)[interval]
        return np.tile(frequency, len(self.delays_s)), np.tile(basis, (len(self.delays_s), 1))


def _hat(fine: jax.Array, circular: bool) -> jax.Array:
    """Returns what bins twice as wide, about each fine one, count by linear interpolation: (..., fine).

    That is the fine one and half of its neighbours; where it is not `circular` the first and the last are
    neighbours alone, and left out.
    """
    if circular:
        return fine + 0.5 * (jnp.roll(fine, 1, -1) + jnp.roll(fine, -1, -1))
    return fine[..., 1:-1] + 0.5 * (fine[..., :-2] + fine[..., 2:])
