"""A paper's tables beside ours, under its own protocol and under one that cannot leak.

    python -m genre_jax.reproduce ma --data=features=features_3_sec.csv --workdir=reproductions/ma
    python -m genre_jax.reproduce herbert --data=audio=GTZAN/genres_original --data=index=GTZANindex.txt \
        --workdir=reproductions/herbert [--seeds=1] [--only=200] [--protocols=grouped] [--dry_run]

Papers: herbert, bu, kirby_bhateja, wu, ma, makam. Runs the rows whose data are given, each as run folders of
their own below --workdir; the same command continues, and further data or rows are added by naming them. A
row that fails is shown with its reason. What is missing, and how to get it, stands on the page (index.html,
its figures in result.json and figures.csv, all in --workdir); `--dry_run` prints it with all commands and
runs nothing.

`--data=audio=folder:DIR` takes another dataset, read by that module of data/, in the place of the paper's:
everything is marked as other data. `--set=train.length='2 epochs'` changes every run; the page says so.
"""

import pathlib
from collections.abc import Mapping, Sequence

from absl import flags

from genre_jax import program
from genre_jax.errors import say

_MEMORY = 'reproduction.json'
_DATA = flags.DEFINE_multi_string('data', [], 'KEY=PATH or KEY=DATASET:PATH; may be given several times')
_ONLY = flags.DEFINE_string('only', '', 'expression of the rows to run')
_SEEDS = flags.DEFINE_integer('seeds', 0, "runs of each network; 0: the paper's number", lower_bound=0)
_SET = flags.DEFINE_multi_string('set', [], 'KEY=VALUE of the config of every run')
_PROTOCOLS = flags.DEFINE_list('protocols', ['paper', 'grouped'], 'one or both')
_DRY_RUN = flags.DEFINE_bool('dry_run', False, 'print what would be run, and run nothing')


def main(argv: list[str]) -> None:
    """Runs what the flags say."""
    from genre_jax.errors import UserError
    from genre_jax.reproduce import paper as paper_lib
    from genre_jax.reproduce import plan, present

    if len(argv) != 2:
        names = ', '.join(paper_lib.PAPERS)
        raise UserError(f'name one paper, {names}, and flags as --name=value')
    paper = paper_lib.load(argv[1])
    if flags.FLAGS.config is not None:
        raise UserError('--config: a paper names its pages itself; change them with --set=KEY=VALUE')
    if not flags.FLAGS.workdir:
        raise UserError('--workdir=DIR is needed: the folder of the reproduction')
    workdir = pathlib.Path(flags.FLAGS.workdir)
    wishes = plan.Wishes(
        workdir,
        present.parse(paper, [*_DATA.value, *_earlier_data(paper.name, workdir)]),
        plan.check_protocols(_PROTOCOLS.value),
        _ONLY.value,
        _SEEDS.value,
        plan.parse_settings(_SET.value),
    )
    entries = plan.make_plan(paper, wishes)
    if _DRY_RUN.value:
        say(*plan.in_full(paper, wishes, entries).split('\n'))
    else:
        _run(paper, wishes, entries)


def _run(paper, wishes, entries: Sequence) -> None:
    program.start_jax()

    from genre_jax.logbook import write_json
    from genre_jax.reproduce import collect, page, plan, run
    from genre_jax.run import folder as run_folder
    from genre_jax.study.table import write_csv

    workdir, jobs = wishes.workdir, plan.jobs(entries)

    def write(failed: Mapping[pathlib.Path, str]) -> dict:
        result = collect.collect(paper, wishes, entries, failed)
        write_json(workdir / 'result.json', result)
        page.write_page(result, workdir / 'index.html')
        write_csv(collect.lines(result), workdir / 'figures.csv')
        return result

    failed: dict[pathlib.Path, str] = {}
    with run_folder.own(workdir):
        _remember(paper.name, wishes)
        for failed in run.run_jobs(jobs, workdir):
            write(failed)
        result = write(failed)
    say('', *collect.text_table(result).split('\n'))
    for each in result['missing']:
        say(f'missing: {each["what"]}: --data={each["key"]}=PATH; {each["how"]}')
    if failed:
        say('', f'{len(failed)} of {len(jobs)} runs failed')
    say('', f'page:    {workdir / "index.html"}')
    say(f'figures: {workdir / "result.json"}, {workdir / "figures.csv"}')


def _earlier_data(paper: str, workdir: pathlib.Path) -> list[str]:
    """Returns what earlier calls for the paper named with --data, and this one does not."""
    from genre_jax.logbook import read_json

    file = workdir / _MEMORY
    earlier = read_json(file) if file.exists() else {}
    if earlier.get('paper') != paper:
        return []
    named = {text.partition('=')[0] for text in _DATA.value}
    return [text for key, (text, _) in earlier['data'].items() if key not in named]


def _remember(paper: str, wishes) -> None:
    """Notes what the folder holds; data, rows and seeds may be added; refuses one of something else."""
    from genre_jax.errors import UserError
    from genre_jax.logbook import read_json, write_json

    file, where = wishes.workdir / _MEMORY, f'--workdir={wishes.workdir} holds a reproduction with'
    now = {
        'paper': paper,
        'settings': {key: str(value) for key, value in wishes.settings.items()},
        'data': {key: [each.text, each.fingerprint] for key, each in wishes.data.items()},
    }
    if file.exists():
        old = read_json(file)
        for key in ('paper', 'settings'):
            if old[key] != now[key]:
                raise UserError(
                    f'{where} other {key} ({old[key]}): use another --workdir, or the same command to '
                    'continue'
                )
        for key, place in now['data'].items():
            if old['data'].get(key, place) != place:
                raise UserError(
                    f'{where} other data for {key} ({" ".join(old["data"][key])}): restore them, or use '
                    'another --workdir'
                )
        now['data'] = old['data'] | now['data']
    write_json(file, now)


if __name__ == '__main__':
    program.run(main)
