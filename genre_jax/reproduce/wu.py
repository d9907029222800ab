"""Wu: five networks on GTZAN."""

from genre_jax.reproduce import gtzan
from genre_jax.reproduce.paper import Network, Paper, Table, weights


def _row(name: str, page: str, top: str, printed: str, needs: str, cost: str) -> tuple:
    return name, Network(page, top, needs=(*needs.split(), 'index'), cost=cost), printed


_YAMNET = weights(
    'yamnet',
    "YAMNet's published weights",
    15,
    'yamnet.h5 from https://storage.googleapis.com/audioset/yamnet.h5, or the LiteRT file yamnet.tflite',
)
_VGG16 = weights(
    'vgg16',
    "Keras' weights of VGG16's convolutions",
    59,
    'vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5 from '
    'https://storage.googleapis.com/tensorflow/keras-applications/vgg16/',
)
_HOUR, _TWO_HOURS = 'an hour on 2 CPU cores', 'an hour or two on 2 CPU cores'

PAPER = Paper(
    name='wu',
    title='Deep Learning Methods Explored for Music Genres Classification',
    citation='H. Wu: Deep Learning Methods Explored for Music Genres Classification. Report, University '
    'College Dublin.',
    protocols={
        'paper': ('paper', 'rows, pieces or pictures at random, 64/16/20 %'),
        'grouped': ('grouped', 'by artist where the index is given, else by song, 64/16/20 %'),
    },
    needs=(gtzan.FEATURES, gtzan.AUDIO, gtzan.IMAGES, gtzan.INDEX, _YAMNET, _VGG16),
    tables=(
        Table(
            'Section 4: five networks with the settings that were found best',
            (gtzan.BY_ROW, gtzan.BY_SONG),
            _row('MLP', 'wu_mlp', '', '88.9', 'features', 'a minute on 2 CPU cores for 3,000 rows'),
            _row('VGG16', 'wu_vgg16', '', '65.5', 'images vgg16', 'wants a GPU with 8 GB'),
            _row('YAMNet', 'wu_yamnet', 'top=dense', '84.9', 'audio yamnet', _HOUR),
            _row('LSTM', 'wu_lstm', '', '77.3', 'audio', 'wants a GPU'),
            _row('YAMNet & LSTM', 'wu_yamnet', 'top=lstm', '84.2', 'audio yamnet', _TWO_HOURS),
            note='A “row” is a row of the table for the MLP, a picture for VGG16, and a piece of 3 s for the '
            'others. The introduction gives the LSTM 60 %, its section 77.3 %.',
        ),
    ),
    differences=(
        'Rows of one song. Pieces and rows are drawn at random; those of one song train and test. Of '
        'VGG16’s pictures there is one a song: there only copies and artists cross, and the two columns of '
        'ours should lie closer to one another. That networks on pieces are 20 points above the one on '
        'pictures may in part be this.',
        gtzan.ARTISTS,
        'Features. The paper speaks of MFCCs for the MLP; the published table that it used has 57 features '
        '(60 columns with filename, length and label), all of which are read. Columns are scaled by the '
        'training part alone.',
        'Search. Settings were searched with KerasTuner, on a validation part; the ranges are shown in part '
        'only. The rows here are the settings found best; `python -m genre_jax.sweep` with each page '
        'searches again.',
        'Checkpoint. The one that is best on the validation part is tested here; the paper fixed the number '
        'of epochs in the search and trained once more.',
        'YAMNet. The 62 frames of the text are as many as 30 s have; a piece of 3 s has five. What '
        '`dropout: True` means is not said: configs/wu_yamnet.py tells what is taken.',
        'LSTM. How many coefficients are used is not said; 13 here.',
        'Pictures. jazz.00054 has none. An early try of the author with cropped pictures is not repeated.',
    ),
)
