"""Runs genre_jax.main on any cloud as a managed job of SkyPilot, one process per node.

    python launch/skypilot.py --name=run-1 --accelerators=A100:8 --nodes=2 --spot \\
        --bucket=gs://BUCKET -- --config=configs/x.py --workdir=/bucket/run-1

SkyPilot uploads this checkout, rents machines, starts the job again elsewhere when they are preempted (and
when the run exits with 143, or with 75, a machine's fault), and gives them back at the end. The run continues
from its workdir, which has to lie on the bucket, mounted at /bucket. For TPUs: launch/tpu_vm.py, gke.py.
"""

import json
import pathlib
import shlex
import sys
import textwrap
from collections.abc import Sequence

if __package__ in (None, ''):  # run by path: the repository root is not on sys.path yet
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from genre_jax.errors import UserError
from genre_jax.launch import command

MOUNT = '/bucket'

# Values are filled in as JSON, which is YAML that needs no further quoting.
TASK = """\
name: {name}
num_nodes: {nodes}
workdir: .
resources: {resources}
file_mounts:
  {mount}: {{source: {bucket}, mode: MOUNT}}
setup: |
{setup}
run: |
{run}
"""

SETUP = """\
python -m pip install uv
python -m uv venv --allow-existing --python=3.12 ~/venv
python -m uv pip install --python ~/venv/bin/python --editable . {requirement}
"""

# jax.distributed knows nothing of SkyPilot; the first node is the coordinator.
RUN = """\
export JAX_COORDINATOR_ADDRESS="$(head -n1 <<< "$SKYPILOT_NODE_IPS"):{port}"
export JAX_NUM_PROCESSES="$SKYPILOT_NUM_NODES" JAX_PROCESS_ID="$SKYPILOT_NODE_RANK"
exec ~/venv/bin/{program}
"""


def main(argv: Sequence[str]) -> int:
    """Writes the task and launches it, or prints it; returns the exit code of sky."""
    flags = command.parser(__doc__)
    flags.add_argument('--name', type=command.dns_label, required=True)
    flags.add_argument('--bucket', required=True, help='gs://, s3://, ... mounted at /bucket')
    flags.add_argument('--nodes', type=int, default=1)
    flags.add_argument('--accelerators', help='GPUs of each node, such as A100:8')
    flags.add_argument('--spot', action='store_true')
    flags.add_argument('--infra', help='cloud, region or cluster; SkyPilot chooses by default')
    options, arguments = command.parse(flags, argv)

    workdir = pathlib.PurePosixPath(options.workdir)
    if not workdir.is_relative_to(MOUNT):
        raise UserError(f'--workdir={workdir} would be lost with the machine: put it under {MOUNT}')
    if (options.accelerators or '').lower().startswith('tpu'):
        raise UserError(f'--accelerators={options.accelerators}: for TPUs use launch/tpu_vm.py')

    where = {'infra': options.infra, 'accelerators': options.accelerators}
    resources = {key: value for key, value in where.items() if value}
    resources |= {'use_spot': options.spot, 'job_recovery': {'recover_on_exit_codes': [75, 143]}}
    program = shlex.join(command.program(options, arguments))
    run = RUN.format(port=command.COORDINATOR_PORT, program=program)
    setup = SETUP.format(requirement="'jax[cuda12]'" if options.accelerators else 'jax')
    task = TASK.format(
        name=json.dumps(options.name),
        nodes=options.nodes,
        resources=json.dumps(resources),
        mount=MOUNT,
        bucket=json.dumps(options.bucket),
        setup=textwrap.indent(setup, '  ').rstrip(),
        run=textwrap.indent(run, '  ').rstrip(),
    )
    return command.submit(task, ['sky', 'jobs', 'launch', '--yes'], '.yaml', options)


if __name__ == '__main__':
    command.run_as_program(main)
