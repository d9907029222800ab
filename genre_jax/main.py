"""The program: `python -m genre_jax.main --config=configs/quickstart.py --workdir=runs/quickstart`.

The same command continues a run that was stopped or killed; exit codes: program.py.
"""

from genre_jax import program

# Heavy imports are inside the functions: worker processes import this module too.


def main(argv: list[str]) -> None:
    """Runs what the flags say."""
    config, workdir = program.prepare(argv)

    from genre_jax import run

    run.run(config, workdir)


if __name__ == '__main__':
    program.run(main)
