"""The program: `python -m genre_jax.main --config=configs/quickstart.py --workdir=runs/quickstart`.

The same command continues a run that was stopped or killed; exit codes: program.py.
"""

from absl import flags

from genre_jax import program

# Heavy imports are inside the functions: worker processes import this module too.

_PROFILE = flags.DEFINE_integer('profile', 0, 'steps to trace into profile/ of --workdir', lower_bound=0)


def main(argv: list[str]) -> None:
    """Runs what the flags say."""
    config, workdir = program.prepare(argv)

    from genre_jax import run

    run.run(config, workdir, profile_steps=_PROFILE.value)


if __name__ == '__main__':
    program.run(main)
