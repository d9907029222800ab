"""The recipe for SLURM on a real cluster, of one node: a run that is preempted ends as one that is not."""

import re
import subprocess
import sys
import time

import pytest

from tests import program
from tests.launch import slurm_cluster

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        bool(slurm_cluster.missing()),
        reason='needs a cluster: apt-get install slurmctld slurmd slurm-client munge',
    ),
]

LENGTH = '--config.train.length=40 epochs'


@pytest.fixture(scope='module')
def places(tmp_path_factory):
    home = tmp_path_factory.mktemp('slurm')
    program.write_tones(home / 'tones', songs=6)
    return home


@pytest.fixture(scope='module')
def cluster(tmp_path_factory):
    with slurm_cluster.running(tmp_path_factory.mktemp('cluster')) as environment:
        yield environment


def arguments(places, workdir):
    """Of a run on tones, as two tasks of one CPU device each."""
    return program.command(workdir, places / 'tones', places / 'prepared', LENGTH)[3:]


def submitted(words, environment):
    done = subprocess.run(words, cwd=program.ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return re.search(r'Submitted batch job (\d+)', done.stdout)[1]


def wait_until(reached, what, limit_s=300):
    deadline_s = time.monotonic() + limit_s
    while not reached():
        assert time.monotonic() < deadline_s, what
        time.sleep(0.2)


def test_a_preempted_run_goes_back_into_the_queue_and_ends_the_same(places, cluster):
    whole, workdir = places / 'whole', places / 'preempted'
    words = [sys.executable, 'launch/local.py', '--processes=2', '--', *arguments(places, whole)]
    ended = program.run(words)
    assert ended.returncode == 0, ended.stdout + ended.stderr

    environment = program.environment(SLURM_CONF=cluster['SLURM_CONF'])
    recipe = ['launch/slurm.py', '--partition=low', '--cpus_per_task=2', '--signal_s=60']
    recipe += ['--sbatch=--ntasks-per-node=2', '--', *arguments(places, workdir)]
    job = submitted([sys.executable, *recipe], environment)
    log = workdir / f'slurm-{job}.out'

    def lines():
        return log.read_text() if log.exists() else ''

    saved = workdir / 'checkpoints_sha256'
    wait_until(lambda: saved.exists() and list(saved.glob('*.json')), 'the run does not begin')
    # What has priority takes the whole node.
    submitted(
        ['sbatch', '--partition=high', '--exclusive', '--output=/dev/null', '--wrap=sleep 5'],
        environment,
    )
    wait_until(lambda: 'stopped by SIGTERM, saved at step' in lines(), lines())
    assert not (workdir / 'result.json').exists()
    wait_until(lambda: slurm_cluster.state(job, environment) == 'COMPLETED', lines())
    assert 'continuing from step' in lines()
    assert (workdir / 'metrics.jsonl').read_bytes() == (whole / 'metrics.jsonl').read_bytes()
    ours, theirs = program.result(workdir), program.result(whole)
    assert ours['state_sha256'] == theirs['state_sha256']
    assert ours['parts'] == theirs['parts']


def test_a_mistake_of_the_user_is_final(places, cluster):
    environment = program.environment(SLURM_CONF=cluster['SLURM_CONF'])
    workdir = places / 'mistaken'
    flags = [*arguments(places, workdir), '--config.train.batch_size=-1']
    job = submitted(
        [sys.executable, 'launch/slurm.py', '--partition=low', '--cpus_per_task=1', '--', *flags],
        environment,
    )
    wait_until(lambda: slurm_cluster.state(job, environment) == 'FAILED', 'it does not fail')
    assert 'config.train.batch_size=-1' in (workdir / f'slurm-{job}.out').read_text()
