"""Pools the windows of a song by attention: a bag of frozen embeddings -> one class.

Gated attention of Ilse, Tomczak and Welling, Attention-based deep multiple instance learning (2018): the bag
is the weighted mean of its windows, and a linear layer classifies it. The order of the windows does not
matter, and bags may differ in size. In the publication a network makes the h_k and trains as well; here they
are embeddings of one that stays as it is, standardised by those of the training part.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from genre_jax.errors import UserError
from genre_jax.logbook import progress_bar
from genre_jax.models.kernels.gated_attention import gated_attention
from genre_jax.models.layers import WEIGHTS, shares


class AttentionPool(nn.Module):
    """Gated attention over instances, and a linear layer."""

    num_classes: int  # size of the output
    hidden_units: int = (
        128  # width of the two layers behind the weights; 128 in the publication; 0: no attention
    )

    @nn.compact
    def __call__(self, instances: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Classifies bags of instances, float32 (bags, instances, units) or (bags, instances, layers, units).

        Layers are summed with weights that are learnt, as in models/layers.py.
        `mask`, bool (bags, instances), is false where a bag has no more instances; one is true at least.
        Returns logits (bags, num_classes), and the weights (bags, instances), which sum to 1 in each bag.
        """
        if instances.ndim == 4:
            zeros = nn.initializers.zeros
            of_layers = shares({WEIGHTS: self.param(WEIGHTS, zeros, (instances.shape[2],))})
            instances = jnp.einsum('bilu,l->biu', instances, of_layers)
        if not self.hidden_units:
            weights = mask / mask.sum(1, keepdims=True)
            pooled = jnp.einsum('bi,biu->bu', weights, instances)
            return nn.Dense(self.num_classes, name='output')(pooled), weights
        pooled, weights = gated_attention(instances, mask, self.hidden_units)
        return nn.Dense(self.num_classes, name='output')(pooled), weights


@dataclasses.dataclass(frozen=True)
class Bags:
    """Bags laid side by side, filled up with zeros."""

    instances: np.ndarray  # float32 [B, most instances of a bag, units], or [.., layers, units]
    mask: np.ndarray  # whether there is an instance, bool [B, most instances]
    label: np.ndarray  # class ids, int32 [B]
    bag: np.ndarray  # number of the bag of each instance, in the order they came in, int64 [n]
    place: np.ndarray  # its place there, int64 [n]


