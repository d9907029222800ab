"""A paper's tables beside ours, under its own protocol and under one that cannot leak.

    python -m genre_jax.reproduce ma --data=features=features_3_sec.csv --workdir=reproductions/ma
    python -m genre_jax.reproduce herbert --data=audio=GTZAN/genres_original --data=index=GTZANindex.txt \
        --workdir=reproductions/herbert [--seeds=1] [--only=200] [--protocols=grouped] [--dry_run]

Papers: herbert, bu, kirby_bhateja, wu, ma. Runs the rows whose data are given, each as run folders of their
own below --workdir; the same command continues, and further data or rows are added by naming them. A row
that fails is shown with its reason. What is missing, and how to get it, stands on the page
(WORKDIR/index.html; the figures: WORKDIR/result.json); `--dry_run` prints it with all commands and runs
nothing.

`--data=audio=folder:DIR` takes another dataset, read by that module of data/, in the place of the paper's:
everything is marked as other data. `--set=train.length='2 epochs'` changes every run; the page says so.
"""

from __future__ import annotations

import importlib
import pathlib
import sys
from collections.abc import Mapping, Sequence

from absl import app, flags

from genre_jax import main as main_lib

# Heavy imports are inside the functions: --dry_run and mistakes need none of them.

PAPERS = ('herbert', 'bu', 'kirby_bhateja', 'wu', 'ma')

# Of this program alone: it calls other programs as libraries, whose flags have some of these names.
_FLAGS = flags.FlagValues()
_WORKDIR = flags.DEFINE_string('workdir', '', 'folder of the reproduction', flag_values=_FLAGS)
_DATA = flags.DEFINE_multi_string(
    'data', [], 'KEY=PATH or KEY=DATASET:PATH; may be given several times', flag_values=_FLAGS
)
_ONLY = flags.DEFINE_string('only', '', 'expression of the rows to run', flag_values=_FLAGS)
_SEEDS = flags.DEFINE_integer(
    'seeds', 0, "runs of each network; 0: the paper's number", lower_bound=0, flag_values=_FLAGS
)
_SET = flags.DEFINE_multi_string(
    'set', [], 'KEY=VALUE of the config of every run', flag_values=_FLAGS
)
_PROTOCOLS = flags.DEFINE_list('protocols', 'paper,grouped', 'one or both', flag_values=_FLAGS)
_DRY_RUN = flags.DEFINE_bool('dry_run', False, 'print what would be run', flag_values=_FLAGS)
_HELP = flags.DEFINE_bool('help', False, 'print this', flag_values=_FLAGS)


def parse_flags(argv: list[str]) -> list[str]:
    """Parses the flags; a mistake is one line.

    Args:
        argv: the command line.

    Returns:
        What is left of it.
    """
    flags.FLAGS.mark_as_parsed()
    try:
        return _FLAGS(argv)
    except flags.Error as error:
        print(f'error: {" ".join(str(error).split())}', file=sys.stderr)
        sys.exit(2)


def main(argv: list[str]) -> None:
    """Runs what the flags say.

    Args:
        argv: what is left of the command line.
    """
    from genre_jax.reproduce import plan, present

    if _HELP.value:
        print(f'{__doc__}\n{_FLAGS.main_module_help()}')
        return
    paper = _paper(argv[1:])
    wishes = plan.Wishes(
        _workdir(),
        present.parse(paper, _DATA.value),
        _protocols(),
        _ONLY.value,
        _SEEDS.value,
        plan.parse_settings(_SET.value),
    )
    entries = plan.make_plan(paper, wishes)
    if _DRY_RUN.value:
        print(plan.in_full(paper, wishes, entries))
        return
    _run(paper, wishes, entries)


def _run(paper, wishes, entries: Sequence) -> None:
    from genre_jax.reproduce import plan

    jobs = plan.jobs(entries)
    _remember(paper.name, wishes)
    main_lib.log_warnings_only()
    main_lib.start_jax()

    from genre_jax import run_folder
    from genre_jax.logbook import write_json
    from genre_jax.reproduce import collect, page, run

    with run_folder.own(wishes.workdir):
        failed = run.run_jobs(jobs, wishes.workdir)
        result = collect.collect(paper, wishes, entries, failed)
        write_json(wishes.workdir / 'result.json', result)
        page.write_page(result, wishes.workdir / 'index.html')
    print(f'\n{collect.text_table(result)}')
    for each in result['missing']:
        print(f'missing: {each["what"]}: --data={each["key"]}=PATH; {each["how"]}')
    print(f'\n{len(failed)} of {len(jobs)} runs failed' if failed else '')
    print(f'page:    {wishes.workdir / "index.html"}')
    print(f'figures: {wishes.workdir / "result.json"}')


def _paper(names: Sequence[str]):
    """Returns the declaration of the paper that the command line names."""
    from genre_jax import config as config_lib
    from genre_jax.errors import UserError

    if len(names) != 1:
        raise UserError(f'name one paper, {", ".join(PAPERS)}, and flags as --name=value')
    if names[0] not in PAPERS:
        raise UserError(f'unknown paper {names[0]!r}{config_lib.nearest(names[0], PAPERS)}')
    return importlib.import_module(f'genre_jax.reproduce.{names[0]}').PAPER


def _workdir() -> pathlib.Path:
    from genre_jax.errors import UserError

    if not _WORKDIR.value:
        raise UserError('--workdir=DIR is needed: the folder of the reproduction')
    return pathlib.Path(_WORKDIR.value)


def _protocols() -> list[str]:
    """Returns the protocols in the order of the page."""
    from genre_jax import config as config_lib
    from genre_jax.errors import UserError
    from genre_jax.reproduce import paper

    for name in _PROTOCOLS.value:
        if name not in paper.PROTOCOLS:
            hint = config_lib.nearest(name, paper.PROTOCOLS)
            raise UserError(f'--protocols: unknown protocol {name!r}{hint}')
    if not _PROTOCOLS.value:
        raise UserError(f'--protocols: expected {" or ".join(paper.PROTOCOLS)}, or both')
    return [name for name in paper.PROTOCOLS if name in _PROTOCOLS.value]


def _remember(paper: str, wishes) -> None:
    """Notes what the folder holds, and refuses one that holds something else.

    Data may be added from one call to the next, rows and seeds as well.
    """
    from genre_jax.errors import UserError
    from genre_jax.logbook import read_json, write_json

    file = wishes.workdir / 'reproduction.json'
    now: dict[str, Mapping | str] = {
        'paper': paper,
        'settings': {key: str(value) for key, value in wishes.settings.items()},
        'data': {
            key: f'{each.dataset}:{pathlib.Path(each.path).resolve()}'
            for key, each in wishes.data.items()
        },
    }
    try:
        wishes.workdir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f'--workdir={wishes.workdir} cannot be used ({error.strerror}): name a folder that can be '
            'written'
        ) from None
    if file.exists():
        old = read_json(file)
        for key in ('paper', 'settings'):
            if old[key] != now[key]:
                raise UserError(
                    f'--workdir={wishes.workdir} holds a reproduction with other {key} ({old[key]}): use '
                    'another --workdir, or the same command to continue'
                )
        for key, place in now['data'].items():
            if old['data'].get(key, place) != place:
                raise UserError(
                    f'--workdir={wishes.workdir} holds a reproduction with --data={key} at '
                    f'{old["data"][key]}: use another --workdir'
                )
        now['data'] = old['data'] | now['data']
    write_json(file, now)


if __name__ == '__main__':
    app.run(main_lib.guarded(main), flags_parser=parse_flags)
