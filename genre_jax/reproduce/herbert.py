"""Herbert: the shallow network of Schindler et al. on GTZAN."""

from genre_jax.reproduce import gtzan
from genre_jax.reproduce.paper import Network, Paper, Table


def _cnn(batch_norm: bool, epochs: int) -> Network:
    arguments, cost = f'batch_norm={batch_norm},epochs={epochs}', 'wants a GPU: 140 steps an epoch'
    return Network('shallow_cnn_gtzan', arguments, runs=5, needs=('audio', 'index'), cost=cost)


PAPER = Paper(
    name='herbert',
    title='Shallow Convolutional Neural Network Architectures for Music Genre Classification',
    citation='G. Herbert: Shallow Convolutional Neural Network Architectures for Music Genre Classification. '
    'University of Bristol; after A. Schindler, T. Lidy, A. Rauber: Comparing Shallow versus Deep Neural '
    'Network Architectures for Automatic Music Genre Classification, 2016.',
    protocols={
        'paper': ('paper', '75 and 25 tracks of each genre at random, whoever plays'),
        'grouped': ('grouped', 'by artist where the index is given, else by song, 60/15/25 %'),
    },
    needs=(gtzan.AUDIO, gtzan.INDEX),
    tables=(
        Table(
            'Tables I and II: accuracy on the test part',
            (
                ('raw', 'test/segment/accuracy'),
                ('max', 'test/song_max_probability/accuracy'),
                ('maj', 'test/song_majority/accuracy'),
            ),
            ('My CNN, 100 epochs', _cnn(False, 100), '62.96', '75.80', '73.53'),
            ('My CNN, 200 epochs', _cnn(False, 200), '64.01', '77.60', '76.60'),
            ('My CNN + Batch Norm, 100 epochs', _cnn(True, 100), '66.30', '77.30', '77.56'),
            ('My CNN + Batch Norm, 200 epochs', _cnn(True, 200), '66.55', '78.68', '77.64'),
            note='raw: by picture of 0.93 s; max: by song, summed probabilities; maj: by song, votes. Table '
            'I has the raw figures of the plain network. Schindler et al. as quoted there: raw 66.56 after '
            '100 epochs, 67.49 after 200. Means of five runs.',
        ),
    ),
    differences=(
        'Songs stay whole in both protocols: the paper takes care of that. What crosses in its split are '
        'artists and the copies that GTZAN holds.',
        gtzan.ARTISTS,
        'Validation. The paper watches its 250 tracks during the training and prints the figures of the '
        'last epoch. Here 15 of the 75 % are set aside for choosing the checkpoint: the network learns from '
        '60 %, and the test part is opened once.',
        'The front end is unresolved. Windows of 1024 samples with a step of half give 40 frames in 0.93 s, '
        'and the network takes 80. Neither the text nor the notebook of the author reproduces the arrays '
        'that he was given; windows of 512 with a step of 256 give 80 frames, and are the best match known.',
        'Maximum probability. The text sums probabilities, and so do we; the author’s code sums their '
        'logarithms, where one segment that all but excludes a genre rules it out for the song.',
        'Chunks. 63 half-overlapping chunks a track, of which 15 are drawn at random once; the draw is not '
        'published, ours is another.',
        'L1. The penalty is taken over every parameter called weight, the scales of batch normalisation '
        'among them; so it is here. In the author’s figures it is in the validation loss as well.',
        'Other figures. The author’s repository prints slightly other ones than his paper (raw 64.22 and '
        '66.78 after 200 epochs, 77.20 and 79.60 by maximum probability); those of the paper stand here.',
    ),
)
