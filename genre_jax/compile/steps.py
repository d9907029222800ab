"""A page's steps compiled for devices that are not there, and what they take."""

import contextlib
import importlib.util
import math
import os
import re
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

# Heavy imports are inside the functions: the environment has to be set before.

_H100 = """gpu_device_info {{
  threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152
  shared_memory_per_core: 233472 threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: {bandwidth:.0f} l2_cache_size: 52428800 clock_rate_ghz: 1.98
  device_memory_size: {memory:.0f} shared_memory_per_block_optin: 232448
  cuda_compute_capability {{ major: 9 }} registers_per_core_limit: 65536 registers_per_block_limit: 65536
}}
platform_name: "CUDA" dnn_version_info {{ major: 9 minor: 10 patch: 0 }} device_description_str: "{name}"
"""


class Kind(NamedTuple):
    """A kind of device, by its maker's data sheet; rates are a second."""

    name: str
    memory_bytes: float  # of a TPU what its compiler gives out
    bandwidth: float  # of the memory, bytes
    bfloat16: float  # operations of dense products
    float32: tuple[float, float, float]  # likewise at config.train.matmul_precision, 'highest' first
    link: float  # bytes that it sends to the others
    per_host: int


# float32: in FP32, three times and once in TF32; on TPUs in six passes of bfloat16, three and one.
_HOPPER = (67e12, 494e12 / 3, 494e12)
KINDS = {
    'h100': Kind('NVIDIA H100 80GB HBM3', 84942979072, 3.352e12, 989e12, _HOPPER, 450e9, 8),
    'h200': Kind('NVIDIA H200', 150754820096, 4.8e12, 989e12, _HOPPER, 450e9, 8),
    'v5e': Kind('TPU v5e', 15.75 * 2**30, 819e9, 197e12, (33e12, 66e12, 197e12), 200e9, 4),
    'v6e': Kind('TPU v6e', 31.25 * 2**30, 1640e9, 918e12, (153e12, 306e12, 918e12), 448e9, 4),
    'v5p': Kind('TPU v5p', 95.74 * 2**30, 2765e9, 459e12, (76e12, 153e12, 459e12), 600e9, 4),
}
# Fast memory, KiB, that TPUs' compiler may give to an operation, and where there are kernels written for them
# or running sums and pooling, for which libtpu 0.0.42.1 aborts with less. With as much as there is, as a
# training has, compiling takes several times as long: that is for kernels which are refused otherwise.
_FAST, _FAST_KIB, _FAST_KIB_MORE = 'xla_tpu_scoped_vmem_limit_kib', '4096', '6144'
_COLLECTIVE = re.compile(
    r'= (\(.*?\)|\S+) (all-reduce|all-gather|reduce-scatter|collective-permute|all-to-all)(-start)?\('
)
_MOST_HOSTS = 128  # of GPUs
_WHOLE_S = 600  # of a recording, where a page takes them whole
_ARRAY = re.compile(r'\b[a-z]+(\d*)\[([\d,]*)\]')


