"""The networks whose embeddings are compared: runs, published checkpoints, and two that have learnt nothing.

Each source is a genre_jax.embeddings.Network, read at one of its layers. A run hears windows as long as those
it was trained on; what is no run as long as the page says, or, if wanted, as it was published with.
"""

import dataclasses
import itertools
import pathlib
from collections.abc import Sequence

import jax
import ml_collections

from genre_jax import augment, features, models, sharding
from genre_jax import config as config_lib
from genre_jax.blend import members as blend_members
from genre_jax.convert import init_from
from genre_jax.embeddings.network import Network
from genre_jax.errors import UserError
from genre_jax.label.hearing import heard_at
from genre_jax.loading import prepared
from genre_jax.models import layers
from genre_jax.run import folder as run_folder
from genre_jax.training.job import Job

UNTRAINED, MFCC = 'untrained', 'mfcc'
BEST = 'best'  # of --layers
PAGE, OWN = 'page', 'own'  # of --windows


@dataclasses.dataclass(frozen=True)
class Source:
    """A network read at a layer, and its control."""

    name: str  # for tables and folders
    network: Network  # that gives the embeddings
    control: str  # name of the source with the same network and random weights; '' without one
    words: str  # what it is
    layer: str = layers.LAST
    among: tuple[str, ...] = ()  # names of the sources of which it is the one that validation likes best


def names(wanted: Sequence[str]) -> dict[str, str]:
    """Returns short names of sources by their paths' last parts; UserError: one twice, or none to control."""
    if not wanted or not all(wanted):
        raise UserError(
            '--sources: expected run folders, checkpoints, names of published ones (such as musicnn_msd), '
            'untrained or mfcc, with commas between them'
        )
    for each in wanted:
        if list(wanted).count(each) > 1:
            raise UserError(f'--sources: {each} is named twice')
    if set(wanted) <= {UNTRAINED, MFCC} and UNTRAINED in wanted:
        raise UserError(
            '--sources: untrained is the same network with random weights, and no network is named: add a '
            'run folder or a checkpoint'
        )
    short = [
        name.strip('/').replace('/', '_')
        for name in blend_members.names([pathlib.Path(each) for each in wanted])
    ]
    if len(set(short)) < len(short):
        raise UserError(f'--sources: {", ".join(wanted)} cannot be told apart by name')
    return dict(zip(wanted, short, strict=True))


def open_sources(
    wanted: Sequence[str],
    config: ml_collections.ConfigDict,
    dataset: prepared.Dataset,
    workdir: pathlib.Path,
    of_layers: Sequence[str] = (layers.LAST,),
    pooling: str = 'mean',
    windows: str = PAGE,
) -> list[Source]:
    """Finds the networks, and draws those that have not learnt anything; a source for each of their layers.

    With OWN `windows` each network hears as long ones as it was published with, else those of the page.
    Embeddings and random weights are kept below `workdir`. UserError: no such network, or none that fits.
    """
    cache = workdir / 'embeddings'
    sources, controls = [], {}
    for each, name in names(wanted).items():
        if each == UNTRAINED:
            continue
        if each == MFCC:
            own = config.copy_and_resolve_references()
            own.model = ml_collections.ConfigDict({'name': 'mean_deviation'})
            own.features = ml_collections.ConfigDict({'name': 'mfcc_20'})
            network = _without_learning(own, dataset, cache / MFCC)
            sources.append(Source(name, network, '', 'means and deviations of 20 MFCCs'))
            continue
        network = _network(each, config, cache, of_layers, pooling, windows)
        control = ''
        if UNTRAINED in wanted:
            # What makes two networks the same but for their weights.
            sections = [network.config[key] for key in ('model', 'features', 'windows')]
            kind = ' '.join(section.to_json(sort_keys=True) for section in sections)
            if kind not in controls:
                control = f'{UNTRAINED}_{name}'
                blank = _without_learning(network.config, dataset, cache / control, of_layers, pooling)
                words = f'{network.config.model.name} with random weights'
                controls[kind] = control, _at_layers(control, blank, '', words, of_layers)
            control, _ = controls[kind]
        sources += _at_layers(name, network, control, f'{network.source.title}: {each}', of_layers)
    found = [*sources, *itertools.chain(*(each for _, each in controls.values()))]
    own = [source.name for source in found]
    for name in own:
        if own.count(name) > 1:
            raise UserError(f'--sources, --layers: two of them are called {name}: rename a folder')
    return found


