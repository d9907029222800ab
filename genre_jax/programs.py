"""The programs of the package, and one line for a module that is none, which Python would run silently."""

import difflib
import sys
from collections.abc import Sequence

PROGRAMS = {
    'main': 'train and evaluate',
    'label': 'name the classes of new recordings',
    'sweep': 'search hyperparameters',
    'classical': 'classical models, cross-validated',
    'embeddings': 'what a network makes of windows',
    'blend': 'join finished runs',
    'transfer': 'embeddings on another dataset',
    'leak': 'what a leak is worth',
    'reproduce': 'the tables of a paper',
    'report': 'write the page of a run anew',
    'convert': 'convert a published checkpoint',
    'compile': 'a step for accelerators that are not there',
    'config': 'print every key of a config',
    'feature_table': 'write a table of handcrafted features',
    'gallery': 'draw front ends and augmentations',
    'data.prepare': 'prepare a dataset',
    'data.audit': 'find what could leak',
    'data.synthetic_raag': 'draw a synthetic recording',
    'launch.local': 'several processes of this machine',
    'launch.slurm': 'a SLURM cluster',
    'launch.tpu_vm': 'TPU VMs',
    'launch.gke': 'Kubernetes',
    'launch.skypilot': 'any cloud, by SkyPilot',
    'embed': 'the former name of embeddings',
}


def refuse_others(command: Sequence[str]) -> None:
    """Ends Python where sys.orig_argv runs a module that is no program, with one line and exit code 2."""
    if '-m' not in command[:-1] or sys.argv[0] != '-m':  # which it is until the module is found
        return
    package, _, name = command[command.index('-m') + 1].partition('.')
    if package == 'genre_jax' and name not in PROGRAMS:
        close = difflib.get_close_matches(name, PROGRAMS, 1)
        hint = f'did you mean genre_jax.{close[0]}?' if close else 'programs are'
        known = '' if close else ' ' + ', '.join(f'genre_jax.{each}' for each in PROGRAMS)
        print(f'error: genre_jax{name and "." + name} is no program; {hint}{known}', file=sys.stderr)
        sys.exit(2)
