"""Karakurt, Senturk and Serra: makams and tonics of 1000 recordings, and what others found on their data."""

from genre_jax.reproduce.paper import Mean, Need, Network, NotRun, Paper, Table

_MAKAM = Need(
    'makam',
    'the OTMM makam recognition dataset: annotations, and pitch tracks of 1000 recordings',
    'from https://zenodo.org/records/58413; metadata of MTG/otmm_tonic_dataset beside them name compositions '
    'and artists (docs/datasets/makam.md)',
    'makam',
)
_ORBIT = Network('makam_orbit', needs=('makam',), folded=True, cost='half an hour on 2 CPU cores')
_SEQUENCE = Network(
    'makam_orbit', 'network=sequence', needs=('makam',), folded=True, cost='an hour and more on 2 CPU cores'
)
_BOTH = Mean((_ORBIT, _SEQUENCE), needs=('makam',), cost='seconds, once its members are there')
_WAYS = (('orbit network', _ORBIT), ('sequence network', _SEQUENCE), ('both, their mean', _BOTH))


def _columns(part: str) -> tuple[tuple[str, str], ...]:
    return (
        ('makam, tonic known', f'tonic/{part}/class_tonic_known/accuracy'),
        ('makam, tonic unknown', f'tonic/{part}/class_tonic_unknown/accuracy'),
        ('tonic within 25 cents', f'tonic/{part}/tonic/accuracy'),
        ('makam and tonic', f'tonic/{part}/tonic_and_class/accuracy'),
    )


PAPER = Paper(
    name='makam',
    title='MORTY: A Toolbox for Mode Recognition and Tonic Identification',
    citation='A. Karakurt, S. Şentürk, X. Serra: MORTY: A Toolbox for Mode Recognition and Tonic '
    'Identification. Digital Libraries for Musicology, 2016.',
    protocols={
        'paper': ('paper', 'ten folds of recordings, stratified by makam'),
        'grouped': ('grouped', 'ten folds, compositions kept together where metadata name them'),
    },
    needs=(_MAKAM,),
    tables=(
        Table(
            'Whole recordings',
            _columns('test'),
            ('orbit network, beside the best settings of 2016', _ORBIT, '0.714', '', '0.949', '0.632'),
            *_WAYS[1:],
            (
                'extended distributions and a perceptron (Yesiler, Bozkurt and Serra 2018)',
                NotRun('a hold-out of 100 recordings, whose list is not published'),
                '0.790',
            ),
            note='The tonic of 2016, 94.9 %, is found with the makam given, ours without. The figures of '
            '2016 are those of the best of the settings that were tried.',
        ),
        *(
            Table(
                f'Excerpts of {length_s} s, one of each recording, at random',
                _columns(f'test_{length_s}s'),
                *_WAYS,
                note='The networks of the first table. No figures of others are known.',
            )
            for length_s in (120, 60, 30)
        ),
    ),
    differences=(
        'The classifier. The paper compares a pitch distribution with those of the training recordings '
        '(nearest neighbours); the networks learn what tells makams apart (docs/modal.md).',
        'The folds. Ten, by recording and stratified by makam, as in the paper, but not the very same ones.',
        'Validation. Two recordings in a hundred are set aside for it and choose nothing: the last step is '
        'taken.',
        'Compositions. 267 of the 1000 recordings share their composition with another; the archive itself '
        'does not say which. Without metadata beside the pitch tracks the two protocols differ in the draw '
        'alone. `--set=data.group=artist` keeps artists together instead.',
    ),
)
