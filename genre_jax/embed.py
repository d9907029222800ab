"""The former name of `python -m genre_jax.embeddings`."""

import runpy

if __name__ == '__main__':
    runpy.run_module('genre_jax.embeddings', run_name='__main__', alter_sys=True)
