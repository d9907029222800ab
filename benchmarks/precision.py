"""What config.train.matmul_precision costs in accuracy: products as TPUs compute them, emulated on CPU.

A TPU multiplies bfloat16. XLA splits float32 factors into parts of eight bits each: 'default' multiplies the
first parts once, 'high' adds the two products with a second part (three passes), 'highest' three more (six
passes). Here every product and convolution of a program is computed so, the rest in float32, and compared
with the same program whose products are float64. Networks are fresh, in evaluation, on recordings or noise.

    python -m benchmarks.precision [folder of recordings, 22.05 kHz]
"""

import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import soundfile

from genre_jax import features, models

# How many of a factor's parts multiply which of the other's: (i, j) with i + j below the number.
PASSES = {'default': 1, 'high': 2, 'highest': 3}
PRODUCTS = ('dot_general', 'conv_general_dilated')
NETWORKS = {
    'shallow_cnn': ('schindler', {}), 'efficient_cnn': ('schindler', {}), 'cnn_gru': ('schindler', {}),
    'lstm': ('schindler', {}), 'musicnn': ('musicnn', {}), 'yamnet': ('yamnet', {}),
    'mobilenet_v1': ('panns_16k', {}), 'cnn14': ('panns_16k', {'variant': 'cnn10'}),
    'ast': ('ast', {'width': 192, 'heads': 3, 'depth': 4}),
}  # fmt: skip


def parts(values, count):
    """Splits float32 into so many numbers of eight bits that add up to it, nearly."""
    found = []
    for _ in range(count):
        found.append(values.astype(jnp.bfloat16).astype(jnp.float32))
        values = values - found[-1]
    return found


def multiply(operation, left, right, precision):
    """Computes a product or a convolution as a precision has it; None is float64."""
    settings = operation.params | {'precision': jax.lax.Precision.HIGHEST}
    if precision is None:
        with jax.enable_x64(True):
            settings['preferred_element_type'] = jnp.float64
            both = (jnp.asarray(np.asarray(x, np.float64)) for x in (left, right))
            exact = np.asarray(operation.primitive.bind(*both, **settings))
        return jnp.asarray(exact.astype(np.float32))
    count = PASSES[precision]
    lefts, rights = parts(left, count), parts(right, count)
    pairs = [(i, j) for i in range(count) for j in range(count) if i + j < count]
    # The small ones first.
    return sum(operation.primitive.bind(lefts[i], rights[j], **settings) for i, j in reversed(pairs))


def evaluate(program, constants, inputs, precision):
    """Runs a traced program, operation by operation."""
    values = dict(zip(program.constvars, constants, strict=True))
    values |= dict(zip(program.invars, inputs, strict=True))

    def read(x):
        return x.val if hasattr(x, 'val') else values[x]

    for operation in program.eqns:
        name, given = operation.primitive.name, [read(x) for x in operation.invars]
        inner = operation.params.get('jaxpr') or operation.params.get('call_jaxpr')
        if name in PRODUCTS and given[0].dtype == jnp.float32:
            results = [multiply(operation, *given, precision)]
        elif name == 'platform_index':  # accelerators take what is not for CPUs
            results = [jnp.int32(operation.params['platforms'].index(None))]
        elif name == 'cond':
            branch = operation.params['branches'][int(given[0])]
            results = evaluate(branch.jaxpr, branch.consts, given[1:], precision)
        elif name == 'scan':
            results = scan(operation.params, given, precision)
        elif inner is not None:
            results = evaluate(inner.jaxpr, inner.consts, given, precision)
        else:
            results = operation.primitive.bind(*given, **operation.params)
            results = results if operation.primitive.multiple_results else [results]
        values |= dict(zip(operation.outvars, results, strict=True))
    return [read(x) for x in program.outvars]


def scan(settings, given, precision):
    """Runs a loop over the first axis."""
    n_constants, n_carry = settings['num_consts'], settings['num_carry']
    constants, carry = given[:n_constants], given[n_constants : n_constants + n_carry]
    body, rows = settings['jaxpr'], []
    for i in range(settings['length']):
        at_step = [x[i] for x in given[n_constants + n_carry :]]
        out = evaluate(body.jaxpr, body.consts, [*constants, *carry, *at_step], precision)
        carry = out[:n_carry]
        rows.append(out[n_carry:])
    return [*carry, *(jnp.stack(column) for column in zip(*rows, strict=True))]


def errors(function, *inputs):
    """Yields each precision's largest difference from float64 products, as a share of the largest value."""
    flat, shape = jax.tree.flatten(inputs)
    program = jax.make_jaxpr(lambda *flat: function(*jax.tree.unflatten(shape, flat)))(*flat)
    exact = evaluate(program.jaxpr, program.consts, flat, None)[0]
    for precision in PASSES:
        (rounded, *_) = evaluate(program.jaxpr, program.consts, flat, precision)
        yield float(jnp.abs(rounded - exact).max() / jnp.abs(exact).max())


def main(argv: list[str]) -> None:
    """Prints both tables."""
    files = sorted(pathlib.Path(argv[1]).rglob('*.wav'))[:2] if len(argv) > 1 else []
    audio = [soundfile.read(file, frames=5 * 22050, dtype='float32')[0] for file in files]
    audio = jnp.asarray(np.stack(audio or np.random.default_rng(0).standard_normal((2, 5 * 22050)) * 0.1))
    audio = audio.astype(jnp.float32)
    print('| | default | high | highest |\n|---|---|---|---|')

    def show(name, *inputs):
        print(f'| {name} | ' + ' | '.join(f'{error:.0e}' for error in errors(*inputs)) + ' |', flush=True)

    for name in ('schindler', 'panns_16k', 'musicnn', 'ast', 'mfcc_20', 'chroma'):
        front_end = features.build({'name': name})
        show(f'front end {name}', front_end, audio)
    for name, (flavour, settings) in NETWORKS.items():
        front_end = features.build({'name': flavour})
        pictures = jax.jit(front_end)(audio)
        model = models.build({'name': name, **settings}, 10)
        variables = jax.jit(lambda model=model, x=pictures: model.init(jax.random.key(0), x, train=False))()
        show(name, lambda v, x, model=model: model.apply(v, x, train=False), variables, pictures)


if __name__ == '__main__':
    main(sys.argv)
