"""Draws one recording: its spectrogram, and over it the pitch that was played.

python -m genre_jax.data.synthetic_raag [--track=yaman/0000] [--seed=0] [--hard] [--out=picture.png]
"""

from collections.abc import Sequence

import numpy as np
from absl import flags

from genre_jax import program
from genre_jax.data.recordings import Recording
from genre_jax.data.synthetic_raag import Source, grammar, sound
from genre_jax.errors import UserError

_TRACK = flags.DEFINE_string('track', 'yaman/0000', 'raag and number of the recording')
_SEED = flags.DEFINE_integer('seed', 0, 'of the dataset')
_HARD = flags.DEFINE_bool('hard', False, 'a recording of the hard ones')
_OUT = flags.DEFINE_string('out', 'picture.png', 'PNG to write')

_DURATION_S = 20.0


def main(argv: Sequence[str]) -> None:
    """Draws the recording that the flags name."""
    import matplotlib.figure

    program.refuse_words(argv)
    source = Source(seed=_SEED.value, duration_s=_DURATION_S, hard=_HARD.value)
    track = _TRACK.value
    rate_hz, tonic_hz = source.sample_rate_hz(), source.performance(track).tonic_hz
    label = track.split('/')[0]
    raag = grammar.RAAGS[label]
    audio = source.load(Recording(track, label, group=''))
    hz = sound.contour(source.melody(track), _DURATION_S, rate_hz)
    axes = (figure := matplotlib.figure.Figure((12, 5), layout='constrained')).subplots()
    axes.specgram(audio / 32768, NFFT=4096, Fs=rate_hz, noverlap=3072, vmin=-110, cmap='Greys')
    axes.plot(np.arange(len(hz)) / rate_hz, np.where(hz > 0, hz, np.nan), color='tab:red', lw=1)
    low, high = raag.span
    notes = [p for p in range(low, high + 1) if grammar.swara(p) in raag.scale]
    axes.set_yscale('log', base=2)
    axes.set_yticks([grammar.frequency_hz(p, tonic_hz) for p in notes], map(grammar.swara, notes))
    axes.minorticks_off()
    axes.set(
        title=f'{track}: Sa = {tonic_hz:.1f} Hz',
        xlabel='seconds',
        ylim=(tonic_hz * 2 ** ((low - 6) / 12), tonic_hz * 2 ** ((high + 6) / 12)),
    )
    try:
        figure.savefig(_OUT.value, dpi=100)
    except (OSError, ValueError) as error:
        raise UserError(f'--out={_OUT.value}: cannot be written ({error})') from None


if __name__ == '__main__':
    program.run(main, config=False)
