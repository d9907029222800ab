"""The programs of the package, and one line for a module that is none, which Python would run silently."""

import difflib
import runpy
import sys
from collections.abc import Sequence

from genre_jax.errors import printable

PROGRAMS = {
    'main': 'train and evaluate',
    'label': 'name the classes of new recordings',
    'tonic': 'find the tonic of recordings',
    'evaluate': 'test a finished model on another dataset',
    'sweep': 'search hyperparameters',
    'classical': 'classical models, cross-validated',
    'embeddings': 'what a network makes of windows',
    'blend': 'join finished runs',
    'transfer': 'embeddings on another dataset',
    'leak': 'what a leak is worth',
    'reproduce': 'the tables of a paper',
    'report': 'write the page of a run anew, or of several beside one another',
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
        line = f'error: genre_jax{name and "." + name} is no program; {hint}{known}'
        print(printable(line), file=sys.stderr)
        sys.exit(2)


def main() -> None:
    """The command `genre-jax PROGRAM ...`: python -m genre_jax.PROGRAM ... from any folder."""
    names = {'train' if name == 'main' else name: what for name, what in PROGRAMS.items() if name != 'embed'}
    name, *words = sys.argv[1:] or ['--help']
    if name == '--completion':  # eval "$(genre-jax --completion)"
        print(f'complete -o default -W "{" ".join(names)}" genre-jax')
    elif name in ('--help', '-h', 'help'):
        print('genre-jax PROGRAM ...; genre-jax PROGRAM --help says more, --completion is for the shell\n')
        print('\n'.join(f'  {each:20} {what}' for each, what in names.items()))
    elif name in names:
        sys.argv[1:] = words
        module = f'genre_jax.{"main" if name == "train" else name}'
        runpy.run_module(module, run_name='__main__', alter_sys=True)
    else:
        close = difflib.get_close_matches(name, names, 1)
        hint = f'did you mean {close[0]}?' if close else 'genre-jax --help lists them'
        print(printable(f'error: {name} is no program; {hint}'), file=sys.stderr)
        sys.exit(2)
