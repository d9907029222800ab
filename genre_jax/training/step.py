"""The training state, and the step."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax

from genre_jax import sharding
from genre_jax.loading.feed import Feed
from genre_jax.training import freezing, losses, optim, step_numbers, watch
from genre_jax.training.job import Job


@flax.struct.dataclass
class TrainState:
    """Everything that training changes; a checkpoint is exactly this.

    The sums are part of it so that a run cut off between two log lines writes the same line in the end.
    """

    step: jax.Array  # steps done
    params: Any
    batch_stats: Any  # {} without batch normalisation
    opt_state: Any  # by group of parameters (freezing.py)
    sums: dict[str, jax.Array]  # loss, cross-entropy, hits and examples since the last log line
    watch: dict[str, jax.Array]  # what is remembered of the evaluations so far (watch.py)
    average: dict[str, Any]  # moving averages of `params` and `batch_stats`, {} without

    @property
    def evaluated(self) -> dict[str, Any]:
        """The model's variables that are evaluated and kept: the averages where there are any."""
        return self.average or {'params': self.params, 'batch_stats': self.batch_stats}


def init_state(job: Job) -> TrainState:
    """Initialises the training state from the seed; may be traced for its shapes."""
    variables = job.init(jax.random.key(job.config.seed))
    params, batch_stats = variables['params'], variables.get('batch_stats', {})
    optimizers = _optimizers(job)
    return TrainState(
        step=jnp.int32(0),
        params=params,
        batch_stats=batch_stats,
        opt_state={
            group: optimizers[group].init(freezing.select(params, paths))
            for group, paths in job.plan.all_groups.items()
        },
        sums=zero_sums(),
        watch=jax.tree.map(jnp.asarray, watch.initial(job.config)),
        average=_averaged(job, params, batch_stats),
    )


def _averaged(job: Job, params: Any, batch_stats: Any) -> dict[str, Any]:
    """Returns what moving averages are kept of."""
    if not optim.in_use(job.config.optim.ema_decay):
        return {}
    return {'params': params, 'batch_stats': batch_stats}


def state_shardings(job: Job) -> Any:
    """Returns how the training state lies on the mesh, a prefix of it: weights by the model's rules."""
    shapes = jax.eval_shape(lambda: init_state(job))
    return sharding.by_rules(shapes, job.model.sharding_rules, job.mesh)


def make_state(job: Job) -> TrainState:
    """Initialises the training state, from the seed or a checkpoint, on the mesh."""
    state = jax.jit(lambda: init_state(job), out_shardings=state_shardings(job))()
    if job.source is None:
        return state
    fresh = {'params': state.params, 'batch_stats': state.batch_stats}
    variables = {'batch_stats': {}} | job.initial(sharding.fetch(fresh))[0]
    placed = jax.device_put(variables, jax.tree.map(lambda x: x.sharding, fresh))
    params, batch_stats = placed['params'], placed['batch_stats']
    # The averages in memory of their own: the step gives the state's back.
    average = jax.tree.map(jnp.copy, _averaged(job, params, batch_stats))
    return state.replace(params=params, batch_stats=batch_stats, average=average)


def _optimizers(job: Job) -> dict[str, optax.GradientTransformation]:
    """Returns the optimiser of each group; that of a late group counts its own steps from zero."""
    schedule = optim.make_schedule(job.config, job.length)
    begins = {'first': 0, 'late': job.plan.unfreeze_step}
    return {
        group: optim.make_optimizer(
            job.config,
            lambda count, begin=begin: schedule(count + begin),
            {path: job.plan.factors[path] for path in job.plan.all_groups.get(group, ())},
        )
        for group, begin in begins.items()
    }


# What is kept of every step of a dispatch.
_SERIES = ('loss', 'gradient_norm')


def zero_sums() -> dict[str, jax.Array]:
    """Returns the sums behind a log line as they are before the first step."""
    return {name: jnp.float32(0) for name in ('loss', 'cross_entropy', 'hits', 'examples')}


def make_train_step(
    job: Job, groups: Mapping[str, frozenset[str]]
) -> Callable[[TrainState, dict], tuple[TrainState, dict]]:
    """Compiles one step: audio to features, augmentation, model, loss, gradient, update, metrics.

    `groups` are the parameters that train, of `freezing.Plan.groups`.
    """
    return functools.partial(train_program(job, groups), placed_numbers(job))


