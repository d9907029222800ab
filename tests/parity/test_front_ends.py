"""Front ends against their original implementations: torchlibrosa, transformers, LiteRT.

Run by `make parity`, which installs them; `make test` leaves this folder out.
"""

import numpy as np
import pytest
import soundfile
import soxr

from genre_jax import features
from tests.features.test_features import assert_same, htk_filters, panns, signal
from tests.program import DATA

KINDS = ('noise', 'quiet_noise', 'clicks', 'silence', 'full_scale_sine', 'music')


def clip(kind, rate_hz, n):
    if kind != 'music':
        return signal(kind, rate_hz, n)
    files = sorted((DATA / 'game_music').glob('*/*.ogg'))
    if not files:
        pytest.skip(f'no recordings below {DATA}: set GENRE_JAX_DATA')
    waveform, stored_hz = soundfile.read(files[0], dtype='float32')
    return soxr.resample(waveform, stored_hz, rate_hz)[:n]


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('n', [16000, 40001])
@pytest.mark.parametrize(
    ('flavour', 'rate_hz', 'n_fft', 'hop_length', 'f_max_hz'),
    [
        ('panns_32k', 32000, 1024, 320, 14000),
        ('panns_16k', 16000, 512, 160, 8000),
        ('panns_8k', 8000, 256, 80, 4000),
    ],
)
def test_panns_is_torchlibrosas(flavour, rate_hz, n_fft, hop_length, f_max_hz, kind, n):
    import torch
    from torchlibrosa.stft import LogmelFilterBank, Spectrogram

    waveform = clip(kind, rate_hz, n)
    spectrogram = Spectrogram(n_fft=n_fft, hop_length=hop_length, win_length=n_fft)
    log_mel = LogmelFilterBank(
        sr=rate_hz, n_fft=n_fft, n_mels=64, fmin=50, fmax=f_max_hz, ref=1.0, amin=1e-10, top_db=None
    )
    with torch.no_grad():
        theirs = log_mel(spectrogram(torch.tensor(waveform)[None]))[0, 0].numpy()
    ours = np.asarray(features.build({'name': flavour})(waveform))
    near = theirs > theirs.max() - 60
    np.testing.assert_allclose(ours[near], theirs[near], rtol=0, atol=1e-3)
    # Further down torchlibrosa's float32 sums round by as much as 0.1 dB themselves.
    exact = panns(rate_hz, n_fft, hop_length, f_max_hz)(waveform)
    assert (np.abs(ours - theirs) <= np.abs(exact - theirs) + 0.1).all()


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('n', [16000, 80001, 163840, 200000])
def test_ast_is_transformers(kind, n):
    from transformers import ASTFeatureExtractor

    waveform = clip(kind, 16000, n)
    theirs = ASTFeatureExtractor()(waveform, sampling_rate=16000, return_tensors='np')
    ours = features.build({'name': 'ast', 'subtract_mean': False})(waveform)
    assert_same(ours, theirs['input_values'][0], 'ln')


@pytest.fixture(scope='module')
def yamnet_in_float():
    """The published LiteRT file with its 8-bit matrices written out as float32, and those matrices."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.interpreter import Interpreter

    path = DATA / 'weights/yamnet/yamnet.tflite'
    if not path.exists():
        pytest.skip(f'no {path}: set GENRE_JAX_DATA')
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    graph = model.subgraphs[0]
    matrices = {}
    for tensor in graph.tensors:
        buffer = model.buffers[tensor.buffer]
        if tensor.type == schema.TensorType.INT8 and buffer.data is not None:
            (scale,), (zero,) = tensor.quantization.scale, tensor.quantization.zeroPoint
            steps = np.asarray(buffer.data, np.uint8).view(np.int8).astype(np.float32)
            values = (steps - np.float32(zero)) * np.float32(scale)
            matrices[tensor.name] = values.reshape(tensor.shape).T
            buffer.data, tensor.quantization = values.view(np.uint8), None
            tensor.type = schema.TensorType.FLOAT32
    codes = [max(c.builtinCode, c.deprecatedBuiltinCode) for c in model.operatorCodes]
    kept, source = [], {}
    for operator in graph.operators:
        if codes[operator.opcodeIndex] == schema.BuiltinOperator.DEQUANTIZE:
            source[operator.outputs[0]] = operator.inputs[0]
        else:
            kept.append(operator)
    for operator in kept:
        operator.inputs = [source.get(i, i) for i in operator.inputs]
    graph.operators = kept
    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), b'TFL3')
    interpreter = Interpreter(model_content=bytes(builder.Output()))
    interpreter.allocate_tensors()
    fourier = [m for m in matrices.values() if m.shape == (512, 257)]
    (mel,) = (m for m in matrices.values() if m.shape == (257, 64))
    return interpreter, [*fourier, mel]


@pytest.mark.parametrize('kind', KINDS)
def test_yamnet_is_litert_up_to_its_8_bit_matrices(kind, yamnet_in_float):
    """The published LiteRT file keeps its Fourier and mel matrices in 8 bits.

    So its log-mel differs from the exact one by what 8 bits allow. But its graph written out here
    meets its output with the matrices that it holds, and ours with exact ones in their place.
    """
    interpreter, stored = yamnet_in_float
    waveform = clip(kind, 16000, 15600)
    interpreter.set_tensor(interpreter.get_input_details()[0]['index'], waveform[None])
    interpreter.invoke()
    outputs = [interpreter.get_tensor(d['index']) for d in interpreter.get_output_details()]
    (theirs,) = (output for output in outputs if output.shape == (96, 64))

    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    frames = np.stack([waveform[i : i + 400] for i in range(0, 15600 - 399, 160)]) * window
    frames = np.pad(frames, ((0, 0), (56, 56)))  # the file centres them in the 512 samples

    def log_mel(cosine, sine, mel):
        return np.log(np.hypot(frames @ cosine, frames @ sine) @ mel + 0.001)

    angle = 2 * np.pi * np.outer(np.arange(512), np.arange(257)) / 512
    exact = [np.cos(angle), np.sin(angle), htk_filters(125, 7500, 64)]
    for matrix, file in zip(exact, stored, strict=True):
        assert np.abs(matrix - file).max() <= 0.501 / 127
    bands = np.exp(theirs)  # 1e-4 in the logarithm, and what float32 sums leave below a strong partial
    np.testing.assert_allclose(np.exp(log_mel(*stored)), bands, rtol=1e-4, atol=1e-8 * bands.max())
    ours = np.asarray(features.build({'name': 'yamnet'})(waveform))
    np.testing.assert_allclose(log_mel(*exact), ours, rtol=0, atol=1e-4)
