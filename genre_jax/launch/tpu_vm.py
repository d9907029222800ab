"""Runs genre_jax.main on a Cloud TPU VM, single host or pod slice, with gcloud.

    python launch/tpu_vm.py --name=run-1 --zone=us-east5-b --accelerator_type=v6e-16 \\
        --runtime_version=v2-alpha-tpuv6e --spot --delete \\
        --repo=https://github.com/ME/genre_jax --commit=COMMIT \\
        --setup='mkdir -p ~/bucket; mountpoint -q ~/bucket || gcsfuse BUCKET ~/bucket' -- \\
        --config=configs/x.py --workdir=/home/ME/bucket/run-1

Queues for the TPU, waits for it, installs that commit on all workers and runs it there;
jax.distributed.initialize() finds the other workers through the TPU's metadata. The same command
again reuses the TPU, or replaces it if it was preempted, and continues the run; for that, and for
more than one host, the workdir must lie on storage that all workers share, mounted by `--setup`
(which every launch repeats).
"""

import pathlib
import shlex
import sys
from collections.abc import Sequence

if __package__ in (None, ''):  # run by path: the repository root is not on sys.path yet
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from genre_jax.launch import command

SCRIPT = """\
#!/bin/bash
set -euo pipefail
name={name}
place=({place})

state() {{
    gcloud compute tpus queued-resources describe "$name" "${{place[@]}}" \\
        --format='value(state.state)' 2> /dev/null || true
}}
delete() {{
    gcloud compute tpus queued-resources delete "$name" "${{place[@]}}" --force --quiet
}}
on_all_workers() {{
    gcloud compute tpus tpu-vm ssh "$name" "${{place[@]}}" --worker=all --command="$1"
}}

# A preempted TPU never comes back: its queued resource has to make room for a new one.
case "$(state)" in SUSPENDED | FAILED) delete ;; esac
if [ -z "$(state)" ]; then
    gcloud compute tpus queued-resources create "$name" --node-id="$name" "${{place[@]}}" \\
        {create}
fi
{trap}until [ "$(state)" = ACTIVE ]; do
    case "$(state)" in SUSPENDED | FAILED) echo "$name: $(state)" >&2; exit 1 ;; esac
    sleep 30
done

on_all_workers {install}
# A fault of a machine or of the network that may pass.
code=75
for ((i = 0; code == 75 && i <= {max_restarts}; i++)); do
    on_all_workers {run} && code=0 || code=$?
done
exit "$code"
"""

# The system's Python of the TPU images may be older than the one genre_jax needs.
INSTALL = """\
set -e
{setup}
[ -d genre_jax ] || git clone {repo} genre_jax
cd genre_jax
git fetch origin {commit}
git checkout --detach FETCH_HEAD
python3 -m pip install --user uv
python3 -m uv venv --allow-existing --python=3.12 ~/venv
python3 -m uv pip install --python ~/venv/bin/python --editable . 'jax[tpu]'
"""

RUN = 'cd genre_jax && exec ~/venv/bin/{program}'


def main(argv: Sequence[str]) -> int:
    """Writes the script and runs it, or prints it; returns the exit code of the run on the TPU."""
    flags = command.parser(__doc__)
    flags.add_argument('--name', type=command.dns_label, required=True)
    flags.add_argument('--zone', required=True)
    flags.add_argument('--project')
    flags.add_argument('--accelerator_type', required=True, help='such as v6e-16')
    flags.add_argument('--runtime_version', required=True, help='such as v2-alpha-tpuv6e')
    flags.add_argument('--spot', action='store_true')
    flags.add_argument('--repo', required=True, help='URL to clone from')
    flags.add_argument('--commit', required=True, help='full commit hash, branch or tag')
    flags.add_argument('--setup', default='', help='shell command for every worker before that')
    flags.add_argument('--max_restarts', type=int, default=100, help='after code 75 (%(default)s)')
    flags.add_argument('--delete', action='store_true', help='delete the TPU however the run ends')
    options, arguments = command.parse(flags, argv)

    place = [f'--zone={options.zone}', *([f'--project={options.project}'] if options.project else [])]
    create = [f'--accelerator-type={options.accelerator_type}']
    create += [f'--runtime-version={options.runtime_version}', *['--spot'] * options.spot]
    install = INSTALL.format(
        setup=options.setup, repo=shlex.quote(options.repo), commit=shlex.quote(options.commit)
    )
    run = RUN.format(program=shlex.join(command.program(options, arguments)))
    script = SCRIPT.format(
        name=options.name,
        place=shlex.join(place),
        create=shlex.join(create),
        trap='trap delete EXIT\n' if options.delete else '',
        install=shlex.quote(install),
        run=shlex.quote(run),
        max_restarts=options.max_restarts,
    )
    if not options.dry_run:
        command.require('gcloud')
    return command.submit(script, ['bash'], '.sh', options)


if __name__ == '__main__':
    command.run_as_program(main)
