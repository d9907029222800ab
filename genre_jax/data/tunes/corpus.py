"""The dance tunes in the scores inside music21, and their notes."""

import dataclasses
import functools
import importlib.util
import pathlib
import re

import numpy as np

from genre_jax.data.recordings import Quarantined
from genre_jax.errors import UserError

# What each dance is written in; the minstrel "straight jig" in 2/4 is another dance.
_EVEN = ('2/4', 'C', 'C|', '4/4', '2/2')
METRES = dict.fromkeys(('hornpipe', 'reel', 'strathspey'), _EVEN)
METRES |= {'jig': ('6/8',), 'slip jig': ('9/8',)}
# Eight bars of two beats, of which the last one may be short.
MIN_BEATS = 15
# Share of the bars that must be as long as the metre says: strains may end and begin in mid-bar.
MIN_FITTING = 0.6

_COLLECTIONS = {'ryansMammoth': 'ryans', 'oneills1850': 'oneills', 'airdsAirs': 'airds'}
_SPELLINGS = {'jigg': 'jig', 'double jig': 'jig', 'slipjig': 'slip jig'}
_DANCES = {dance: dance for dance in METRES} | _SPELLINGS
DANCE_AT_END = re.compile(rf'\b({"|".join(_DANCES)}|clog|highland fling|fling)$')


class BadTune(Exception):
    """This tune cannot be used; the message is the reason."""


@dataclasses.dataclass(frozen=True)
class Score:
    """One tune as it stands in a collection, not parsed yet."""

    path: str  # file and number, 'oneills1850/0732-0758_bs.abc X:732'
    track: str  # short unique name, 'oneills/0732 The Kerry Cobbler', 'ryans/MoneyMuskReel'
    titles: tuple[str, ...]  # as written, the first one first
    dance: str  # key of `METRES`, by the header or else the title
    abc: str  # the text


@dataclasses.dataclass(frozen=True)
class Tune:
    """The notes of a tune, in beats, played once through without repeats.

    A beat is what a dancer counts: the dotted quarter in 6/8 and 9/8, half a bar in 2/4, 4/4 and
    2/2. So a reel is the same music whether its book writes it in eighths or in sixteenths.
    """

    midi: np.ndarray  # MIDI number of every note, int [n]
    onset_beats: np.ndarray  # when it starts, float [n]
    duration_beats: np.ndarray  # how long it is, float [n]
    bar: np.ndarray  # index of its bar, -1 for the notes of a pickup, int [n]
    position_beats: np.ndarray  # where it starts in its bar, float [n]
    metre: tuple[int, int]  # beats in a bar, parts of a beat: (2, 4), (2, 3) or (3, 3)
    length_beats: float  # of the whole tune


def root() -> pathlib.Path:
    """Returns the folder of scores in the installed music21; a UserError where there are none."""
    spec = importlib.util.find_spec('music21')
    folder = pathlib.Path(spec.origin).parent / 'corpus' if spec and spec.origin else None
    if missing := [name for name in _COLLECTIONS if folder is None or not (folder / name).is_dir()]:
        raise UserError(
            f'data.tunes needs the scores of the package music21, {missing[0]!r} is '
            'not there: reinstall it with `pip install --force-reinstall music21`'
        )
    return folder


def normalise_dance(text: str) -> str:
    """Returns the dance that an `R:` field names ('Slipjig' -> 'slip jig'), '' for any other."""
    return _DANCES.get(' '.join(text.lower().split()), '')


def scores(folder: pathlib.Path) -> tuple[list[Score], list[Quarantined], int]:
    """Reads every tune of a dance in `METRES`, in the order of the collections.

    Returns the tunes; those whose header, title and metre do not agree on the dance; and the number
    of second copies of a page that were passed over (one number of O'Neill's in two files, one tune
    of Ryan's under its other title).
    """
    kept, quarantined, seen, copies = [], [], set(), 0
    for collection, short in _COLLECTIONS.items():
        for file in sorted((folder / collection).glob('*.abc')):
            for number, abc in _split(file).items():
                titles = tuple(re.findall(r'(?m)^T:\s*(?:T:)?(.*\S)', abc)) or ('',)
                metre = (re.findall(r'(?m)^M:\s*(\S+)', abc) or ['no metre'])[0]
                dance, by_title = _dances(abc, titles[0], metre)
                if not dance:
                    continue
                path = f'{collection}/{file.name} X:{number}'
                page = number if short == 'oneills' else ''.join(_plain(abc).split())
                if page in seen:
                    copies += 1
                elif by_title not in ('', dance):
                    reason = f'a {dance} by its header, a {by_title} by its title'
                    quarantined.append(Quarantined(path, reason))
                elif metre not in METRES[dance]:
                    quarantined.append(Quarantined(path, f'a {dance} in {metre}'))
                else:
                    seen.add(page)
                    title = re.sub(r"[^\w' ]", '', titles[0].split('%')[0]).strip()
                    name = {
                        'ryans': file.stem,
                        'oneills': f'{number:04d} {title}',
                        'airds': f'{file.stem}-{number:04d} {title}',
                    }[short]
                    kept.append(Score(path, f'{short}/{name}', titles, dance, abc))
    return kept, quarantined, copies


def read(folder: pathlib.Path, path: str) -> str:
    """Returns the text of one tune: `path` as in `Score.path`."""
    file, number = path.rsplit(' X:', 1)
    return _split(folder / file)[int(number)]


def _split(file: pathlib.Path) -> dict[int, str]:
    text = file.read_text(encoding='utf-8')
    tunes = re.split(r'(?m)^X:\s*(\d+)', text)[1:]
    return dict(zip(map(int, tunes[::2]), tunes[1::2], strict=True))