def train_program(job: Job, groups: Mapping[str, frozenset[str]]) -> Callable:
    """Returns the step as a program of the numbers of the config, the state and a batch."""
    whole, split, state = sharding.replicated(job.mesh), sharding.by_example(job.mesh), state_shardings(job)
    return jax.jit(
        numbered_step(job, groups),
        in_shardings=(whole, state, split),
        out_shardings=(state, whole),
        donate_argnums=1,
    )


def make_dispatch(
    job: Job, groups: Mapping[str, frozenset[str]], feed: Feed
) -> Callable[[TrainState, int, Any], tuple[TrainState, dict]]:
    """Compiles what trains on one block of a feed: a step, or several steps as one program.

    Returns what maps a state, the number of steps and the block to the new state and the outputs: 'loss',
    and 'gradient_norm', of each step where they are several, 0 behind the last; 'learning_rate' of the last.
    """
    if feed.most_steps == 1:
        step = make_train_step(job, groups)
        return lambda state, steps, batch: step(state, batch)
    whole, step = sharding.replicated(job.mesh), numbered_step(job, groups)

    def train_steps(
        numbers: dict, state: TrainState, steps: jax.Array, block: Any
    ) -> tuple[TrainState, dict]:
        def one(i: jax.Array, carry: tuple) -> tuple:
            state, outputs = carry
            # Nothing of the step is computed otherwise than in a program of its own.
            batch = jax.lax.optimization_barrier(feed.batch_of_block(block, i))
            state, new = step(numbers, state, batch)
            series = {name: outputs[name].at[i].set(new[name]) for name in _SERIES}
            return state, new | series

        outputs = {name: jnp.zeros(feed.most_steps) for name in _SERIES}
        outputs['learning_rate'] = jnp.float32(0)
        return jax.lax.fori_loop(0, steps, one, (state, outputs))

    program = jax.jit(train_steps, out_shardings=(state_shardings(job), whole), donate_argnums=1)
    numbers = placed_numbers(job)

    def dispatch(state: TrainState, steps: int, block: Any) -> tuple[TrainState, dict]:
        # The number of steps is no constant of the program.
        steps = sharding.put_replicated({'steps': np.int32(steps)}, job.mesh)['steps']
        return program(numbers, state, steps, block)

    return dispatch


def placed_numbers(job: Job) -> dict[str, jax.Array]:
    """Returns the numbers of the config that the programs of a step take first, on every device."""
    return sharding.put_replicated(step_numbers.of_config(job.config), job.mesh)


def make_examples(job: Job) -> Callable[[jax.Array, dict], dict[str, jax.Array]]:
    """Compiles the part of a step that comes before the network, for runs which have it in common.

    The result maps the steps done and a batch, not divided into parts (config.train.accumulate), to the
    batch that the step takes instead: 'pictures', 'targets' and the tonics of a model that names them, whole
    on every device.
    """
    whole, split = sharding.replicated(job.mesh), sharding.by_example(job.mesh)

    def examples(numbers: dict, step: jax.Array, batch: dict) -> dict[str, jax.Array]:
        own = step_numbers.with_numbers(job, numbers)
        augment_key, _ = jax.random.split(_step_key(own.config.seed, step))
        pictures, targets = own.training_examples(augment_key, batch)
        return {'pictures': pictures, 'targets': targets} | job.known_tonics(batch)

    program = jax.jit(examples, in_shardings=(whole, whole, split), out_shardings=whole)
    return functools.partial(program, placed_numbers(job))


def _step_key(seed: int | jax.Array, step: jax.Array) -> jax.Array:
    return jax.random.fold_in(jax.random.key(seed), step)


def numbered_step(
    job: Job, groups: Mapping[str, frozenset[str]]
) -> Callable[[dict, TrainState, dict], tuple[TrainState, dict]]:
    """Returns one step as a function of the config's numbers, too; to be traced."""
    return lambda numbers, *arguments: _step_function(step_numbers.with_numbers(job, numbers), groups)(
        *arguments
    )