def _at_layers(
    name: str, network: Network, control: str, words: str, of_layers: Sequence[str]
) -> list[Source]:
    """Returns a source for each layer of a network, the one with its own embedding under its own name."""

    def called(name: str, layer: str) -> str:
        return name if layer == layers.LAST else f'{name}_{"layer_" * layer.isdecimal()}{layer}'

    def of(layer: str) -> str:
        many = {layers.MEAN: 'the mean of its layers', layers.WEIGHTED: 'its layers with learnt weights'}
        return words if layer == layers.LAST else f'{words}, {many.get(layer, f"layer {layer}")}'

    among = [called(name, layer) for layer in network.layers]
    found = [
        Source(called(name, layer), network.of(layer), control and called(control, layer), of(layer), layer)
        for layer in network.layers
    ]
    if BEST in of_layers:
        best, of_control = called(name, BEST), control and called(control, BEST)
        chosen = f'{words}, the layer that validation likes best'
        found.append(Source(best, network.of(*network.layers[:1]), of_control, chosen, BEST, tuple(among)))
    return found


def _open(
    config: ml_collections.ConfigDict,
    checkpoint: str,
    cache: pathlib.Path,
    of_layers: Sequence[str],
    pooling: str,
) -> Network:
    """Opens a network to be read at layers; BEST alone is one of all."""
    named = [layer for layer in of_layers if layer != BEST]
    if named or BEST not in of_layers:
        return Network(config, checkpoint, cache, named, pooling)
    network = Network(config, checkpoint, cache)
    network.read_at([layers.LAST, *map(str, network.numbers)], pooling)
    return network


def _network(
    checkpoint: str,
    config: ml_collections.ConfigDict,
    cache: pathlib.Path,
    of_layers: Sequence[str],
    pooling: str,
    windows: str,
) -> Network:
    """Finds a network; its model and its front end are its own, where the page names others."""
    own = config.copy_and_resolve_references()
    found = init_from.find(checkpoint, '--sources')
    if found.model != config.model.name:
        own.model = ml_collections.ConfigDict({'name': found.model, **found.settings})
        if not found.features:
            raise UserError(
                f'--sources={checkpoint} does not say what it hears: of a model of transformers, put its '
                'preprocessor_config.json beside the weights, else name its network and its front end, '
                f'--config.model.name={found.model} --config.features.name=FLAVOUR'
            )
    if found.features and (found.model, found.features) != (config.model.name, config.features.name):
        own.features = ml_collections.ConfigDict({'name': found.features, **(found.front_end or {})})
    front_end = features.build(own.features)
    if windows == OWN and found.window_s is not None:  # of a run; of whole recordings the longest one's
        own.windows.window_s = 0.0 if found.whole else found.window_s
    elif windows == OWN and front_end.kind == 'audio' and len(found.picture) == 2:  # not of colours
        own.windows.window_s, _ = heard_at(pathlib.Path(checkpoint), found, front_end)
    return _open(own, checkpoint, cache, of_layers, pooling)


def _without_learning(
    config: ml_collections.ConfigDict,
    dataset: prepared.Dataset,
    folder: pathlib.Path,
    of_layers: Sequence[str] = (layers.LAST,),
    pooling: str = 'mean',
) -> Network:
    """Draws a network's weights, by config.seed, and opens it; normalisation is that of a new network."""
    stored = dataset.stored(config.windows.window_s)
    job = Job(
        config=config,
        length=config_lib.Length(1, 1),
        mesh=sharding.make_mesh(sizes=config.mesh),
        model=models.build(config.model, len(stored.labels)),
        front_end=features.build(config.features),
        augmentation=augment.Augmentation(ml_collections.ConfigDict(), stored.labels),
        stored=stored,
    )
    variables = jax.jit(job.init)(jax.random.key(config.seed))
    run_folder.save_model(job, variables, 'random weights', {'seed': config.seed}, folder)
    return _open(config, str(folder), folder.parent, of_layers, pooling)
