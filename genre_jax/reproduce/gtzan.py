"""GTZAN's data and figures, as three of the papers share them."""

from genre_jax.reproduce.paper import Need

_KAGGLE = (
    'kaggle datasets download andradaolteanu/gtzan-dataset-music-genre-classification (an account is '
    'needed, 1.2 GB)'
)

FEATURES = Need(
    'features',
    "GTZAN's table of features, a row for every 3 s",
    f'features_3_sec.csv of {_KAGGLE}; tables of rows of 10 s or 30 s do as well; or make one of the audio: '
    'python -m genre_jax.feature_table',
    'feature_table',
)
AUDIO = Need(
    'audio',
    'the 1000 recordings of GTZAN',
    f'genres_original of {_KAGGLE}, or genres.tar.gz: curl -LO '
    'https://huggingface.co/datasets/marsyas/gtzan/resolve/main/data/genres.tar.gz',
    'gtzan',
)
IMAGES = Need('images', "GTZAN's 999 pictures of mel spectrograms", f'images_original of {_KAGGLE}', 'images')
INDEX = Need(
    'index',
    "Sturm's index of GTZAN's artists; without it songs are kept together, not artists",
    'curl -LO https://raw.githubusercontent.com/seungheondoh/gtzan-bind/main/dataset/rhythm/'
    'marchand2015swing/GTZANindex.txt',
    config_key='data.index',
    optional=True,
)
ARTISTS = (
    'What belongs together. The paper does not ask who plays. GTZAN holds several tracks of many artists, '
    'and some recordings twice; with --data=index=FILE our second protocol keeps an artist in one part.'
)
# Heading and path of columns: rows, pieces or pictures as the papers count them, and what none prints.
BY_ROW = ('accuracy of rows', 'test/segment/accuracy')
BY_SONG = ('accuracy of songs', 'test/song_max_probability/accuracy')
