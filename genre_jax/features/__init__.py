"""Front ends, on the device: `(..., time) -> (..., frames, bins)`, each a named set of constants.

`picture`, `table`, `melody` and `melody_sequence` read what is stored of datasets that hold no audio,
`tonic_constant_q` audio and its tonic.
"""

import functools
from collections.abc import Callable, Mapping

from genre_jax import config as config_lib
from genre_jax.errors import UserError
from genre_jax.features.audio_melody import AudioMelody
from genre_jax.features.chroma import Chroma
from genre_jax.features.constant_q import ConstantQ
from genre_jax.features.emphasised_mel import EmphasisedMel
from genre_jax.features.front_end import FrontEnd
from genre_jax.features.kaldi import KaldiFilterBank
from genre_jax.features.melody import Melody
from genre_jax.features.melody_sequence import MelodySequence
from genre_jax.features.mfcc import Mfcc
from genre_jax.features.predominant_pitch import PredominantPitch
from genre_jax.features.spectrogram import Spectrogram
from genre_jax.features.stored import Pictures, Table
from genre_jax.features.tonic_constant_q import TonicConstantQ

_panns = functools.partial(Spectrogram, n_mels=64, f_min_hz=50.0, padding='reflect', compression='db')
_musicnn = functools.partial(
    Spectrogram, sample_rate_hz=16000, n_fft=512, hop_length=256, n_mels=96, compression='log10'
)

FLAVOURS = {
    # Schindler, Lidy and Rauber (2016) and Herbert: 80 x 80 pictures of 0.93 s. The paper's window of
    # 1024 and hop of 512 samples give 80 frames at 44.1 kHz; here they are halved with the rate.
    'schindler': functools.partial(
        Spectrogram, sample_rate_hz=22050, n_fft=512, hop_length=256, drop_last_frame=True, power=1,
        n_mels=80, compression='ln', float64=True,
    ),
    # Bu et al. (FMA-small): dB below the clip's peak.
    'fma_mel': functools.partial(
        Spectrogram, sample_rate_hz=22050, n_fft=2048, hop_length=512, n_mels=128, compression='db',
        db_reference='peak', top_db=80.0,
    ),
    # Kong et al., PANNs (2020), as in torchlibrosa.
    'panns_32k': functools.partial(
        _panns, sample_rate_hz=32000, n_fft=1024, hop_length=320, f_max_hz=14000.0
    ),
    'panns_16k': functools.partial(
        _panns, sample_rate_hz=16000, n_fft=512, hop_length=160, f_max_hz=8000.0
    ),
    'panns_8k': functools.partial(
        _panns, sample_rate_hz=8000, n_fft=256, hop_length=80, f_max_hz=4000.0
    ),
    # Plakal and Ellis (2020): the patches of 96 frames are cut in the model.
    'yamnet': functools.partial(
        Spectrogram, sample_rate_hz=16000, n_fft=512, win_length=400, hop_length=160, padding='none',
        power=1, n_mels=64, f_min_hz=125.0, f_max_hz=7500.0, mel_scale='htk', mel_triangles='mel',
        mel_unit_area=False, compression='ln', log_offset=1e-3,
        float64=True,
    ),
    # Pons and Serra (2019).
    'musicnn': _musicnn,
    # Alonso-Jimenez, Serra and Bogdanov, MAEST (2023): musicnn's bands, standardised, halved once more.
    'maest': functools.partial(_musicnn, mean=2.06755686098554, std=2 * 1.268292820667291),
    # Schmid, Koutini and Widmer, EfficientAT (2023), and PaSST.
    'efficientat': EmphasisedMel,
    # Gong, Chung and Glass (2021).
    'ast': KaldiFilterBank,
    # Chen et al., BEATs (2022): torchaudio's constants.
    'beats': functools.partial(
        KaldiFilterBank, window='povey', scale=32768.0, subtract_mean=False, target_frames=0,
        mean=15.41663, std=6.55582,
    ),
    # Dinkel et al., Dasheng (2024): torchaudio's mel spectrogram in dB.
    'dasheng': functools.partial(
        Spectrogram, sample_rate_hz=16000, n_fft=512, hop_length=160, padding='reflect', n_mels=64,
        f_max_hz=8000.0, mel_scale='htk', mel_unit_area=False, compression='db', top_db=120.0, float64=True,
    ),
    # librosa's defaults.
    'mfcc_13': functools.partial(Mfcc, n_mfcc=13),
    'mfcc_20': functools.partial(Mfcc, n_mfcc=20),
    'chroma': Chroma,
    'constant_q': ConstantQ,
    'predominant_pitch': PredominantPitch,
    'audio_melody': AudioMelody,
    'linear': functools.partial(Spectrogram, power=1),
}  # fmt: skip


# Of audio whose tonic is known.
WITH_TONIC = {'tonic_constant_q': TonicConstantQ}
# Of the pitch of a melody.
OF_PITCH = {'melody': Melody, 'melody_sequence': MelodySequence}
# Of what is no audio.
STORED = {'picture': Pictures, 'table': Table, **OF_PITCH}
# Whose constants are those of the training part, of which they take all windows.
FITTED = (Table, Melody, AudioMelody)


def find(name: str) -> Callable[..., FrontEnd]:
    """Returns the front end of a name, to be called with fields that shall be others, or a UserError."""
    known = {**FLAVOURS, **WITH_TONIC, **STORED}
    if name not in known:
        raise UserError(f'config.features.name={name!r}{config_lib.nearest(name, known)}')
    return known[name]


def takes(name: str) -> dict[str, config_lib.Setting]:
    """Returns the further keys of config.features that a front end takes."""
    return config_lib.accepted(find(name))


def build(settings: Mapping) -> FrontEnd:
    """Builds the front end of the section config.features: a flavour's 'name', and keys that override fields.

    Raises a UserError for an unknown flavour or field, or a value that cannot be.
    """
    front_end = find(settings['name'])
    return config_lib.call_with_section(front_end, 'features', settings, skip=('name',))