def _step_function(job: Job, groups: Mapping[str, frozenset[str]]) -> Callable:
    config = job.config
    schedule = optim.make_schedule(config, job.length)
    optimizers = _optimizers(job)
    trained_paths = frozenset().union(*groups.values())
    parts = config.train.accumulate

    def objective(
        trained: dict, state: TrainState, batch_stats: Any, key: jax.Array, batch: dict
    ) -> tuple[jax.Array, tuple]:
        augment_key, dropout_key = jax.random.split(key)
        if 'pictures' in batch:  # of make_examples
            pictures, targets = batch['pictures'], batch['targets']
        else:
            # Computed as in a program of its own, which a packed sweep has for it.
            examples = job.training_examples(augment_key, batch)
            pictures, targets = jax.lax.optimization_barrier(examples)
        params = job.gathered(freezing.merge(state.params, *trained.values()))
        with freezing.frozen_statistics(trained_paths):
            (found, _), updates = job.apply(
                {'params': params, 'batch_stats': batch_stats},
                pictures,
                train=True,
                **job.known_tonics(batch),
                rngs={'dropout': dropout_key},
                mutable=['batch_stats'],
            )
        of_examples = losses.joint_cross_entropy if job.model.names_tonic else losses.cross_entropy
        entropy = of_examples(found, targets, config.train.label_smoothing, job.class_weights).mean()
        logits = found.logits if job.model.names_tonic else found
        loss = entropy
        if optim.in_use(config.optim.l1) or optim.in_use(config.optim.l2):
            loss += losses.penalty(params, config.optim.l1, config.optim.l2)
        examples = jnp.float32(len(targets))
        sums = {
            'loss': loss * examples,
            'cross_entropy': entropy * examples,
            'hits': losses.hits(logits, targets),
            'examples': examples,
        }
        weight = losses.mean_weight(targets, job.class_weights)
        return loss, (sums, updates.get('batch_stats', {}), weight)

    gradient = jax.grad(objective, has_aux=True)

    def train_step(state: TrainState, batch: dict) -> tuple[TrainState, dict]:
        key = _step_key(config.seed, state.step)
        trained = {group: freezing.select(state.params, paths) for group, paths in groups.items()}
        if parts == 1:
            gradients, (sums, batch_stats, _) = gradient(trained, state, state.batch_stats, key, batch)
        else:
            gradients, sums, batch_stats = accumulated(trained, state, key, batch)
        norm = optax.global_norm(gradients)
        gradients = optim.clipped(gradients, config.optim.clip_norm)
        opt_state, scale = dict(state.opt_state), state.watch.get('plateau_scale')
        for group in groups:
            changes, opt_state[group] = optimizers[group].update(
                gradients[group], state.opt_state[group], trained[group]
            )
            if scale is not None:
                changes = jax.tree.map(lambda change: scale * change, changes)
            trained[group] = optax.apply_updates(trained[group], changes)
        params = freezing.merge(state.params, *trained.values())
        average = state.average
        if average:
            new = _averaged(job, params, batch_stats)
            average = optim.moving_average(average, new, config.optim.ema_decay, state.step)
        learning_rate = jnp.asarray(schedule(state.step))
        outputs = {
            'loss': sums['loss'] / sums['examples'],
            'gradient_norm': norm,
            'learning_rate': learning_rate if scale is None else scale * learning_rate,
        }
        state = state.replace(
            step=state.step + 1,
            params=params,
            batch_stats=batch_stats,
            opt_state=opt_state,
            sums=jax.tree.map(jnp.add, state.sums, sums),
            average=average,
        )
        return state, outputs

    def accumulated(trained: dict, state: TrainState, key: jax.Array, batch: dict) -> tuple:
        """Goes through the parts of the batch; every device has its share of each.

        A part counts by the mean weight of its targets, so that all together have the loss of the whole.
        """
        in_parts = jax.tree.map(
            lambda x: jnp.swapaxes(x.reshape(len(x) // parts, parts, *x.shape[1:]), 0, 1), batch
        )

        def one(carry: tuple, numbered: tuple) -> tuple:
            gradients, sums, batch_stats, weights = carry
            i, part = numbered
            new, (more, batch_stats, weight) = gradient(
                trained, state, batch_stats, jax.random.fold_in(key, i), part
            )
            gradients = jax.tree.map(lambda a, b: a + weight * b / parts, gradients, new)
            more |= {name: weight * more[name] for name in ('loss', 'cross_entropy')}
            sums = jax.tree.map(jnp.add, sums, more)
            return (gradients, sums, batch_stats, weights + weight / parts), None

        zeros = jax.tree.map(jnp.zeros_like, trained)
        carry = (zeros, zero_sums(), state.batch_stats, jnp.float32(0))
        gradients, sums, batch_stats, weight = jax.lax.scan(one, carry, (jnp.arange(parts), in_parts))[0]
        weight = jnp.where(weight > 0, weight, 1)
        sums |= {name: sums[name] / weight for name in ('loss', 'cross_entropy')}
        return jax.tree.map(lambda a: a / weight, gradients), sums, batch_stats

    return train_step
