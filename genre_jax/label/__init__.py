"""Labels recordings with a trained model: `python -m genre_jax.label`, and `genre_jax.load` in Python."""
