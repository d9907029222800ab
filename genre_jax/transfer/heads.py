"""Simple classifiers on frozen embeddings: fitted to train, their strength chosen on val, tested once.

- `logistic`: logistic regression on windows; a song is the sum of their probabilities.
- `mean_logistic`: logistic regression on the mean embedding of a bag.
- `knn`: the nearest of the training bags, by their mean embeddings.
- `linear`: a linear layer on the mean embedding of a bag, trained by AdamW, the mean of several seeds.
- `attention`: attention over the windows of a bag (attention_pool.py), the mean of several seeds.

The last two learn the weights of layers, too, where the embeddings are of several (`--layers=weighted`).

A bag is a song, or all songs of a group (an artist, an album) in one part of the split, which then get the
same answer: that takes for granted that songs of one group are known to belong together, and to one class.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import jax
import numpy as np

from genre_jax.classical import estimators
from genre_jax.errors import UserError
from genre_jax.evaluation import evaluate
from genre_jax.models.layers import WEIGHTS, shares
from genre_jax.transfer import attention_pool

# What is tried for each head, from strong to weak regularisation.
SETTINGS = {
    'logistic': {'C': (0.001, 0.01, 0.1, 1.0, 10.0)},
    'mean_logistic': {'C': (0.001, 0.01, 0.1, 1.0, 10.0)},
    'knn': {'n_neighbors': (15, 9, 5, 3, 1)},
    'linear': {'learning_rate': (1e-4, 1e-3, 1e-2, 1e-1)},
    'attention': {'weight_decay': (10.0, 1.0, 0.1)},
}
TRAINED = ('linear', 'attention')  # with several seeds
TITLES = {
    'logistic': 'logistic regression on windows',
    'mean_logistic': 'logistic regression on the mean',
    'knn': 'nearest neighbours of the mean',
    'linear': 'linear layer on the mean',
    'attention': 'attention over windows',
}


@dataclasses.dataclass(frozen=True)
class Windows:
    """The windows of one part of a split."""

    embedding: np.ndarray  # float32 [n, units], or [n, layers, units]
    label: np.ndarray  # class id, int32 [n]
    song: np.ndarray  # name, str [n]
    bag: np.ndarray  # name of what is pooled, str [n]: the song's, or that of its group

    def songs(self) -> np.ndarray:
        """Returns the first window of each song, ascending, int [songs]."""
        return np.sort(np.unique(self.song, return_index=True)[1])

    def bags(self) -> attention_pool.Bags:
        """Returns the windows by bag, in the order of the bags' names."""
        _, bag = np.unique(self.bag, return_inverse=True)
        return attention_pool.make_bags(self.embedding, self.label, bag)


@dataclasses.dataclass(frozen=True)
class Head:
    """A fitted head's answers."""

    # of the windows in each part that the answers stand for: all, or the first of each song
    rows: Mapping[str, np.ndarray]
    probabilities: Mapping[str, np.ndarray]  # by part, float32 [rows, C]
    chosen: Mapping[str, object]  # the setting that was best on val, and what was tried
    notes: Sequence[str] = ()  # warnings of a library
    # of the test part's windows in their bags, float32 [n, seeds]; None without attention
    weights: np.ndarray | None = None
    # probabilities of each seed by part, float32 [seeds, rows, C]; None without seeds
    seeds: Mapping[str, np.ndarray] | None = None


def check_bags(bag_of_song: Mapping[str, str], label_of_song: Mapping[str, str]) -> None:
    """Refuses bags whose songs, by their names, are of several classes."""
    first: dict[str, str] = {}
    for song, bag in bag_of_song.items():
        other = first.setdefault(bag, song)
        if label_of_song[song] != label_of_song[other]:
            raise UserError(
                f'--bag=group: the group {bag!r} has songs of several classes, such as {other} of '
                f'{label_of_song[other]!r} and {song} of {label_of_song[song]!r}: one answer cannot be right '
                'for both; use --bag=song'
            )


def fit(name: str, parts: Mapping[str, Windows], classes: Sequence[str], seeds: Sequence[int]) -> Head:
    """Fits a head, a key of SETTINGS, with every setting, and keeps the one that val likes best.

    The first seed is that of the heads but for TRAINED ones, which have a network for each. A UserError
    where a part is empty, a class is missing in the training part, or an embedding or a loss is not finite.
    """
    for part, windows in parts.items():
        if not len(windows.label):
            raise UserError(f'the {part} part has no windows: a head cannot be fitted and tested')
    if name in TRAINED:
        return _trained(name, parts, classes, seeds)
    return _classical(name, parts, classes, seeds[0])


