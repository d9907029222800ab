"""Recordings through a network that adds up the samples of a window."""

import jax
import numpy as np
import pytest

from genre_jax import sharding
from genre_jax.errors import BadAudio
from genre_jax.label.stream import Stream

WINDOW, BATCH_SIZE = 4, 8


@pytest.fixture(scope='module')
def stream():
    def forward(audio):
        return audio.sum(1, keepdims=True), audio[:, :1]

    return Stream(jax.jit(forward), sharding.make_mesh(), WINDOW, BATCH_SIZE)


def cut(decoded):
    n_samples, samples = decoded
    return [samples] if n_samples > 10 * WINDOW else samples.reshape(-1, WINDOW)


def recordings(*lengths):
    rng = np.random.default_rng(0)
    return [(n, np.float32(rng.integers(-9, 9, n))) for n in lengths]


def test_sums_of_windows_in_order(stream):
    read = recordings(4, 20, 36, 12, 48, 8, 44, 4)
    found = list(stream.hear(read, cut))
    assert [n for n, _ in found] == [n for n, _ in read]
    for (_, heard), each in zip(found, read, strict=True):
        np.testing.assert_array_equal(heard.logits[:, 0], [window.sum() for window in cut(each)])
        np.testing.assert_array_equal(heard.embeddings[:, 0], [window[0] for window in cut(each)])


def test_one_that_cannot_be_used_keeps_its_place(stream):
    def fails(decoded):
        yield from cut(decoded)[:2]
        raise BadAudio('ends early')

    read = recordings(20, 20, 20)
    kinds = [type(each) for each in stream.hear([read[0], BadAudio('none'), read[2]], cut)]
    assert kinds == [tuple, BadAudio, tuple]
    assert [str(each) for each in stream.hear(read, fails)] == ['ends early'] * 3


def test_an_answer_waits_for_no_recording_that_it_shares_no_batch_with(stream):
    read = []

    def reading():
        for each in recordings(44, 48, 32, 4, 44):
            read.append(each)
            yield each

    at_answer = [len(read) for _ in stream.hear(reading(), cut)]
    # 32 samples fill a batch, which the next one is read beside.
    assert at_answer == [1, 2, 5, 5, 5]
