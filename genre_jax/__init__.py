"""Training, fine-tuning and honestly evaluating music genre, subgenre and raag classifiers."""

import sys

from genre_jax import programs, xla_flags

programs.refuse_others(sys.orig_argv)
xla_flags.set_flags()
