"""One blend from the members to the page: fit, test once, compare, write."""

import dataclasses
import hashlib
import operator
import pathlib
from collections.abc import Callable, Mapping, Sequence

import ml_collections
import numpy as np

from genre_jax.blend import members as blend_members
from genre_jax.blend import methods as blend_methods
from genre_jax.blend import table as blend_report
from genre_jax.blend.members import Task, fold_folders, make_tasks, notes
from genre_jax.errors import UserError
from genre_jax.evaluation import evaluate, paired
from genre_jax.evaluation.evaluate import Predictions
from genre_jax.logbook import environment, write_json
from genre_jax.report import page as report
from genre_jax.run import folder as run_folder

Fitted = blend_methods.Weighted | blend_methods.Stacked


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How runs are blended."""

    method: str  # 'integer', 'greedy', 'stacking' or 'mean'
    settings: Mapping[str, object]  # arguments of the method
    level: str  # 'segment' or 'song'
    leaky_fit_on_test: bool  # fit to the test part, and show the honest blend beside it

    def fit(self, rows: Predictions) -> Fitted:
        """Fits the method to rows."""
        groups = [rows.group] if self.method == 'stacking' else []
        function = getattr(blend_methods, self.method)
        return function(rows.probabilities, rows.label, *groups, **self.settings)


def best_member(rows: Predictions) -> int:
    """Returns which member is right about most rows; of equal ones, that of lower log loss."""
    right = (rows.probabilities.argmax(-1) == rows.label).sum(1)
    losses = [evaluate.log_losses(rows.label, own).mean() for own in rows.probabilities]
    return int(np.lexsort((losses, -right))[0])


def _predict(rows: Sequence[Predictions], blends: Sequence[Callable]) -> Predictions:
    """Blends the rows of each task by its own blend, and puts them together.

    What is said of tonics is blended likewise.
    """
    joined = evaluate.joined(rows)
    said = {
        name: [apply(getattr(each, name)) for apply, each in zip(blends, rows, strict=True)]
        for name in evaluate.SAID
        if getattr(joined, name) is not None
    }
    return dataclasses.replace(
        joined, **{name: np.concatenate(each).astype(np.float32) for name, each in said.items()}
    )


def measure(
    tasks: Sequence[Task], folders: Sequence[pathlib.Path], recipe: Recipe
) -> tuple[dict, list[Fitted]]:
    """Fits, tests and compares; returns what result.json holds, and the blend of each task."""
    level, leaky = recipe.level, recipe.leaky_fit_on_test
    names = blend_members.names(folders)
    # The other folds' rows, which a fold is fitted to, are test rows of the whole: no part of its own.
    parts = {'test': [task.test for task in tasks]}
    if len(tasks) == 1:
        parts['val'] = [tasks[0].fit]

    def scores(blends: Sequence[Callable]) -> dict[str, dict]:
        return {part: blend_report.scores(_predict(rows, blends)) for part, rows in parts.items()}

    def facts(fitted: Sequence[Fitted], fitted_on: str) -> dict:
        return {
            'fitted_on': fitted_on,
            'weights': [each.weights.tolist() for each in fitted],
            'fits': [each.facts for each in fitted],
            'parts': blend_report.brief(scores([each.apply for each in fitted]), level),
        }

    honest_on = 'the validation part' if len(tasks) == 1 else 'the other folds'
    honest = fitted = [recipe.fit(task.fit) for task in tasks]
    if leaky:
        fitted = [recipe.fit(evaluate.joined(parts['test']))] * len(tasks)
    bests = [best_member(task.fit) for task in tasks]
    applies = [each.apply for each in fitted]
    test, honest_test, best_test = (
        _predict(parts['test'], blends)
        for blends in (applies, [each.apply for each in honest], [operator.itemgetter(i) for i in bests])
    )
    blend = facts(fitted, 'the test part itself' if leaky else honest_on) | {
        'method': recipe.method,
        'settings': dict(recipe.settings),
        'level': level,
        'leaky_members': any(member.result['leaky'] for task in tasks for member in task.members),
        'members': [
            {
                'name': name,
                'folder': str(folder),
                'parts': blend_report.brief(scores([operator.itemgetter(i)] * len(tasks)), level),
            }
            for i, (name, folder) in enumerate(zip(names, folders, strict=True))
        ],
        'best_on': honest_on,
        'best': ', '.join(dict.fromkeys(names[best] for best in bests)),
        'versus_best': paired.difference(honest_test, best_test),
    }
    if leaky:
        gap = paired.difference(test, honest_test)
        blend |= {'honest': facts(honest, honest_on), 'gap': gap}
    results = [[member.result for member in task.members] for task in tasks]
    described = blend_report.describe(results, test, leaky)
    described['warnings'] += notes(tasks, folders, level)
    tables = {part: _predict(rows, applies) for part, rows in (parts | _excerpts(tasks)).items()}
    figures = {part: blend_report.scores(table) for part, table in tables.items()}
    return described | {'tonic': _tonics(tables), 'parts': figures, 'blend': blend}, fitted


def _tonics(tables: Mapping[str, Predictions]) -> dict[str, dict]:
    return {part: found for part, table in tables.items() if (found := blend_report.tonic_scores(table))}


def _excerpts(tasks: Sequence[Task]) -> dict[str, list[Predictions]]:
    return {part: [task.excerpts[part] for task in tasks] for part in tasks[0].excerpts}


def _write(
    config: Mapping,
    result: Mapping,
    tasks: Sequence[Task],
    fitted: Sequence[Fitted],
    workdir: pathlib.Path,
    recipe: Recipe,
) -> None:
    """Writes the run folder, and of folds one for each below it."""
    here = environment() | {'init': None, 'dataset': tasks[0].members[0].environment['dataset']}
    splits = [task.members[0].environment['split_fingerprint'] for task in tasks]
    applies = [each.apply for each in fitted]

    def write_run(folder: pathlib.Path, tables: Mapping, split: str, content: Mapping) -> None:
        folder.mkdir(exist_ok=True)
        write_json(folder / 'config.json', config)
        write_json(folder / 'environment.json', here | {'split_fingerprint': split})
        for part, table in tables.items():
            table.save(folder / f'predictions/{part}.npz')
        write_json(folder / 'result.json', content)

    rows = {'test': [task.test for task in tasks]} | _excerpts(tasks)
    if len(tasks) == 1:
        rows['val'] = [tasks[0].fit]
    tables = {part: _predict(own, applies) for part, own in rows.items()}
    if len(tasks) == 1:
        write_run(workdir, tables, splits[0], result)
        return
    facts = {key: result['blend'][key] for key in ('method', 'settings', 'level', 'fitted_on')}
    for i, (task, own) in enumerate(zip(tasks, fitted, strict=True)):
        own_tables = {
            part: _predict([table], [own.apply])
            for part, table in ({'test': task.test} | task.excerpts).items()
        }
        results = [[member.result for member in task.members]]
        content = blend_report.describe(results, own_tables['test'], recipe.leaky_fit_on_test) | {
            'tonic': _tonics(own_tables),
            'parts': {part: blend_report.scores(table) for part, table in own_tables.items()},
            'blend': facts | {'weights': [own.weights.tolist()], 'fits': [own.facts]},
        }
        write_run(workdir / f'fold_{i}', own_tables, splits[i], content)
    together = hashlib.sha256(' '.join(splits).encode()).hexdigest()
    write_run(workdir, tables, together, result)


def run(folders: Sequence[pathlib.Path], workdir: pathlib.Path, recipe: Recipe) -> dict:
    """Blends runs, and writes a run folder; what is there of the same blend is computed anew.

    Returns what result.json holds. Runs that cannot be blended, or a folder of something else: a UserError.
    """
    _check_folders(folders, workdir)
    config = {
        # What a page names; a blend trains nothing.
        'model': {'name': 'blend'},
        'features': {'name': 'predictions'},
        'optim': {'name': recipe.method},
        'seed': 0,
        'blend': {'members': [str(folder) for folder in folders]} | dataclasses.asdict(recipe),
    }
    # A regression on the classes says nothing of tonics.
    tasks = make_tasks(folders, recipe.level, with_tonics=recipe.method != 'stacking')
    with run_folder.own(workdir):
        run_folder.check_same_config(ml_collections.ConfigDict(config), workdir)
        for stale in fold_folders(workdir)[len(tasks) if len(tasks) > 1 else 0 :]:
            raise UserError(f'--workdir={workdir} holds {stale.name} of another blend: use another --workdir')
        # Until the new one is whole, the folder holds no result.
        for file in [workdir / 'result.json', *workdir.glob('fold_*/result.json')]:
            file.unlink(missing_ok=True)
        result, fitted = measure(tasks, folders, recipe)
        _write(config, result, tasks, fitted, workdir, recipe)
        report.write_report(workdir)
    return result


def _check_folders(folders: Sequence[pathlib.Path], workdir: pathlib.Path) -> None:
    resolved = [folder.resolve() for folder in folders]
    for folder, path in zip(folders, resolved, strict=True):
        if resolved.count(path) > 1:
            raise UserError(f'--members: {folder} is named twice: name every run once')
        if workdir.resolve() == path or path in workdir.resolve().parents:
            raise UserError(f'--workdir={workdir} lies in {folder}, one of the members: name another folder')
    if len(folders) < 2:
        raise UserError(f'--members names one run, {folders[0]}: a blend needs two at least')
