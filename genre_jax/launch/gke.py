"""Runs genre_jax.main on Kubernetes (GKE) as a JobSet, one pod per node.

    python launch/gke.py --name=run-1 --image=IMAGE --nodes=2 --claim=CLAIM \\
        --accelerator=nvidia-h100-80gb --devices_per_node=8 -- \\
        --config=configs/x.py --workdir=/data/run-1
    python launch/gke.py --name=run-1 --image=IMAGE --nodes=4 --bucket=BUCKET \\
        --accelerator=tpu-v6e-slice --topology=4x4 --devices_per_node=4 -- ...

The pods of a run live and die together: when one stops (143, 75), is preempted or crashes, JobSet starts all
again and the run continues from its workdir, which has to lie on the claim or bucket mounted at `--mount`. A
mistake of the user (exit code 2) ends it at once. Needs the JobSet controller 0.6 or later in the cluster.
"""

import json
import pathlib
import sys
from collections.abc import Sequence

if __package__ in (None, ''):  # run by path: the repository root is not on sys.path yet
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from genre_jax.errors import UserError
from genre_jax.launch import command

# Values are filled in as JSON, which is YAML that needs no further quoting.
MANIFEST = """\
apiVersion: jobset.x-k8s.io/v1alpha2
kind: JobSet
metadata:
  name: {name}
  annotations: {jobset_annotations}
spec:
  network:
    enableDNSHostnames: true
    publishNotReadyAddresses: true
  failurePolicy:
    maxRestarts: {max_restarts}
    rules:
    - name: mistakeOfTheUser
      action: FailJobSet
      onJobFailureReasons: [PodFailurePolicy]
  replicatedJobs:
  - name: workers
    replicas: 1
    template:
      spec:
        completionMode: Indexed
        parallelism: {nodes}
        completions: {nodes}
        backoffLimit: 0
        podFailurePolicy:
          rules:
          - action: FailJob
            onExitCodes: {{containerName: main, operator: In, values: [2]}}
        template:
          metadata:
            annotations: {pod_annotations}
          spec:
            restartPolicy: Never
            terminationGracePeriodSeconds: {grace_s}
            serviceAccountName: {service_account}
            nodeSelector: {node_selector}
            containers:
            - name: main
              image: {image}
              command: {command}
              env: {env}
              resources:
                limits: {limits}
              volumeMounts:
              - {{name: runs, mountPath: {mount}}}
              - {{name: shared-memory, mountPath: /dev/shm}}
            volumes:
            - {runs}
            # 64 MB, the default, is too little for NCCL and for data-loading processes.
            - {{name: shared-memory, emptyDir: {{medium: Memory}}}}
"""


def main(argv: Sequence[str]) -> int:
    """Writes the manifest and applies it, or prints it; returns the exit code of kubectl."""
    flags = command.parser(__doc__)
    flags.add_argument('--name', type=command.dns_label, required=True)
    flags.add_argument('--image', required=True, help='container image with genre_jax installed')
    flags.add_argument('--nodes', type=int, default=1)
    flags.add_argument('--accelerator', help='GPU or TPU type as in the node labels of GKE')
    flags.add_argument('--topology', help='of a TPU slice, such as 4x4')
    flags.add_argument('--devices_per_node', type=int, default=0)
    flags.add_argument('--spot', action='store_true')
    storage = flags.add_mutually_exclusive_group(required=True)
    storage.add_argument('--claim', help='PersistentVolumeClaim that holds data and runs')
    storage.add_argument('--bucket', help='Cloud Storage bucket that holds data and runs')
    flags.add_argument('--mount', default='/data', help='where it appears (%(default)s)')
    flags.add_argument('--service_account', default='default')
    flags.add_argument('--max_restarts', type=int, default=100)
    flags.add_argument('--grace_s', type=int, default=120, help='seconds for saving (%(default)s)')
    options, arguments = command.parse(flags, argv)

    workdir = pathlib.PurePosixPath(options.workdir)
    if not workdir.is_relative_to(options.mount):
        raise UserError(
            f'--workdir={workdir} would be lost with the pod: put it under --mount, {options.mount}'
        )
    if bool(options.accelerator) != bool(options.devices_per_node):
        raise UserError('--accelerator and --devices_per_node go together: give both or neither')
    tpu = bool(options.accelerator) and options.accelerator.startswith('tpu')
    if tpu != bool(options.topology):
        raise UserError('--topology is needed for a TPU --accelerator, and only there')

    limits, selector = {}, {}
    if options.accelerator:
        limits['google.com/tpu' if tpu else 'nvidia.com/gpu'] = options.devices_per_node
        kind = 'gke-tpu-accelerator' if tpu else 'gke-accelerator'
        selector[f'cloud.google.com/{kind}'] = options.accelerator
    if tpu:
        selector['cloud.google.com/gke-tpu-topology'] = options.topology
    if options.spot:
        selector['cloud.google.com/gke-spot'] = 'true'
    if options.claim:
        runs = {'persistentVolumeClaim': {'claimName': options.claim}}
    else:
        bucket = {'bucketName': options.bucket}
        runs = {'csi': {'driver': 'gcsfuse.csi.storage.gke.io', 'volumeAttributes': bucket}}
    # On TPUs jax finds the other pods in GKE's variables. On GPUs it would ask the Kubernetes API,
    # which takes one more package in the image and a service account that may read pods and jobs.
    address = f'{options.name}-workers-0-0.{options.name}:{command.COORDINATOR_PORT}'
    index = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
    coordinates = [
        {'name': 'JAX_COORDINATOR_ADDRESS', 'value': address},
        {'name': 'JAX_NUM_PROCESSES', 'value': str(options.nodes)},
        {'name': 'JAX_PROCESS_ID', 'valueFrom': {'fieldRef': {'fieldPath': index}}},
    ]
    # All pods on one node pool, which is one slice.
    one_pool = {'alpha.jobset.sigs.k8s.io/exclusive-topology': 'cloud.google.com/gke-nodepool'}
    values = {
        **vars(options),
        'jobset_annotations': one_pool if tpu else {},
        'pod_annotations': {'gke-gcsfuse/volumes': 'true'} if options.bucket else {},
        'node_selector': selector,
        # Kubernetes expands $(NAME) in a command; $$ stands for a plain dollar sign.
        'command': [word.replace('$', '$$') for word in command.program(options, arguments)],
        'env': [] if tpu else coordinates,
        'limits': limits,
        'runs': {'name': 'runs', **runs},
    }
    texts = {name: json.dumps(value, ensure_ascii=False) for name, value in values.items()}
    return command.submit(MANIFEST.format_map(texts), ['kubectl', 'apply', '-f'], '.yaml', options)


if __name__ == '__main__':
    command.run_as_program(main)
