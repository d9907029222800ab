"""What a run comes to: figures of a validation, and the files of a run that has ended."""

import dataclasses
import json
import time
from collections.abc import Mapping

import jax
import numpy as np

from genre_jax import sharding
from genre_jax.convert import init_from
from genre_jax.convert.engine import OF_RUN
from genre_jax.evaluation import confidence, evaluate, tonic
from genre_jax.loading import run_data
from genre_jax.logbook import Logbook, read_json, write_json
from genre_jax.models import layers
from genre_jax.report import page as report
from genre_jax.run import changes, heard
from genre_jax.run import folder as run_folder
from genre_jax.run.confidence import calibrate
from genre_jax.training import step as train
from genre_jax.training.checkpoint import digest
from genre_jax.training.job import Job
from genre_jax.training.predict import Outputs


@dataclasses.dataclass(frozen=True)
class Ended:
    """A training that has ended: its last state, and what its best step gives for 'val' and 'test'."""

    state: train.TrainState
    first_step: int  # that this program began with
    best_step: int
    best_variables: Mapping
    outputs: Mapping[str, Outputs]
    started_s: float  # time.monotonic(), when preparation began
    prepared_s: float
    trained_s: float
    train_parts_s: Mapping[str, float]  # of `loop.Clock`; {} where a pack trained
    rejection: tuple[dict, confidence.Space] | None = None  # of confidence.find_rule
    look_s: float = 0.0  # that look.write took
    # {'test_60s': ...}, of config.eval.excerpts_s; none where a pack trained
    excerpts: Mapping[str, evaluate.Predictions] = dataclasses.field(default_factory=dict)


def validation(
    job: Job, data: run_data.Data, probabilities: np.ndarray
) -> tuple[dict[str, float], list[float]]:
    """Returns what metrics.jsonl says of a validation, and the rank of its state.

    The probabilities are float32 [windows, classes].
    """
    predictions = data.tables['val'].predictions(probabilities)
    scores = evaluate.evaluate(predictions, data.groups, with_intervals=False)
    figures = {
        f'val/{kind}/{name}': scores[kind][name]
        for kind in evaluate.KINDS
        for name in ('accuracy', 'macro_f1', 'log_loss')
        if scores[kind][name] is not None
    }
    figures = {'val/loss': figures['val/segment/log_loss']} | figures
    return figures, rank(job, figures)


def rank(job: Job, figures: Mapping[str, float]) -> list[float]:
    """Returns the rank that validation figures give a state: larger is better, element by element."""
    accuracy = figures[f'val/{job.config.eval.select_on}/accuracy']
    return [accuracy, -figures['val/song_max_probability/log_loss']]


def _overlooked(job: Job, logbook: Logbook, best_step: int) -> list[str]:
    """Returns a warning where the log has a better validation than the best checkpoint that there is."""
    lines = map(json.loads, (logbook.workdir / 'metrics.jsonl').read_text().splitlines())
    ranks = {line['step']: rank(job, line) for line in lines if 'val/loss' in line}
    best = max(ranks, key=lambda step: [*ranks[step], -step])
    if best == best_step:
        return []
    return [
        f'the checkpoint of step {best}, the best by validation, was lost or damaged: all figures are '
        f'those of step {best_step}, the best of those that are left'
    ]


def describe(data: run_data.Data, predictions: Mapping[str, evaluate.Predictions]) -> dict:
    """Returns what result.json says of the data, and of predictions by part, 'test' among them."""
    named = {
        part: tonic.score(table, data.groups)
        for part, table in predictions.items()
        if table.tonic is not None
    }
    return run_data.describe(data) | {
        **({'tonic': named} if any(named.values()) else {}),
        'parts': {part: evaluate.evaluate(table, data.groups) for part, table in predictions.items()},
        'majority': evaluate.majority_class(
            data.dataset.label_ids()[data.split.tracks['train']], predictions['test'], data.groups
        ),
    }


def write(job: Job, data: run_data.Data, ended: Ended, logbook: Logbook) -> dict:
    """Writes predictions, model, result and page of a run that has ended, and returns the result."""
    config, workdir, last_step = job.config, logbook.workdir, int(ended.state.step)
    predictions = {
        part: data.tables[part].predictions(each.probabilities, each.joint, each.height)
        for part, each in ended.outputs.items()
    }
    best = sharding.fetch(ended.best_variables)
    learnt = {}
    if layers.WEIGHTS in best['params']:
        learnt[layers.WEIGHTS] = jax.device_get(layers.shares(best['params'])).tolist()
    result = {
        'steps': last_step,
        'epochs': job.length.epochs(last_step),
        'stopped_early': last_step < job.length.total_steps,
        'best_step': ended.best_step,
        'best_epoch': job.length.epochs(ended.best_step),
        'selected_on': f'val/{config.eval.select_on}/accuracy',
        'parameters_sha256': digest(ended.state.params),
        'state_sha256': digest(ended.state),
        'best_parameters_sha256': digest(best['params']),
        **learnt,
    } | describe(data, {**predictions, **ended.excerpts})
    if not logbook.enabled:
        return result
    environment = read_json(workdir / 'environment.json')
    result['warnings'] += changes.warnings(environment) + _overlooked(job, logbook, ended.best_step)
    if job.source is not None:
        result['warnings'] += init_from.check_front_end(job.source, job.front_end, accepted=True)
        result['warnings'] += job.other_recordings()
    for part, table in {**predictions, **ended.excerpts}.items():
        table.save(workdir / 'predictions' / f'{part}.npz')
    train_s = ended.trained_s - ended.prepared_s
    examples = (last_step - ended.first_step) * config.train.batch_size
    timing = {
        'prepare_s': ended.prepared_s - ended.started_s,
        'train_s': train_s,
        'train_parts_s': ended.train_parts_s,
        'evaluate_s': time.monotonic() - ended.trained_s - ended.look_s,
        'look_s': ended.look_s,
        'examples_per_s': examples / train_s,
    }
    write_json(workdir / 'timing.json', timing)
    source = {'step': ended.best_step}
    run_folder.save_model(job, best, OF_RUN, source, workdir / 'model')
    rule, space = ended.rejection or (None, None)
    confidence.save({**calibrate(predictions), 'reject': rule}, space, workdir / 'model')
    if job.stored.kind == 'audio':
        heard.save(data, workdir / 'model')
    logbook.finish(result)
    write_json(workdir / 'result.json', result)
    report.write_report(workdir)
    logbook.keep_page()
    return result