def devices_of(target: str) -> tuple[Kind, Sequence]:
    """Returns the kind of a target and its devices, which can be compiled for and nothing else.

    Raises:
        UserError: an unknown target, a size that it does not come in, a compiler that is not installed.
    """
    from jax.experimental import topologies

    from genre_jax.errors import UserError

    match = re.fullmatch(r'(h100|h200)x([1-9]\d{0,5})|(v5e|v6e|v5p)-([1-9]\d{0,5})', target)
    if match is None:
        raise UserError(f'--target={target}: expected h100xN, h200xN, v5e-N, v6e-N or v5p-N')
    gpu, n_gpus, tpu, n = match.groups()
    kind = KINDS[gpu or tpu]
    if gpu:
        hosts, rest = divmod(int(n_gpus), kind.per_host)
        if hosts and rest or hosts > _MOST_HOSTS:
            most = kind.per_host * _MOST_HOSTS
            raise UserError(
                f'--target={target}: expected up to {kind.per_host}, or a multiple of that up to {most}'
            )
        _require('jax_plugins.xla_cuda13', target)
        config = _H100.format(bandwidth=kind.bandwidth, memory=kind.memory_bytes, name=kind.name)
        shape = f'1x{hosts}x{kind.per_host}' if hosts else f'1x1x{rest}'
        topology = topologies.get_topology_desc('', 'cuda', target_config=config, topology=shape)
        return kind, topology.devices
    chips = int(n) / (2 if tpu == 'v5p' else 1)
    if chips not in [2**i for i in range(2 if tpu == 'v5p' else 0, 9)]:
        raise UserError(f'--target={target}: expected a power of two, of 8 to 512 cores or 1 to 256 chips')
    _require('libtpu', target)
    doublings, sides = int(math.log2(chips)), 3 if tpu == 'v5p' else 2
    shape = sorted((2 ** ((doublings + i) // sides) for i in range(sides)), reverse=sides == 3)
    name, host = f'{tpu}:{"x".join(map(str, shape))}', [*(min(side, 2) for side in shape[:2]), 1]
    topology = topologies.get_topology_desc(name, 'tpu', chips_per_host_bounds=host)
    return kind, topology.devices


def _require(package: str, target: str) -> None:
    from genre_jax.errors import UserError

    if importlib.util.find_spec(package.partition('.')[0]) is None or not importlib.util.find_spec(package):
        raise UserError(
            f'--target={target}: its compiler is not installed; in an environment of its own, '
            'pip install -r requirements-accelerators.txt'
        )


def job_on(config, devices: Sequence, classes: int):
    """Returns the Job of a page on devices; what is stored of an example follows from the page alone."""
    from genre_jax import features, sharding
    from genre_jax.data.recordings import OVER_TIME
    from genre_jax.loading.prepared import Stored
    from genre_jax.training.job import make_job

    front_end = features.build(config.features)
    rate_hz, shape = 0, {'image': (288, 432, 3), 'table': (57,)}.get(front_end.kind)  # GTZAN's
    if front_end.kind in OVER_TIME:
        rate_hz = config.data.get('sample_rate_hz') or front_end.sample_rate_hz
        shape = (math.ceil((config.windows.window_s or _WHOLE_S) * rate_hz),)
    named = config.augment.get('emphasis', {}).get('classes', ())  # that there have to be
    labels = (*named, *(f'class {i}' for i in range(len(named), classes)))
    stored = Stored(front_end.kind, shape, rate_hz, labels)
    return make_job(config, stored, 100 * config.train.batch_size, sharding.make_mesh(devices, config.mesh))


def programs(job) -> dict[str, Callable[[int], object]]:
    """Returns what traces the step of training and of evaluation, by name, for a number of examples."""
    import jax
    import jax.numpy as jnp

    from genre_jax.training import predict, step, step_numbers

    state = jax.eval_shape(lambda: step.init_state(job))
    places = jax.tree.broadcast(step.state_shardings(job), state)
    state = jax.tree.map(
        lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), state, places
    )
    numbers = jax.eval_shape(lambda: step_numbers.of_config(job.config))

    def train(batch_size: int):
        batch = job.stored.heard(batch_size)
        if job.config.train.features_once:  # as `Featured` yields them
            del batch[job.stored.kind]
            batch['features'] = jax.ShapeDtypeStruct((batch_size, *job.picture), jnp.float32)
        batch['label'] = jax.ShapeDtypeStruct((batch_size,), jnp.int32)
        groups = job.plan.groups(job.plan.unfreeze_step)  # all that ever train
        return step.train_program(job, groups).trace(numbers, state, batch)

    def evaluate(batch_size: int):
        return predict.program(job).trace(state.evaluated, job.stored.heard(batch_size))

    return {'train': train, 'eval': evaluate}


def figures(traced, kind: Kind, job) -> dict:
    """Compiles what was traced of a job; returns its figures per device, in bytes, operations and seconds.

    TPUs' compiler refuses what is too large for the memory: a UserError.
    """
    import jax
    from jax._src.lib import _jax

    from genre_jax.errors import UserError

    config, n_devices = job.config, job.mesh.size
    in_16_bits = config.model.get('dtype') == 'bfloat16'
    precision = ('highest', 'high', 'default').index(config.train.matmul_precision)
    speed = kind.bfloat16 if in_16_bits else kind.float32[precision]
    began_s = time.process_time()
    try:
        compiled = _compiled(traced.lower(), kind)
    except jax.errors.JaxRuntimeError as error:
        if not str(error).startswith('RESOURCE_EXHAUSTED'):
            raise
        raise UserError(f'too large for a {kind.name}: {str(error).splitlines()[0]}') from None
    compile_s = time.process_time() - began_s
    # What XLA says of the compiled program; jax asks a device for it, which is not there.
    module = compiled.runtime_executable().hlo_modules()[0]
    cost = compiled.cost_analysis() or _jax.hlo_module_cost_analysis(jax.devices()[0].client, module)
    memory, text = compiled.memory_analysis(), compiled.as_text()
    collectives: dict[str, dict] = {}
    for shapes, name, begins in _COLLECTIVE.findall(text):
        arrays = _ARRAY.findall(shapes)
        if begins and name == 'all-gather':  # operands, then results
            arrays = arrays[len(arrays) // 2 :]
        found = collectives.setdefault(name, {'calls': 0, 'bytes': 0})
        found['calls'] += 1
        found['bytes'] += sum(
            math.prod(map(int, filter(None, sides.split(',')))) * int(bits or 8) // 8
            for bits, sides in arrays
        )
    operations = count_operations(traced.jaxpr) / n_devices
    sent = 2 * (n_devices - 1) / n_devices * sum(found['bytes'] for found in collectives.values())
    seconds = {
        'compute': operations / speed,
        'memory': cost['bytes accessed'] / kind.bandwidth,
        'network': sent / kind.link,
    }
    return {
        'arguments_bytes': memory.argument_size_in_bytes,
        'temporary_bytes': memory.temp_size_in_bytes,
        'total_bytes': memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
        + memory.temp_size_in_bytes,
        'operations': operations,
        'accessed_bytes': cost['bytes accessed'],
        'collectives': collectives,
        'roofline_s': max(seconds.values()),
        'bound_by': max(seconds, key=seconds.get),
        'float64': 'f64[' in text,
        'compile_s': compile_s,
    }


def _compiled(lowered, kind: Kind):
    import jax

    if 'TPU' not in kind.name or _FAST in os.environ.get('LIBTPU_INIT_ARGS', ''):
        return lowered.compile()
    needs_more = re.search(r'stablehlo\.reduce_window|tpu_custom_call', lowered.as_text())
    try:
        return lowered.compile({_FAST: _FAST_KIB_MORE if needs_more else _FAST_KIB})
    except jax.errors.JaxRuntimeError as error:
        if 'ScopedVmemOom' not in str(error):
            raise
        return lowered.compile()


def count_operations(jaxpr) -> int:
    """Counts the operations of all products and convolutions of a program, on all devices together."""
    from jax.extend import core

    total = 0
    for equation in jaxpr.eqns:
        name, parameters = equation.primitive.name, equation.params
        inner = [count_operations(each) for each in core.jaxprs_in_params(parameters)]
        if name == 'dot_general':
            (contracted, _), _ = parameters['dimension_numbers']
            sides = equation.invars[0].aval.shape
            total += 2 * equation.outvars[0].aval.size * math.prod(sides[i] for i in contracted)
        elif name == 'conv_general_dilated':
            kernel = equation.invars[1].aval
            outputs = kernel.shape[parameters['dimension_numbers'].rhs_spec[0]]
            zeros = math.prod(parameters['lhs_dilation'])  # products with what dilation puts between
            total += 2 * equation.outvars[0].aval.size * kernel.size // (outputs * zeros)
        elif name == 'scan':
            total += parameters['length'] * sum(inner)
        elif name == 'shard_map':
            total += parameters['mesh'].size * sum(inner)
        else:
            # Of several ways, one for each platform, the longest: nobody looks into kernels.
            total += max(inner, default=0) if name == 'cond' else sum(inner)
    return total


def open_job(config, target: str, classes: int):
    """Returns the kind of a target, and the Job of a checked config on its devices; compiles nothing.

    Raises a UserError where the target is none, or the page does not fit it.
    """
    from genre_jax.errors import UserError
    from genre_jax.sharding import check_batch_size

    kind, devices = devices_of(target)
    try:
        job = job_on(config, devices, classes)
        check_batch_size(config.eval.batch_size, 'eval.batch_size', job.mesh)
    except UserError as error:
        raise UserError(f'--target={target}: {error}') from None
    return kind, job


def measure(kind: Kind, job, *, largest: bool = True) -> dict[str, dict]:
    """Compiles both steps of a job for devices of a kind; returns their figures, by 'train' and 'eval'.

    With `largest` once more with batches of twice the size, for the largest that fits; else it is None, and
    where twice the size cannot be compiled. A UserError where the batch itself cannot.
    """
    import jax

    from genre_jax.errors import UserError

    config, n_devices, found = job.config, job.mesh.size, {}
    jax.config.update('jax_default_matmul_precision', config.train.matmul_precision)
    for name, trace in programs(job).items():
        batch_size = config[name].batch_size
        try:
            one, most = figures(trace(batch_size), kind, job), None
        except UserError as error:
            raise UserError(f'config.{name}.batch_size={batch_size}: {error}') from None
        with contextlib.suppress(UserError):
            two = figures(trace(2 * batch_size), kind, job) if largest else one
            grows, spare = two['total_bytes'] - one['total_bytes'], kind.memory_bytes - one['total_bytes']
            if grows > 0:
                most = int((1 + spare / grows) * batch_size / n_devices) * n_devices
        found[name] = one | {
            'batch_size': batch_size,
            'largest_batch_size': most,
            'memory_bytes': kind.memory_bytes,
        }
    return found