def _choose(
    setting: str, values: Sequence, answers: Sequence[np.ndarray], val: Windows, rows: np.ndarray
) -> tuple[int, dict[str, object]]:
    """Finds the value of the highest accuracy by song on val, then lowest log loss: its place, and facts."""
    tried, start_s = [], np.zeros(len(rows))
    for value, answer in zip(values, answers, strict=True):
        classes = np.arange(answer.shape[1])
        songs = evaluate.pool_songs(
            evaluate.Predictions(val.song[rows], start_s, val.label[rows], answer, classes)
        )
        right = songs.max_probability() == songs.label
        losses = evaluate.log_losses(songs.label, songs.probability)
        facts = {'accuracy': float(right.mean()), 'log_loss': float(losses.mean())}
        tried.append({setting: value} | facts)
    best = min(range(len(tried)), key=lambda i: (-tried[i]['accuracy'], tried[i]['log_loss']))
    return best, {setting: values[best], 'tried_on_val': tried}


def _classical(name: str, parts: Mapping[str, Windows], classes: Sequence[str], seed: int) -> Head:
    """Fits scikit-learn's logistic regression or nearest neighbours, scaled by the training part."""
    rows, songs = {part: w.songs() for part, w in parts.items()}, np.unique(parts['train'].bag)
    if name == 'logistic':  # every window is a bag of its own
        rows, songs = {p: np.arange(len(w.label)) for p, w in parts.items()}, parts['train'].song
        parts = {part: dataclasses.replace(w, bag=rows[part]) for part, w in parts.items()}
    bags = {part: windows.bags() for part, windows in parts.items()}
    train = bags['train']
    examples = estimators.Examples(_means(train), train.label, songs, classes)
    ((setting, values),) = SETTINGS[name].items()
    model_name, others = ('knn', {}) if name == 'knn' else ('logistic', {'max_iter': 2000})
    if name == 'knn':
        values = [value for value in values if value <= len(examples.rows)]
    fitted = [estimators.fit(model_name, {setting: value, **others}, examples, seed) for value in values]

    def answer(part: str, model: object) -> np.ndarray:
        found = estimators.probabilities(model, _means(bags[part]))
        return found[bags[part].bag[rows[part]]]

    answers = [answer('val', model) for model, _ in fitted]
    best, chosen = _choose(setting, values, answers, parts['val'], rows['val'])
    model, notes = fitted[best]
    return Head(rows, {'val': answers[best], 'test': answer('test', model)}, chosen, notes)


def _trained(name: str, parts: Mapping[str, Windows], classes: Sequence[str], seeds: Sequence[int]) -> Head:
    """Trains attention, or a linear layer, with every setting and seed; answers are means over the seeds."""
    bags = {part: windows.bags() for part, windows in parts.items()}
    for missing in np.flatnonzero(np.bincount(bags['train'].label, minlength=len(classes)) == 0):
        raise UserError(f'class {classes[missing]!r} has no song in the training part')
    ((setting, values),) = SETTINGS[name].items()
    recipe, decays, rates = attention_pool.Recipe(), values, ()
    if name == 'linear':
        recipe, decays, rates = dataclasses.replace(recipe, hidden_units=0), [0.0] * len(values), values
    fitted = attention_pool.fit(bags['train'], bags['val'], len(classes), decays, seeds, recipe, rates)
    rows = {part: windows.songs() for part, windows in parts.items()}
    (val, _), (test, weights) = (fitted.apply(bags[part]) for part in ('val', 'test'))
    # [settings, seeds, songs, C]
    of_songs = {part: each[:, :, bags[part].bag[rows[part]]] for part, each in (('val', val), ('test', test))}
    answers = [of_seeds.mean(0) for of_seeds in of_songs['val']]
    best, chosen = _choose(setting, values, answers, parts['val'], rows['val'])
    chosen |= {'seeds': list(seeds), 'best_epochs': fitted.best_epoch[best].tolist()}
    if WEIGHTS in fitted.params:
        chosen[WEIGHTS] = jax.device_get(shares(fitted.params))[best].tolist()  # of each seed
    of_seeds = {part: each[best] for part, each in of_songs.items()}
    means = {part: each.mean(0) for part, each in of_seeds.items()}
    looks = weights[best].T if name == 'attention' else None
    return Head(rows, means, chosen, weights=looks, seeds=of_seeds)


def _means(bags: attention_pool.Bags) -> np.ndarray:
    """Returns the mean embedding of each bag, float32 [B, units]."""
    return (bags.instances.sum(1) / bags.mask.sum(1, keepdims=True)).astype(np.float32)