def make_bags(embedding: np.ndarray, label: np.ndarray, bag: np.ndarray) -> Bags:
    """Sorts instances into bags by number, from 0, none left out, each of one label.

    They are float32 [n, units] or [n, layers, units].
    """
    sizes = np.bincount(bag)
    order = np.argsort(bag, kind='stable')
    place = np.empty(len(bag), np.int64)
    place[order] = np.arange(len(bag)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    shape = (len(sizes), sizes.max())
    instances = np.zeros((*shape, *embedding.shape[1:]), np.float32)
    mask, labels = np.zeros(shape, bool), np.zeros(len(sizes), np.int32)
    instances[bag, place], mask[bag, place], labels[bag] = embedding, True, label
    return Bags(instances, mask, labels, np.asarray(bag, np.int64), place)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How the pooling is trained: AdamW, the epoch of the lowest validation loss is kept."""

    hidden_units: int = 128  # of AttentionPool
    learning_rate: float = 1e-3  # of AdamW, where no rates are tried
    batch_size: int = 16  # bags in a step
    epochs: int = 200  # at most
    patience: int = 20  # epochs without a lower validation loss, after which it stops


@dataclasses.dataclass(frozen=True)
class Fitted:
    """Trained poolings, one for each decay and seed."""

    model: AttentionPool  # the module
    params: Mapping  # its parameters, each with two leading axes, decay and seed
    mean: np.ndarray  # of the training instances, float32 [units]
    deviation: np.ndarray  # the same; 1 where they are all alike
    best_epoch: np.ndarray  # that was kept, counted from 1, int [decays, seeds]

    def apply(self, bags: Bags) -> tuple[np.ndarray, np.ndarray]:
        """Classifies bags of the same network's embeddings.

        Returns probabilities, float32 [decays, seeds, B, C], and for every instance, in the order they came
        in, its weight in its bag, float32 [decays, seeds, n].
        """

        def forward(params: Mapping, instances: jax.Array, mask: jax.Array) -> tuple:
            logits, weights = self.model.apply({'params': params}, instances, mask)
            return nn.softmax(logits), weights

        members = jax.vmap(jax.vmap(forward, (0, None, None)), (0, None, None))
        instances = _standardised(bags, self.mean, self.deviation)
        probabilities, weights = jax.device_get(jax.jit(members)(self.params, instances, bags.mask))
        return probabilities, weights[..., bags.bag, bags.place]


def _standardised(bags: Bags, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    there = bags.mask.reshape(*bags.mask.shape, *[1] * mean.ndim)
    return np.where(there, (bags.instances - mean) / deviation, 0).astype(np.float32)


def fit(
    train: Bags,
    val: Bags,
    n_classes: int,
    decays: Sequence,
    seeds: Sequence,
    recipe: Recipe,
    rates: Sequence[float] = (),
) -> Fitted:
    """Trains a pooling for each weight decay of AdamW and each seed, all of them as one program.

    `rates` are the learning rates that belong to the decays, by default the recipe's.
    A seed is that of the first weights and of the order of the bags; the validation bags tell when to stop. A
    UserError where a loss is not finite.
    """
    known = train.instances[train.mask].astype(np.float64)
    deviation = known.std(0)
    mean, deviation = known.mean(0), np.where(deviation > 0, deviation, 1.0)
    model = AttentionPool(n_classes, recipe.hidden_units)
    parts = [jax.device_put((_standardised(b, mean, deviation), b.mask, b.label)) for b in (train, val)]
    decay, seed = (array.ravel() for array in np.meshgrid(decays, seeds, indexing='ij'))
    decay = jnp.asarray(decay, jnp.float32)
    rate = np.repeat(np.float32(rates or [recipe.learning_rate] * len(decays)), len(seeds))

    @jax.jit
    @jax.vmap
    def begin(decay: jax.Array, seed: jax.Array) -> dict:
        instances, mask, _ = parts[0]
        params = model.init(jax.random.key(seed), instances[:1], mask[:1])['params']
        return {
            'params': params,
            'optimiser': optax.adamw(0.0, weight_decay=decay).init(params),
            'best': params,
            'best_loss': jnp.float32(jnp.inf),
            'best_epoch': jnp.int32(0),
        }

    state = begin(decay, jnp.asarray(seed, jnp.uint32))
    with progress_bar(recipe.epochs, 'epochs', 'attention', leave=False) as bar:
        for number in range(1, recipe.epochs + 1):
            drawn = [_batches(len(train.label), recipe, each, number) for each in seed]
            numbers = (number, recipe.patience)
            state, losses = _epoch(model, *parts, numbers, decay, rate, np.stack(drawn), state)
            bar.update()
            if not np.isfinite(jax.device_get(losses)).all():
                raise UserError(
                    f'attention pooling: the loss is not finite in epoch {number}, with learning rate '
                    f'{rate.max():g}: the embeddings are no numbers to learn from, leave out the head'
                )
            if number - int(state['best_epoch'].max()) > recipe.patience:
                break
    shape = (len(decays), len(seeds))
    params = jax.tree.map(lambda leaf: leaf.reshape(*shape, *leaf.shape[1:]), state['best'])
    best_epoch = np.asarray(state['best_epoch']).reshape(shape)
    return Fitted(model, params, mean.astype(np.float32), deviation.astype(np.float32), best_epoch)


def _batches(n_bags: int, recipe: Recipe, seed: int, epoch: int) -> np.ndarray:
    """Returns the numbers of the bags in each step of an epoch; n_bags fills up the last step."""
    size = min(recipe.batch_size, n_bags)
    order = np.random.default_rng([int(seed), epoch]).permutation(n_bags)
    return np.pad(order, (0, -n_bags % size), constant_values=n_bags).reshape(-1, size)


@functools.partial(jax.jit, static_argnums=0)
@functools.partial(jax.vmap, in_axes=(None, None, None, None, 0, 0, 0, 0))
def _epoch(model, train, val, numbers, decay, learning_rate, batches, state) -> tuple[dict, jax.Array]:
    """Trains each member on every bag once; returns their states, and losses in training and validation."""
    epoch, patience = numbers
    optimiser = optax.adamw(learning_rate, weight_decay=decay)
    instances, mask, label = train
    n_bags = len(label)

    def losses(params, instances, mask, label):
        logits, _ = model.apply({'params': params}, instances, mask)
        return optax.softmax_cross_entropy_with_integer_labels(logits, label)

    def step(carry: tuple, rows: jax.Array) -> tuple[tuple, jax.Array]:
        params, optimiser_state = carry
        counts = rows < n_bags  # the last batch is filled up

        def loss(params: Mapping) -> jax.Array:
            taken = jnp.minimum(rows, n_bags - 1)
            each = losses(params, instances[taken], mask[taken], label[taken])
            return jnp.where(counts, each, 0).sum() / counts.sum()

        value, gradient = jax.value_and_grad(loss)(params)
        updates, optimiser_state = optimiser.update(gradient, optimiser_state, params)
        return (optax.apply_updates(params, updates), optimiser_state), value

    (params, optimiser_state), values = jax.lax.scan(step, (state['params'], state['optimiser']), batches)
    val_loss = losses(params, *val).mean()
    # What has stopped stays as it is, until the last member stops.
    stopped = epoch - state['best_epoch'] > patience
    better = (val_loss < state['best_loss']) & ~stopped
    return {
        'params': params,
        'optimiser': optimiser_state,
        'best': jax.tree.map(lambda new, old: jnp.where(better, new, old), params, state['best']),
        'best_loss': jnp.where(better, val_loss, state['best_loss']),
        'best_epoch': jnp.where(better, epoch, state['best_epoch']),
    }, jnp.stack([values.mean(), val_loss])
