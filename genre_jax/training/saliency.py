"""What a network looks at: how much each place of a picture speaks for a class.

By what the network is made of: Grad-CAM (Selvaraju et al. 2017) of the last convolutions, attention rollout
(Abnar and Zuidema 2020), and for everything else occlusion (Zeiler and Fergus 2014). Networks know nothing of
it but `Network.over_picture`: what their modules return is read, and shifted, while they are called.
"""

import contextlib
import dataclasses
import types
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.extend.core import Jaxpr, Var

from genre_jax import sharding
from genre_jax.models import ast, layers
from genre_jax.training.job import Job

# Boxes that are occluded one after another, along frames and along bins.
_BOXES = (16, 4)


def program(job: Job) -> tuple[str, Callable]:
    """Returns which of the ways it is, and a program: variables, a batch as for `Job.featurize`, its classes.

    It gives the pictures that the network gets and how much their places speak for the class of each, both
    uint8 (batch, frames, bins): from the least to the greatest value of a picture, and from nothing to the
    most. Of images rows run along bins, the lowest at the bottom, and colours become grey.
    """
    pictures = jax.ShapeDtypeStruct((sharding.batch_parts(job.mesh), *job.picture), jnp.float32)
    variables = jax.eval_shape(job.init, jax.random.key(0))
    # What lies behind another layer than the last says nothing: occlusion needs to know of none.
    if getattr(job.model, 'layers', layers.LAST) != layers.LAST:
        kind, of_pictures = 'occlusion', occlusion
    elif isinstance(job.model, ast.Model):
        # What is read inside of `nn.remat` does not get out; nothing is differentiated here.
        job = dataclasses.replace(job, model=job.model.clone(remat=False))
        kind, of_pictures = 'attention_rollout', rollout
    elif names := last_maps(job, variables, pictures):
        kind, of_pictures = 'grad_cam', lambda *arguments: grad_cam(*arguments, names)
    else:
        kind, of_pictures = 'occlusion', occlusion

    def look(variables: Mapping, batch: Mapping, classes: jax.Array) -> tuple[jax.Array, jax.Array]:
        variables = {**variables, 'params': job.gathered(variables['params'])}
        pictures = job.featurize(batch)
        heat = of_pictures(job, variables, pictures, classes)
        if pictures.ndim == 4:
            pictures, heat = (x.swapaxes(1, 2)[:, :, ::-1] for x in (pictures.mean(-1), heat))
        least = pictures.min((1, 2), keepdims=True)
        return _as_bytes(pictures - least), _as_bytes(heat)

    whole, split = sharding.replicated(job.mesh), sharding.by_example(job.mesh)
    return kind, jax.jit(look, in_shardings=(None, split, split), out_shardings=whole)


def _as_bytes(pictures: jax.Array) -> jax.Array:
    """Scales each by its greatest value."""
    most = pictures.max((1, 2), keepdims=True)
    return jnp.rint(255 * pictures / jnp.where(most > 0, most, 1)).astype(jnp.uint8)


def grad_cam(
    job: Job, variables: Mapping, pictures: jax.Array, classes: jax.Array, names: tuple[str, ...]
) -> jax.Array:
    """Computes Grad-CAM of the logits of classes (batch,), float32 (batch, frames, bins), of maps by name.

    A channel's weight is the sum of its gradients, where the authors take the mean: of one layer the same but
    for a factor, and those of several add up to what they contribute.
    """
    shapes = jax.eval_shape(lambda: _maps(job, variables, pictures))

    def chosen(shifts: Mapping) -> tuple[jax.Array, Any]:
        maps, logits = {}, None
        with _reading(_is_maps, maps, shifts):
            logits, _ = job.apply(variables, pictures, train=False)
        return jnp.take_along_axis(logits, classes[:, None], axis=1).sum(), maps

    zeros = {name: jnp.zeros(shapes[name].shape, shapes[name].dtype) for name in names}
    gradients, maps = jax.grad(chosen, has_aux=True)(zeros)
    total = jnp.zeros(())
    for name in names:
        weight = gradients[name].astype(jnp.float32).sum((1, 2), keepdims=True)
        heat = (weight * maps[name].astype(jnp.float32)).sum(-1)
        # Of a layer with many places each says less.
        total += job.model.over_picture(heat, pictures.shape[1:])
    return jax.nn.relu(total)


