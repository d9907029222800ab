"""Launch recipes: what they would do (dry runs, stub tools), and the local one for real."""

import json
import os
import pathlib
import re
import shlex
import signal
import stat
import subprocess
import sys
import time

import pytest
import yaml

from tests.program import ROOT

AWKWARD = 'it\'s 100% $HOME "x" $(JAX_PROCESS_ID)'  # a folder's name that shells trip over

CLUSTER = {
    'slurm': '--nodes=2 --gpus_per_node=4 --time=1:00:00 --partition=gpu'.split(),
    'tpu_vm': '--name=run-1 --zone=z --accelerator_type=v6e-16 --runtime_version=v2 '
    '--repo=https://example.com/g --commit=abc'.split(),
    'gke': '--name=run-1 --image=i --nodes=2 --claim=c --accelerator=nvidia-l4 --devices_per_node=8'.split(),
    'skypilot': '--name=run-1 --bucket=gs://b --nodes=2 --accelerators=A100:8 --spot'.split(),
}
WORKDIR = {'slurm': '/r', 'tpu_vm': '/r', 'gke': '/data', 'skypilot': '/bucket'}


def launch(
    recipe: str, *arguments: str, as_module: bool = True, path: str | None = None, **options
) -> subprocess.CompletedProcess:
    """Runs a recipe to its end; `path` replaces PATH."""
    words = ['-m', f'launch.{recipe}'] if as_module else [f'launch/{recipe}.py']
    environment = {**os.environ, **({'PATH': path} if path else {}), **options.pop('env', {})}
    return subprocess.run(
        [sys.executable, *words, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        **options,
    )


def cluster(recipe: str, *more: str) -> list[str]:
    """Arguments of a cluster's recipe, the workdir as awkward as can be."""
    program = ['--', '--config=c.py', f'--workdir={WORKDIR[recipe]}/{AWKWARD}']
    return [*CLUSTER[recipe], *more, *program]


def expected(recipe: str) -> list[str]:
    """The command line that the program has to receive, after `python`."""
    workdir = f'--workdir={WORKDIR[recipe]}/{AWKWARD}'
    return ['-m', 'genre_jax.main', '--config=c.py', workdir, '--distributed']


@pytest.fixture
def tools(tmp_path):
    """Makes a folder of stub executables: `tools(name, script)` writes one and returns a PATH."""

    def make(name: str, script: str) -> str:
        file = tmp_path / 'bin' / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(f'#!/bin/bash\n{script}')
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
        return f'{file.parent}:/usr/bin:/bin'

    return make


# --- all recipes


@pytest.mark.parametrize('recipe', [*CLUSTER, 'local'])
def test_recipe_runs_by_path_and_as_module(recipe):
    flags = [*CLUSTER.get(recipe, ['--processes=1']), '--dry-run', '--config=c']
    for as_module in (True, False):
        workdir = f'--workdir={WORKDIR.get(recipe, "")}/x'
        done = launch(recipe, *flags, workdir, as_module=as_module)
        assert done.returncode == 0, done.stderr
        assert 'genre_jax.main' in done.stdout


@pytest.mark.parametrize('recipe', [*CLUSTER, 'local'])
def test_missing_workdir_is_one_line(recipe):
    done = launch(recipe, *CLUSTER.get(recipe, ['--processes=1']), '--', '--config=c.py')
    assert done.returncode == 2
    assert done.stderr.startswith('error: --workdir is missing') and done.stderr.count('\n') == 1


@pytest.mark.parametrize(
    ('recipe', 'tool'),
    [('slurm', 'sbatch'), ('tpu_vm', 'gcloud'), ('gke', 'kubectl'), ('skypilot', 'sky')],
)
def test_missing_tool_is_one_line(recipe, tool, tmp_path):
    done = launch(recipe, *cluster(recipe), path=str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.startswith(f'error: {tool} is not on the PATH') and done.stdout == ''
    assert done.stderr.count('\n') == 1


@pytest.mark.parametrize('recipe', ['gke', 'skypilot'])
def test_workdir_that_dies_with_the_machine_is_refused(recipe):
    done = launch(recipe, *CLUSTER[recipe], '--dry-run', '--config=c.py', '--workdir=runs/x')
    assert done.returncode == 2
    assert 'would be lost' in done.stderr and done.stderr.count('\n') == 1


@pytest.mark.parametrize(
    ('recipe', 'tool', 'words'),
    [
        ('slurm', 'sbatch', []),
        ('gke', 'kubectl', ['apply', '-f']),
        ('skypilot', 'sky', ['jobs', 'launch', '--yes']),
    ],
)
def test_submitted_document_is_the_one_of_the_dry_run(recipe, tool, words, tools, tmp_path):
    path = tools(
        tool,
        f'printf "%s\\n" "${{@:1:$#-1}}" > {tmp_path}/words\ncat "${{@: -1}}" > {tmp_path}/document; exit 7',
    )
    arguments = [word.replace('/r/', f'{tmp_path}/') for word in cluster(recipe)]
    done = launch(recipe, *arguments, path=path)
    assert done.returncode == 7, 'the exit code of the tool is that of the recipe'
    assert (tmp_path / 'words').read_text().split() == words
    shown = launch(recipe, '--dry-run', *arguments).stdout
    assert (tmp_path / 'document').read_text() == shown


# --- SLURM


def test_slurm_script():
    script = launch('slurm', '--dry-run', *cluster('slurm')).stdout
    assert subprocess.run(['bash', '-n'], input=script, text=True).returncode == 0
    directives = [
        shlex.split(line.removeprefix('#SBATCH '))[0]
        for line in script.splitlines()
        if line.startswith('#SBATCH ')
    ]
    assert {
        '--nodes=2',
        '--ntasks-per-node=4',
        '--gpus-per-node=4',
        '--time=1:00:00',
        '--partition=gpu',
        '--requeue',
        '--signal=TERM@120',
        '--open-mode=append',
        f'--output=/r/{AWKWARD}/slurm-%j.out'.replace('100%', '100%%'),
    } <= set(directives)


@pytest.mark.parametrize(
    ('code', 'restarts', 'requeued'),
    [(0, 0, False), (1, 0, False), (2, 0, False), (143, 0, True), (143, 200, True), (75, 0, True)]
    + [(75, 99, True), (75, 100, False)],
)
def test_slurm_script_requeues_what_may_go_on(code, restarts, requeued, tools, tmp_path):
    tools('srun', f'printf "%s\\0" "$@" > {tmp_path}/srun; exit {code}')
    path = tools('scontrol', f'echo "$@" > {tmp_path}/scontrol')
    script = launch('slurm', '--dry-run', '--python=py', *cluster('slurm')).stdout
    variables = {'SLURM_JOB_ID': '17'} | ({'SLURM_RESTART_COUNT': str(restarts)} if restarts else {})
    done = subprocess.run(['bash', '-c', script], env={'PATH': path, **variables})
    assert done.returncode == code
    words = (tmp_path / 'srun').read_text().split('\0')[:-1]
    assert words[words.index('py') + 1 :] == expected('slurm')
    if requeued:
        assert (tmp_path / 'scontrol').read_text().split() == ['requeue', '17']
    else:
        assert not (tmp_path / 'scontrol').exists()


# --- TPU VM: the script runs with a stub of gcloud that keeps the TPU's state in a file

GCLOUD = """
echo "$*" | head -n1 >> {folder}/calls
case "$*" in
    *describe*) cat {folder}/state 2> /dev/null ;;
    *' create '*) echo ACTIVE > {folder}/state ;;
    *' delete '*) rm {folder}/state ;;
    *'ssh '*git*) ;;
    *'ssh '*) printf '%s' "${{@: -1}}" > {folder}/remote; exit {code} ;;
esac
"""


@pytest.mark.parametrize(
    ('state', 'flags', 'calls'),
    [
        (None, ['--spot'], ['create', 'ssh', 'ssh']),
        ('ACTIVE', [], ['ssh', 'ssh']),
        ('SUSPENDED', ['--delete'], ['delete', 'create', 'ssh', 'ssh', 'delete']),
    ],
)
def test_tpu_vm_script(state, flags, calls, tools, tmp_path):
    path = tools('gcloud', GCLOUD.format(folder=tmp_path, code=143))
    if state:
        (tmp_path / 'state').write_text(f'{state}\n')
    done = launch('tpu_vm', *cluster('tpu_vm', *flags), path=path)
    assert done.returncode == 143, done.stderr
    made = [
        line
        for line in (tmp_path / 'calls').read_text().splitlines()
        if line.startswith('compute tpus') and ' describe ' not in line
    ]
    assert [next(word for word in line.split() if word in calls) for line in made] == calls
    assert all('run-1' in line and '--zone=z' in line for line in made)
    assert ('--spot' in made[0]) == ('--spot' in flags)

    # What the workers' shell makes of the remote command, with `exec` replaced to see the words.
    remote = (tmp_path / 'remote').read_text().removeprefix('--command=')
    assert remote.startswith('cd genre_jax && exec ~/venv/bin/python ')
    words = remote.replace('cd genre_jax && exec', "printf '%s\\0'")
    seen = subprocess.run(['bash', '-c', words], capture_output=True, text=True).stdout
    assert seen.split('\0')[1:-1] == expected('tpu_vm')


def test_tpu_vm_script_starts_again_after_a_fault_of_the_machine(tools, tmp_path):
    (tmp_path / 'state').write_text('ACTIVE\n')
    ending = '[ -e {folder}/second ] && exit 0; [ -e {folder}/first ] && touch {folder}/second; '
    ending += 'touch {folder}/first; exit 75'
    path = tools('gcloud', GCLOUD.replace('exit {code}', ending).format(folder=tmp_path))
    done = launch('tpu_vm', *cluster('tpu_vm'), path=path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / 'calls').read_text().count(' ssh ') == 1 + 3  # installed once
    for name in ('first', 'second', 'calls'):
        (tmp_path / name).unlink()
    done = launch('tpu_vm', '--max_restarts=0', *cluster('tpu_vm'), path=path)
    assert done.returncode == 75
    assert (tmp_path / 'calls').read_text().count(' ssh ') == 1 + 1


# --- Kubernetes


TYPES = json.loads(pathlib.Path(__file__).with_name('jobset_types.json').read_text())
SCALARS = {'string': str, 'integer': int, 'boolean': bool}


def faults(value, kind, place):
    """Yields where a value is not what Kubernetes takes: a field unknown, missing or of another type.

    The types are those of JobSet v1alpha2 and of all that it holds, as the package kubeflow-trainer-api
    2.3.0 has them from the published descriptions; '?' ends the name of a field that may be absent.
    """
    if isinstance(kind, list):
        if not isinstance(value, list):
            yield f'{place}: {value!r} is no list'
            return
        for i, item in enumerate(value):
            yield from faults(item, kind[0], f'{place}[{i}]')
    elif isinstance(kind, dict):
        for key, item in value.items():
            yield from faults(item, kind['*'], f'{place}[{key}]')
    elif kind in TYPES and 'actual_instance?' not in TYPES[kind]:
        if not isinstance(value, dict):
            yield f'{place}: {value!r} is no {kind}'
            return
        fields = {name.rstrip('?'): inner for name, inner in TYPES[kind].items()}
        needed = {name for name in TYPES[kind] if not name.endswith('?')}
        yield from (f'{place}: {name} is not known' for name in value.keys() - fields)
        yield from (f'{place}: {name} is missing' for name in needed - value.keys())
        for name in value.keys() & fields:
            yield from faults(value[name], fields[name], f'{place}.{name}')
    elif kind in SCALARS and type(value) is not SCALARS[kind]:
        yield f'{place}: {value!r} is no {kind}'


GPUS = cluster('gke', '--spot')
TPU_AND_BUCKET = (
    '--name=t --image=i --nodes=4 --bucket=b --accelerator=tpu-v6e-slice --topology=4x4 '
    '--devices_per_node=4 --config=c.py --workdir=/data/x'
).split()


@pytest.mark.parametrize('arguments', [GPUS, TPU_AND_BUCKET])
def test_gke_manifest_has_the_types_of_the_published_api(arguments):
    manifest = yaml.safe_load(launch('gke', '--dry-run', *arguments).stdout)
    assert list(faults(manifest, 'JobSet', 'jobset')) == []
    assert manifest['apiVersion'] == 'jobset.x-k8s.io/v1alpha2'
    job = manifest['spec']['replicatedJobs'][0]['template']['spec']
    container = job['template']['spec']['containers'][0]
    container['comand'] = container.pop('command')
    job['completions'] = '2'
    del container['name']
    assert len(list(faults(manifest, 'JobSet', 'jobset'))) == 3


def test_gke_manifest_for_gpus():
    manifest = yaml.safe_load(launch('gke', '--dry-run', *GPUS).stdout)
    assert (manifest['kind'], manifest['metadata']['name']) == ('JobSet', 'run-1')
    assert manifest['spec']['network']['enableDNSHostnames'] is True
    policy = manifest['spec']['failurePolicy']
    assert policy['maxRestarts'] > 0
    (rule,) = policy['rules']
    assert (rule['action'], rule['onJobFailureReasons']) == ('FailJobSet', ['PodFailurePolicy'])
    # The pattern of the JobSet API for the name of a rule: no dashes.
    assert re.fullmatch('[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?', rule['name'])
    job = manifest['spec']['replicatedJobs'][0]['template']['spec']
    assert (job['parallelism'], job['completions'], job['completionMode']) == (2, 2, 'Indexed')
    # 143 has no rule of its own: any failure but a mistake of the user restarts the set.
    assert job['backoffLimit'] == 0
    assert [rule['onExitCodes']['values'] for rule in job['podFailurePolicy']['rules']] == [[2]]
    pod = job['template']['spec']
    assert pod['restartPolicy'] == 'Never'
    assert pod['nodeSelector'] == {
        'cloud.google.com/gke-accelerator': 'nvidia-l4',
        'cloud.google.com/gke-spot': 'true',
    }
    main = pod['containers'][0]
    # In a Kubernetes command $$ is a dollar sign and $(NAME) would be expanded.
    assert [word.replace('$$', '$') for word in main['command'][1:]] == expected('gke')
    assert '$$(JAX_PROCESS_ID)' in main['command'][4]
    assert main['resources']['limits'] == {'nvidia.com/gpu': 8}
    variables = {each['name']: each for each in main['env']}
    # Pod 0 of job 0 of the replicated job `workers`, in the JobSet's own headless service.
    assert variables['JAX_COORDINATOR_ADDRESS']['value'].startswith('run-1-workers-0-0.run-1:')
    assert variables['JAX_NUM_PROCESSES']['value'] == '2'
    assert 'job-completion-index' in str(variables['JAX_PROCESS_ID']['valueFrom'])
    mounts = {mount['name']: mount['mountPath'] for mount in main['volumeMounts']}
    assert mounts['runs'] == '/data'
    assert {'name': 'runs', 'persistentVolumeClaim': {'claimName': 'c'}} in pod['volumes']


def test_gke_manifest_for_a_tpu_slice_and_a_bucket():
    manifest = yaml.safe_load(launch('gke', '--dry-run', *TPU_AND_BUCKET).stdout)
    assert manifest['metadata']['annotations'] == {
        'alpha.jobset.sigs.k8s.io/exclusive-topology': 'cloud.google.com/gke-nodepool'
    }
    template = manifest['spec']['replicatedJobs'][0]['template']['spec']['template']
    pod = template['spec']
    assert pod['nodeSelector'] == {
        'cloud.google.com/gke-tpu-accelerator': 'tpu-v6e-slice',
        'cloud.google.com/gke-tpu-topology': '4x4',
    }
    assert pod['containers'][0]['resources']['limits'] == {'google.com/tpu': 4}
    assert pod['containers'][0]['env'] == [], 'on TPUs jax asks the environment that GKE makes'
    assert template['metadata']['annotations'] == {'gke-gcsfuse/volumes': 'true'}
    assert pod['volumes'][0]['csi']['volumeAttributes'] == {'bucketName': 'b'}


@pytest.mark.parametrize(
    'flags',
    [
        ['--accelerator=nvidia-l4'],
        ['--accelerator=tpu-v6e-slice', '--devices_per_node=4'],
        ['--name=Not_A_Label'],
    ],
)
def test_gke_refuses_contradictions(flags):
    others = '--dry-run --config=c.py --workdir=/data/x'
    done = launch('gke', '--name=t', '--image=i', '--claim=c', *flags, *others.split())
    assert done.returncode == 2 and 'Traceback' not in done.stderr and done.stdout == ''


# --- SkyPilot


def test_skypilot_task(tools, tmp_path):
    task = yaml.safe_load(launch('skypilot', '--dry-run', *cluster('skypilot')).stdout)
    assert (task['name'], task['num_nodes']) == ('run-1', 2)
    assert task['resources'] == {
        'accelerators': 'A100:8',
        'use_spot': True,
        'job_recovery': {'recover_on_exit_codes': [75, 143]},
    }
    assert task['file_mounts'] == {'/bucket': {'source': 'gs://b', 'mode': 'MOUNT'}}
    assert subprocess.run(['bash', '-n'], input=task['setup'], text=True).returncode == 0

    # The run script on the second of two nodes, its Python replaced by a stub.
    python = tmp_path / 'venv/bin/python'
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/bash\nenv > {tmp_path}/env; printf "%s\\0" "$@" > {tmp_path}/words')
    python.chmod(0o755)
    subprocess.run(
        ['bash', '-c', task['run']],
        check=True,
        env={
            'HOME': str(tmp_path),
            'PATH': '/usr/bin:/bin',
            'SKYPILOT_NODE_IPS': '10.0.0.1\n10.0.0.2',
            'SKYPILOT_NUM_NODES': '2',
            'SKYPILOT_NODE_RANK': '1',
        },
    )
    assert (tmp_path / 'words').read_text().split('\0')[:-1] == expected('skypilot')
    variables = dict(line.partition('=')[::2] for line in (tmp_path / 'env').read_text().splitlines())
    assert variables['JAX_COORDINATOR_ADDRESS'].startswith('10.0.0.1:')
    assert (variables['JAX_NUM_PROCESSES'], variables['JAX_PROCESS_ID']) == ('2', '1')


# --- local processes

STUB = """
import json, os, pathlib, signal, subprocess, sys, time
process = int(os.environ['JAX_PROCESS_ID'])
folder = pathlib.Path(__file__).parent
worker = subprocess.Popen(['sleep', '60']) if '--worker' in sys.argv else None
pids = [os.getpid(), *([worker.pid] if worker else [])]
facts = {'pids': pids, 'argv': sys.argv[1:],
         'env': {k: v for k, v in os.environ.items() if k.startswith('JAX_')}}
def stop(number, frame):
    print('saved', flush=True)
    sys.exit(143)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
if '--deaf' in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
else:
    signal.signal(signal.SIGTERM, stop)
(folder / f'{process}.tmp').write_text(json.dumps(facts))
(folder / f'{process}.tmp').rename(folder / f'{process}.json')
print(f'hello\\nfrom {process}', flush=True)
print('and stderr', file=sys.stderr, flush=True)
for argument in sys.argv:
    if argument.startswith(f'--end{process}='):
        while len(list(folder.glob('*.json'))) < int(os.environ['JAX_NUM_PROCESSES']):
            time.sleep(0.01)
        code = int(argument.partition('=')[2])
        if code == 75:
            (folder / f'{time.time_ns()}.fault').touch()
            code = 75 if len(list(folder.glob('*.fault'))) < 3 else 0
        os.kill(os.getpid(), -code) if code < 0 else sys.exit(code)
time.sleep(60)
"""


class Local:
    """A local launch of a stub program."""

    def __init__(self, folder: pathlib.Path, processes: int, *arguments: str, grace_s: float = 0.3):
        (folder / 'stub.py').write_text(STUB)
        self.folder, self.processes = folder, processes
        own = [f'--processes={processes}', f'--grace_s={grace_s}', '--module=stub']
        program = ['--config=c', '--workdir=w', *arguments]
        self.words = [sys.executable, 'launch/local.py', *own, '--', *program]
        self.running = subprocess.Popen(
            self.words,
            cwd=ROOT,
            env={**os.environ, 'PYTHONPATH': str(folder)},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def facts(self) -> list[dict]:
        """What each process wrote about itself, once all have."""
        files = [self.folder / f'{i}.json' for i in range(self.processes)]
        deadline_s = time.monotonic() + 20
        while not all(file.exists() for file in files):
            assert time.monotonic() < deadline_s, 'the processes did not start'
            time.sleep(0.01)
        return [json.loads(file.read_text()) for file in files]

    def end(self) -> tuple[int, str, str]:
        """Exit code, standard output and error of the launcher; nobody may survive it."""
        output, errors = self.running.communicate(timeout=20)
        for facts in self.facts():
            for pid in facts['pids']:
                assert not alive(pid), f'process {pid} outlived the launcher'
        return self.running.returncode, output, errors


def alive(pid: int) -> bool:
    """Whether a process exists and is not a zombie waiting for its parent."""
    try:
        state = pathlib.Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0]
    except FileNotFoundError:
        return False
    return state != 'Z'


needs_proc = pytest.mark.skipif(
    not pathlib.Path('/proc/self/stat').exists(), reason='looks for surviving processes in /proc'
)


@needs_proc
def test_local_environment_arguments_and_prefixes(tmp_path):
    run = Local(tmp_path, 3, '--end0=0', '--end1=0', '--end2=0')
    code, output, errors = run.end()
    facts = run.facts()
    assert code == 0
    assert [each['env']['JAX_PROCESS_ID'] for each in facts] == ['0', '1', '2']
    assert {each['env']['JAX_NUM_PROCESSES'] for each in facts} == {'3'}
    assert len({each['env']['JAX_COORDINATOR_ADDRESS'] for each in facts}) == 1
    assert [each['env']['JAX_LOCAL_DEVICE_IDS'] for each in facts] == ['0', '1', '2']
    ends = ['--end0=0', '--end1=0', '--end2=0']
    assert facts[1]['argv'] == ['--config=c', '--workdir=w', *ends, '--distributed']
    others = [f'[{i}] {line}' for i in (1, 2) for line in ('hello', f'from {i}', 'and stderr')]
    assert sorted(output.splitlines()) == sorted(['hello', 'from 0', *others])
    assert errors == 'and stderr\n', 'process 0 keeps its two streams'


@needs_proc
@pytest.mark.parametrize(('end', 'code'), [(2, 2), (5, 5), (-signal.SIGKILL, 137)])
@pytest.mark.parametrize('failing', [0, 1])
def test_local_failure_of_one_ends_all(failing, end, code, tmp_path):
    run = Local(tmp_path, 2, f'--end{failing}={end}', '--deaf', '--worker')
    run.facts()
    begin_s = time.monotonic()
    assert run.end()[0] == code
    assert time.monotonic() - begin_s < 5


@needs_proc
def test_local_starts_again_after_a_fault_of_the_machine(tmp_path):
    code, output, errors = Local(tmp_path, 2, '--end0=75', '--end1=0', grace_s=5).end()
    assert code == 0
    assert output.count('from 0') == 3
    assert errors.count('all start again') == 2 and '8 more times' in errors


@needs_proc
def test_local_waits_for_those_still_at_work_when_one_is_done(tmp_path):
    run = Local(tmp_path, 2, '--end1=0', grace_s=0)
    pid = run.facts()[1]['pids'][0]
    while alive(pid):
        time.sleep(0.01)
    time.sleep(0.3)
    assert run.running.poll() is None
    run.running.send_signal(signal.SIGTERM)
    assert run.end()[0] == 143


@needs_proc
@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_local_forwards_signals(number, tmp_path):
    run = Local(tmp_path, 2, '--worker', grace_s=10)
    run.facts()
    run.running.send_signal(number)
    code, output, _ = run.end()
    if number == signal.SIGTERM:
        assert code == 143
        assert output.count('saved') == 2 and '[1] saved\n' in output
    else:
        assert code == 130  # Python's own end by KeyboardInterrupt


@needs_proc
def test_local_second_signal_kills(tmp_path):
    run = Local(tmp_path, 2, '--deaf', '--worker', grace_s=10)
    run.facts()
    for _ in range(2):
        assert run.running.poll() is None
        run.running.send_signal(signal.SIGTERM)
        time.sleep(0.5)
    assert run.end()[0] == 143


def test_local_dry_run_can_be_pasted(tmp_path):
    (tmp_path / 'stub.py').write_text(
        'import os, sys\nprint(os.environ["JAX_PROCESS_ID"], os.environ["JAX_NUM_CPU_DEVICES"], sys.argv[2])'
    )
    flags = '--dry-run --processes=2 --devices_per_process=3 --module=stub --config=c'
    done = launch('local', *flags.split(), f'--workdir={AWKWARD}')
    lines = done.stdout.splitlines()
    assert len(lines) == 2 and 'JAX_LOCAL_DEVICE_IDS=3,4,5' in lines[1]
    for i, line in enumerate(lines):
        seen = subprocess.run(['bash', '-c', line], cwd=tmp_path, capture_output=True, text=True)
        assert seen.stdout == f'{i} 3 --workdir={AWKWARD}\n'


PIECES_STUB = """
import os
for _ in range(2000):
    print('a', 'b', 'c', os.environ['JAX_PROCESS_ID'])
"""


def test_local_lines_never_run_into_each_other(tmp_path):
    (tmp_path / 'stub.py').write_text(PIECES_STUB)
    flags = '--processes=2 --module=stub --config=c --workdir=w'
    done = launch('local', *flags.split(), env={'PYTHONPATH': str(tmp_path)})
    lines = done.stdout.splitlines()
    assert sorted(lines) == ['[1] a b c 1'] * 2000 + ['a b c 0'] * 2000


MESH_STUB = """
import os
import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

jax.distributed.initialize(num_processes=int(os.environ['JAX_NUM_PROCESSES']),
                           process_id=int(os.environ['JAX_PROCESS_ID']))
mesh = jax.make_mesh((jax.device_count(),), ('data',))
mine = 10.0 ** (2 * jax.process_index() + np.arange(2, dtype=np.float32))
rows = jax.make_array_from_process_local_data(NamedSharding(mesh, PartitionSpec('data')), mine)
total = jax.jit(lambda x: x.sum(), out_shardings=NamedSharding(mesh, PartitionSpec()))(rows)
print('sum', int(total), 'devices', jax.local_device_count(), jax.device_count())
"""


def test_local_processes_share_one_mesh(tmp_path):
    (tmp_path / 'stub.py').write_text(MESH_STUB)
    flags = '--processes=2 --devices_per_process=2 --module=stub --config=c --workdir=w'
    environment = {'PYTHONPATH': str(tmp_path), 'JAX_PLATFORMS': 'cpu'}
    done = launch('local', *flags.split(), env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    # Each device holds another power of ten, so the sum shows that every one of the four took part.
    lines = [line for line in done.stdout.splitlines() if 'sum' in line]
    assert sorted(lines) == ['[1] sum 1111 devices 2 4', 'sum 1111 devices 2 4']
