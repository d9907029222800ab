"""Runs genre_jax.main on a SLURM cluster, one task per GPU (per node where there are no GPUs).

    python launch/slurm.py --nodes=2 --gpus_per_node=4 --time=12:00:00 --partition=gpu -- \\
        --config=configs/x.py --workdir=runs/x

jax.distributed.initialize() finds coordinator, rank and GPU of each task in SLURM's variables.
The run is told `--signal_s` seconds before its time is over or when it is preempted, saves, exits
with 143, and goes back into the queue to continue; `scancel` ends it for good. A fault of a machine or
of the network, 75, sends it back as well, until it was started `--max_restarts` times.
"""

import os
import pathlib
import shlex
import sys
from collections.abc import Sequence

if __package__ in (None, ''):  # run by path: the repository root is not on sys.path yet
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from genre_jax.launch import command

SCRIPT = """\
#!/bin/bash
{directives}

# The signals of --signal and of a preemption with grace time go to the tasks and not to this shell:
# 143 here means that the run has saved and wants to go on, 75 a fault that may pass. scancel ends
# this shell as well, so a cancelled job stays cancelled.
srun --kill-on-bad-exit=1 {step}
code=$?
left=$(({max_restarts} - ${{SLURM_RESTART_COUNT:-0}}))
if [ "$code" -eq 143 ] || {{ [ "$code" -eq 75 ] && [ "$left" -gt 0 ]; }}; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
"""


def main(argv: Sequence[str]) -> int:
    """Writes the batch script and submits it, or prints it; returns the exit code of sbatch."""
    flags = command.parser(__doc__)
    flags.add_argument('--nodes', type=int, default=1)
    flags.add_argument('--gpus_per_node', type=int, default=0)
    flags.add_argument('--cpus_per_task', type=int, default=4)
    flags.add_argument('--time', default='24:00:00', help='time limit ([days-]hours:min:s)')
    flags.add_argument('--partition')
    flags.add_argument('--account')
    flags.add_argument('--job_name', default='genre_jax')
    flags.add_argument('--signal_s', type=int, default=120, help='seconds for saving (%(default)s)')
    flags.add_argument('--python', default=sys.executable, help='interpreter on the nodes')
    restarts = 'how often a fault of a machine sends it back (%(default)s)'
    flags.add_argument('--max_restarts', type=int, default=100, help=restarts)
    another = "another option of sbatch, such as --sbatch='--constraint=a100'"
    flags.add_argument('--sbatch', action='append', default=[], metavar='OPTION', help=another)
    options, arguments = command.parse(flags, argv)

    log = os.path.join(options.workdir, 'slurm-').replace('%', '%%') + '%j.out'
    directives = [
        f'--job-name={options.job_name}',
        f'--nodes={options.nodes}',
        f'--ntasks-per-node={max(1, options.gpus_per_node)}',
        # Not --gpus-per-task: each task must see all GPUs of its node, jax takes that of its rank there.
        *([f'--gpus-per-node={options.gpus_per_node}'] if options.gpus_per_node else []),
        f'--cpus-per-task={options.cpus_per_task}',
        f'--time={options.time}',
        *([f'--partition={options.partition}'] if options.partition else []),
        *([f'--account={options.account}'] if options.account else []),
        f'--output={log}',
        '--open-mode=append',
        '--requeue',
        f'--signal=TERM@{options.signal_s}',
        *options.sbatch,
    ]
    lines = '\n'.join(f'#SBATCH {shlex.quote(option)}' for option in directives)
    # srun does not take --cpus-per-task over from sbatch (SLURM 22.05 and later).
    step = [f'--cpus-per-task={options.cpus_per_task}']
    step += command.program(options, arguments, options.python)
    script = SCRIPT.format(directives=lines, step=shlex.join(step), max_restarts=options.max_restarts)
    if not options.dry_run:
        command.require('sbatch')
        os.makedirs(options.workdir, exist_ok=True)  # SLURM drops a job whose log it cannot create
    return command.submit(script, ['sbatch'], '.sh', options)


if __name__ == '__main__':
    command.run_as_program(main)
