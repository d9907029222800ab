"""A SLURM cluster of one node on this machine: munged, slurmctld and slurmd of Debian's packages, as root.

apt-get install slurmctld slurmd slurm-client munge
"""

import contextlib
import os
import pathlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator

PROGRAMS = ('munged', 'mungekey', 'slurmctld', 'slurmd', 'sbatch', 'scontrol')

# A preempted job has its GraceTime to end; what goes back into the queue waits as long as credentials last.
CONF = """\
ClusterName=here
SlurmctldHost={host}
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/pgid
TaskPlugin=task/none
MpiDefault=none
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=2,batch_sched_delay=1,sched_min_interval=100000
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
NodeName={host} CPUs=8 State=UNKNOWN
PartitionName=low Nodes={host} Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime=120 MaxTime=INFINITE
PartitionName=high Nodes={host} PriorityTier=10 PreemptMode=OFF MaxTime=INFINITE
"""


def missing() -> list[str]:
    """Returns what is not installed."""
    return [name for name in PROGRAMS if shutil.which(name) is None]


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.create_server(('', 0))) for _ in range(count)]
        return [probe.getsockname()[1] for probe in probes]


@contextlib.contextmanager
def running(folder: pathlib.Path) -> Iterator[dict[str, str]]:
    """Starts a cluster whose files lie in a folder; yields the environment for its commands."""
    folder.chmod(0o755)
    for name in ('state', 'spool'):
        (folder / name).mkdir()
    key, host = folder / 'munge.key', socket.gethostname().partition('.')[0]
    subprocess.run(['mungekey', '--create', f'--keyfile={key}'], check=True)
    (folder / 'slurm.conf').write_text(CONF.format(host=host, ports=_free_ports(2), folder=folder))
    environment = os.environ | {'SLURM_CONF': str(folder / 'slurm.conf')}
    files = [f'--{name}-file={folder}/munge.{name}' for name in ('log', 'pid', 'seed')]
    daemons = [
        [
            'munged',
            '--foreground',
            '--force',
            f'--key-file={key}',
            f'--socket={folder}/munge.socket',
        ]
        + files,
        ['slurmctld', '-D', '-i'],
        ['slurmd', '-D', '-N', host],
    ]
    with contextlib.ExitStack() as stack:
        for words in daemons:
            log = stack.enter_context((folder / f'{words[0]}.log').open('w'))
            daemon = subprocess.Popen(words, env=environment, stdout=log, stderr=log)
            stack.callback(daemon.wait)
            stack.callback(daemon.terminate)
            time.sleep(1)
        deadline_s = time.monotonic() + 60
        while 'idle' not in _output(['sinfo', '--noheader', '--format=%T'], environment):
            if time.monotonic() > deadline_s:
                logs = [(folder / f'{words[0]}.log').read_text()[-2000:] for words in daemons]
                raise RuntimeError('the cluster does not start:\n' + '\n'.join(logs))
            time.sleep(0.5)
        yield environment


def state(job: str, environment: dict[str, str]) -> str:
    """Returns the state of a job: PENDING, RUNNING, COMPLETED, ..."""
    words = ['scontrol', 'show', 'job', '--oneliner', job]
    fields = dict(word.partition('=')[::2] for word in _output(words, environment).split())
    return fields.get('JobState', 'GONE')


def _output(words: list[str], environment: dict[str, str]) -> str:
    return subprocess.run(words, env=environment, capture_output=True, text=True).stdout
