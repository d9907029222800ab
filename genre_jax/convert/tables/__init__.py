"""The tables of the published checkpoints: which tensor is which parameter."""

from genre_jax.convert.engine import Table
from genre_jax.convert.tables import (
    ast,
    beats,
    crepe,
    dasheng,
    efficientat,
    musicnn,
    panns,
    passt,
    seeds,
    vgg16,
    yamnet,
)

_MODULES = (panns, ast, passt, beats, dasheng, efficientat, vgg16, yamnet, musicnn, crepe, seeds)
TABLES = tuple(each for module in _MODULES for each in vars(module).values() if isinstance(each, Table))