def rollout(job: Job, variables: Mapping, pictures: jax.Array, classes: jax.Array) -> jax.Array:
    """Computes how much of each patch reaches the tokens that are classified, float32 (batch, frames, bins).

    A block hands on half of what a token is and half of what it attends to, the mean of all heads. It is the
    same for every class.
    """
    del classes
    heads = {}
    with _reading(lambda module, _: isinstance(module, ast.Heads), heads):
        job.apply(variables, pictures, train=False)
    share = jnp.zeros((len(pictures), next(iter(heads.values())).shape[1]))
    share = share.at[:, : ast.TOKENS].set(1 / ast.TOKENS)
    # From the last block to the first: a product with a row, not one of matrices.
    for qkv in reversed(heads.values()):
        queries, keys, _ = qkv.astype(jnp.float32).transpose(2, 3, 0, 1, 4)

        def attended(head: tuple, share: jax.Array = share) -> jax.Array:
            queries, keys = head
            scores = jnp.einsum('bqd,bkd->bqk', queries, keys) * queries.shape[-1] ** -0.5
            return jnp.einsum('bq,bqk->bk', share, jax.nn.softmax(scores))

        share = (share + jax.lax.map(attended, (queries, keys)).mean(0)) / 2
    frames, bins = pictures.shape[1:]
    of_patches = share[:, ast.TOKENS :].reshape(len(pictures), *job.model.grid(frames, bins))
    return job.model.over_picture(of_patches, (frames, bins))


def occlusion(job: Job, variables: Mapping, pictures: jax.Array, classes: jax.Array) -> jax.Array:
    """Computes by how much the log odds of classes (batch,) fall without a place: (batch, frames, bins).

    A box of the picture is filled with the picture's mean; there are 16 boxes along frames and 4 along bins,
    or as many as frames and bins. What makes the class more probable counts as 0. The authors have the
    probability, which hardly moves where a network is certain.
    """
    frames, bins = pictures.shape[1:3]
    n_along, n_across = min(_BOXES[0], frames), min(_BOXES[1], bins)
    along, across = jnp.arange(frames) * n_along // frames, jnp.arange(bins) * n_across // bins
    box_of = along[:, None] * n_across + across
    mean = pictures.mean((1, 2), keepdims=True)

    def log_odds(pictures: jax.Array) -> jax.Array:
        logits, _ = job.apply(variables, pictures, train=False)
        chosen = jnp.arange(logits.shape[1]) == classes[:, None]
        others = jax.nn.logsumexp(jnp.where(chosen, -jnp.inf, logits), axis=1)
        return jnp.where(chosen, logits, 0).sum(1) - others

    def without(box: jax.Array) -> jax.Array:
        inside = (box_of == box).reshape(1, frames, bins, *[1] * (pictures.ndim - 3))
        return log_odds(jnp.where(inside, mean, pictures))

    falls = log_odds(pictures) - jax.lax.map(without, jnp.arange(n_along * n_across))
    return jax.nn.relu(falls).T[:, box_of]


def last_maps(job: Job, variables: Any, pictures: jax.ShapeDtypeStruct) -> tuple[str, ...]:
    """Names the modules whose maps no other maps are made of; () of a network without maps.

    Maps are what has rows, columns and channels. Arguments are arrays or shapes.
    """
    shapes = jax.eval_shape(lambda v, p: _maps(job, v, p), variables, pictures)
    if not shapes:
        return ()

    def shifted(shifts: Mapping, variables: Any, pictures: jax.Array) -> dict[str, jax.Array]:
        maps = {}
        with _reading(_is_maps, maps, shifts):
            job.apply(variables, pictures, train=False)
        return maps

    traced = jax.make_jaxpr(shifted)(shapes, variables, pictures).jaxpr
    names = sorted(shapes)  # as leaves of a dict come
    made_of = _made_of(traced, len(names))
    earlier = {i for j, sources in enumerate(made_of) for i in sources if i != j}
    return tuple(name for i, name in enumerate(names) if i not in earlier)


def _made_of(traced: Jaxpr, n_inputs: int) -> list[frozenset[int]]:
    """Returns for each output which of the first inputs it is made of."""
    sources = {var: frozenset([i]) for i, var in enumerate(traced.invars[:n_inputs])}

    def of(variable: Any) -> frozenset[int]:
        return sources.get(variable, frozenset()) if isinstance(variable, Var) else frozenset()

    for equation in traced.eqns:
        all_of_it = frozenset().union(*map(of, equation.invars))
        sources |= dict.fromkeys(equation.outvars, all_of_it)
    return list(map(of, traced.outvars))


def _maps(job: Job, variables: Any, pictures: jax.Array) -> dict[str, jax.Array]:
    maps = {}
    with _reading(_is_maps, maps):
        job.apply(variables, pictures, train=False)
    return maps


def _is_maps(module: nn.Module, output: Any) -> bool:
    return isinstance(output, jax.Array) and output.ndim == 4


def _reading(
    wanted: Callable[[nn.Module, Any], bool], read: dict, shifts: Mapping = types.MappingProxyType({})
) -> contextlib.AbstractContextManager:
    """Notes what modules return, by their names, while a network is called, with shifts added to it."""

    def note(call: Callable, arguments: tuple, settings: dict, context: nn.module.InterceptorContext) -> Any:
        output = call(*arguments, **settings)
        if context.method_name != '__call__' or not wanted(context.module, output):
            return output
        name = '/'.join(context.module.path)
        read[name] = output + shifts[name] if name in shifts else output
        return read[name]

    return nn.intercept_methods(note)