def _dances(abc: str, title: str, metre: str) -> tuple[str, str]:
    """Returns the dance by the `R:` field (else by the title), and by the title alone or ''."""
    words = ' '.join(re.sub(r'[^a-z]+', ' ', title.split('%')[0].lower()).split())
    last = DANCE_AT_END.search(words)
    by_title = (normalise_dance(last[0]) or last[0]) if last else ''
    field = re.search(r'(?m)^R:\s*(\S.*)$', abc)
    by_header = normalise_dance(field[1]) if field else by_title
    if metre == '9/8':
        # A jig in 9/8 is a slip jig, whatever the page calls it.
        slip = {'jig': 'slip jig'}
        by_header, by_title = slip.get(by_header, by_header), slip.get(by_title, by_title)
    return by_header, by_title


def _plain(abc: str) -> str:
    """Leaves of the text what has a pitch or a length: music21 loses `>` next to a bowing mark."""
    header, _, body = abc.partition('\nK:')
    lines = [line for line in header.splitlines() if line[:2] in ('L:', 'M:')]
    for line in f'K:{body}'.splitlines():
        if line[:2] in ('K:', 'L:', 'M:'):
            lines.append(line)
        elif not re.match(r'%|[A-Za-z]:(?![|:])', line):
            line = re.sub(r'"[^"]*"|\{[^}]*\}|![^!]*!|%.*', '', line)
            lines.append(re.sub(r"\((?!\d)|[^A-Ga-gz0-9()\[\]|:/,'^_=<>\s-]|\)", '', line))
    return '\n'.join(['X:1', *lines, ''])


def parse(abc: str) -> Tune:
    """Reads the notes of one tune in ABC notation.

    Of a chord the highest note is taken; grace notes are left out; a first ending gives way to the second
    one. BadTune: the text cannot be read, the metre is none of ours, or too little fits in its bars.
    """
    from music21 import abcFormat, exceptions21

    # From this version on music21 lets an accidental hold to the end of its bar, as in print.
    handler = abcFormat.ABCHandler(abcVersion=(2, 1, 0))
    try:
        handler.process(_plain(abc))
    except (exceptions21.Music21Exception, ValueError, IndexError, KeyError) as error:
        raise BadTune(f'music21 cannot read it: {" ".join(str(error).split())[:80]}') from error
    metres = {
        token.getTimeSignatureParameters()[:2]
        for token in handler.tokens
        if isinstance(token, abcFormat.ABCMetadata) and token.isMeter()
    }
    if len(metres) != 1:
        raise BadTune(f'needs one metre, has {len(metres)}')
    ((count, unit),) = metres
    if (count, unit) in ((2, 4), (4, 4), (2, 2)):
        metre, beat_quarters = (2, 4), 2 * count / unit
    elif (count, unit) in ((6, 8), (9, 8)):
        metre, beat_quarters = (count // 3, 3), 1.5
    else:
        raise BadTune(f'in {count}/{unit}')
    return _lay_out(_measures(handler.tokens, beat_quarters), metre)


def _measures(tokens: list, beat_quarters: float) -> list[list[tuple[int, float, bool]]]:
    """Returns the bars: lists of (MIDI number or -1 for a rest, beats, tied to the one before)."""
    from music21 import abcFormat

    measures, skipping = [[]], False
    for token in tokens:
        if isinstance(token, abcFormat.ABCBar):
            if measures[-1]:
                measures.append([])
            ends = ('second', 'end')
            skipping = token.repeatForm == 'first' or (skipping and token.repeatForm not in ends)
        elif isinstance(token, abcFormat.ABCNote) and not skipping:
            notes = token.subTokens if isinstance(token, abcFormat.ABCChord) else [token]
            midi = max((_midi(note.pitchName) for note in notes if note.pitchName), default=-1)
            beats = float(token.quarterLength) / beat_quarters
            if token.activeTuplet is not None:
                beats *= float(token.activeTuplet.tupletMultiplier())
            measures[-1].append((midi, beats, token.tie in ('stop', 'continue')))
    return [measure for measure in measures if measure]


@functools.cache
def _midi(name: str) -> int:
    from music21 import pitch

    return pitch.Pitch(name).midi


def _lay_out(measures: list[list[tuple[int, float, bool]]], metre: tuple[int, int]) -> Tune:
    """Puts the bars in a row; short ones are the end of a strain or the pickup to the next."""
    lengths = [sum(beats for _, beats, _ in measure) for measure in measures]
    fitting = sum(abs(length - metre[0]) < 1e-3 for length in lengths)
    if sum(lengths) < MIN_BEATS - 1e-3:
        raise BadTune(f'only {sum(lengths):.3g} beats long, at least {MIN_BEATS} are needed')
    if fitting < MIN_FITTING * len(lengths):
        raise BadTune(f'only {fitting} of {len(lengths)} bars are as long as the metre says')
    notes, clock, bar, after_short = [], 0.0, -1, True
    for measure, length in zip(measures, lengths, strict=True):
        is_short = length < metre[0] - 1e-3
        is_pickup = is_short and after_short
        after_short = is_short and not is_pickup
        bar += not is_pickup
        position = metre[0] - length if is_pickup else 0.0
        for midi, beats, tied in measure:
            if tied and notes and notes[-1][0] == midi:
                notes[-1][2] += beats
            elif midi >= 0:
                notes.append([midi, clock, beats, -1 if is_pickup else bar, position])
            clock, position = clock + beats, position + beats
    columns = [np.array(column) for column in zip(*notes, strict=True)]
    return Tune(*columns, metre=metre, length_beats=clock)
