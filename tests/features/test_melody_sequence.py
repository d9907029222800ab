"""A melody as a sequence: against NumPy, frame by frame, and closed forms."""

import numpy as np
import pytest

from genre_jax.features.melody_sequence import MelodySequence

BINS, HOP = 53, 8


def by_hand(f0_hz):
    voiced = f0_hz > 0
    height = np.log2(np.where(voiced, f0_hz, 55))
    middle = np.log2(np.median(f0_hz[voiced]))
    end = np.flatnonzero(voiced)[-1]
    rows = []
    for start in range(0, len(f0_hz), HOP):
        part = slice(start, start + HOP)
        row = np.zeros(2 * BINS + 3)
        for hz in f0_hz[part][voiced[part]]:
            for column in range(2 * BINS):
                cents = 1200 * np.log2(hz / (55 * 2 ** (column / 2 / BINS)))
                away = min(cents % 1200, -cents % 1200) / (1200 / BINS)
                row[column] += max(0, 1 - away)
        frames = len(f0_hz[part])
        row[: 2 * BINS] /= frames
        above = np.clip(height[part] - middle, -2, 2)[voiced[part]]
        row[-3:] = above.mean() if len(above) else 0, voiced[part].sum() / frames, start <= end
        rows.append(row)
    return np.array(rows)


def test_equals_numpy_frame_by_frame():
    rng = np.random.default_rng(0)
    f0_hz = np.exp2(rng.uniform(5, 11, 75)).astype(np.float32)
    f0_hz[rng.random(75) < 0.4] = 0
    f0_hz[-20:] = 0
    found = np.asarray(MelodySequence()(f0_hz[None]))[0]
    wanted = by_hand(f0_hz.astype(np.float64))
    assert found.shape == wanted.shape == (10, 109)
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert wanted[-1, -1] == 0 and wanted[-4, -1] == 1


def test_a_steady_note_lies_in_its_column():
    """The reference itself in column 0, and half as much in each neighbour, half a bin away."""
    found = np.asarray(MelodySequence()(np.full((1, 16), 220, np.float32)))[0]
    np.testing.assert_allclose(found[:, [0, 1, 105]], [[1, 0.5, 0.5]] * 2, atol=1e-4)
    assert found[:, 2:105].max() < 1e-4
    np.testing.assert_allclose(found[:, -3:], [[0, 1, 1]] * 2, atol=1e-6)


def test_silence_is_nothing_and_no_number_is_none():
    assert not np.asarray(MelodySequence()(np.zeros((1, 20), np.float32))).any()
    broken = np.full((1, 20), 100, np.float32)
    broken[0, 3] = np.nan
    assert np.isnan(np.asarray(MelodySequence()(broken))).all()


@pytest.mark.parametrize('key', ['hop_length', 'bins_per_octave', 'sample_rate_hz'])
def test_settings_are_checked(key):
    with pytest.raises(Exception, match=f'config.features.{key}'):
        MelodySequence(**{key: 0})
