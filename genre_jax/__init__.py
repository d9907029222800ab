"""Training, fine-tuning and honestly evaluating music genre, subgenre and raag classifiers."""

from genre_jax import xla_flags

xla_flags.set_flags()
