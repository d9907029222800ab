"""Every model beside the same network in PyTorch: evaluation and a training step, same batch, float32.

python -m benchmarks.models [--only cnn14 ast] [--json FILE] [--device cpu] [--repeats 9]

A training step is loss, gradients and Adam. Each row also tells how long ours takes to compile, and how
much memory its step needs besides the parameters. The newer encoders stand beside their authors' code, of
the packages that `make parity_code` installs.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

import jax
import numpy as np
import optax

from benchmarks import timing
from genre_jax import models
from genre_jax.training import losses

_CLASSES = 10


@dataclasses.dataclass(frozen=True)
class Case:
    """A model with a batch.

    Attributes:
        name: of the row.
        settings: config.model.
        shape: of the features, with the batch.
        reference: makes the PyTorch network.
        layout: axes of the features for PyTorch, and whether it wants one channel in front.
    """

    name: str
    settings: dict
    shape: tuple[int, ...]
    reference: Callable
    axes: tuple[int, ...] | None = None
    channel: bool = True


def cases() -> list[Case]:
    """Returns all models, at sizes of their publications and batches that a laptop computes in seconds."""
    from benchmarks import published
    from benchmarks import torch_models as reference

    wide, deep = (64, 128, 256, 512), (64, 128, 256, 512, 1024, 2048)
    mel_first = (0, 2, 1)
    return [
        Case(
            'shallow_cnn', {'name': 'shallow_cnn'}, (64, 80, 80),
            lambda: reference.ShallowCnn(_CLASSES), mel_first,
        ),
        *(
            Case(
                name, {'name': name}, (8, 1292, 128),
                lambda kind=kind: reference.Hybrid(kind, _CLASSES), mel_first,
            )
            for name, kind in (('efficient_cnn', ''), ('cnn_gru', 'gru'), ('cnn_lstm', 'lstm'))
        ),
        Case(
            'cnn14', {'name': 'cnn14'}, (4, 301, 64),
            lambda: reference.PannsCnn(deep, 3, 2, _CLASSES),
        ),
        Case(
            'cnn10', {'name': 'cnn14', 'variant': 'cnn10'}, (4, 301, 64),
            lambda: reference.PannsCnn(wide, 3, 2, _CLASSES),
        ),
        Case(
            'cnn6', {'name': 'cnn14', 'variant': 'cnn6'}, (4, 301, 64),
            lambda: reference.PannsCnn(wide, 5, 1, _CLASSES),
        ),
        Case(
            'mobilenet_v1', {'name': 'mobilenet_v1'}, (8, 301, 64),
            lambda: reference.MobileNetV1(_CLASSES),
        ),
        Case(
            'ast', {'name': 'ast'}, (2, 512, 128),
            lambda: reference.Ast(512, _CLASSES), channel=False,
        ),
        Case('yamnet', {'name': 'yamnet'}, (32, 96, 64), lambda: reference.yamnet(_CLASSES)),
        Case('musicnn', {'name': 'musicnn'}, (8, 187, 96), lambda: reference.Musicnn(_CLASSES)),
        Case(
            'vgg16', {'name': 'vgg16'}, (2, 128, 128, 3),
            lambda: reference.vgg16(_CLASSES, 128, 128), (0, 3, 1, 2), channel=False,
        ),
        Case(
            'mlp', {'name': 'mlp', 'hidden_units': (256, 256)}, (256, 58),
            lambda: reference.perceptron((58, 256, 256, _CLASSES)), channel=False,
        ),
        Case(
            'lstm', {'name': 'lstm', 'hidden_units': (416, 32, 48), 'dropout': (0.0, 0.0, 0.0)},
            (16, 130, 13),
            lambda: reference.Lstm(13, (416, 32, 48), (), _CLASSES), channel=False,
        ),
        Case(
            'efficientat', {'name': 'efficientat'}, (8, 1000, 128),
            lambda: published.efficientat_logits(_CLASSES), mel_first,
        ),
        Case(
            'passt', {'name': 'passt'}, (2, 498, 128),
            lambda: published.Called(
                lambda: published.passt(_CLASSES, img_size=(128, 498), stride=10), lambda n, x: n(x)[0]
            ),
            mel_first,
        ),
        Case(
            'maest_5s', {'name': 'passt'}, (2, 316, 96),
            lambda: published.Called(
                lambda: published.maest(_CLASSES, img_size=(96, 316), stride=10), lambda n, x: n(x)[0]
            ),
            mel_first,
        ),
        Case(
            'beats', {'name': 'beats'}, (2, 498, 128),
            lambda: published.Called(
                lambda: published.beats(
                    finetuned_model=True, predictor_class=_CLASSES, dropout=0.0, attention_dropout=0.0
                ),
                lambda n, x: n.predictor(n(x)).mean(1),
            ),
        ),
        Case(
            'dasheng', {'name': 'dasheng'}, (2, 1008, 64),
            # It has no output layer: some units are as good.
            lambda: published.Called(
                lambda: published.dasheng(num_heads=12),
                lambda n, x: n.forward_spectrogram(n.init_bn(x)).mean(1)[:, :_CLASSES],
            ),
            mel_first,
        ),
    ]  # fmt: skip


def ours(case: Case, features: np.ndarray, labels: np.ndarray) -> tuple[Callable, Callable, dict]:
    """Returns evaluation and training step of the Flax model, and what their compilation tells.

    Args:
        case: the model.
        features: a batch.
        labels: int (batch,).
    """
    settings = dict(case.settings)
    model = models.build(settings, _CLASSES)
    features = jax.device_put(features)
    variables = jax.jit(lambda: model.init(jax.random.key(0), features, train=False))()
    optimizer = optax.adam(1e-3)
    targets = jax.nn.one_hot(labels, _CLASSES)

    def step(variables, opt_state, features):
        def objective(params):
            (logits, _), updates = model.apply(
                variables | {'params': params}, features, train=True,
                rngs={'dropout': jax.random.key(0)}, mutable=['batch_stats'],
            )  # fmt: skip
            return losses.cross_entropy(logits, targets).mean(), updates

        (loss, updates), gradients = jax.value_and_grad(objective, has_aux=True)(variables['params'])
        changes, opt_state = optimizer.update(gradients, opt_state)
        params = optax.apply_updates(variables['params'], changes)
        return variables | updates | {'params': params}, opt_state, loss

    start = time.perf_counter()
    opt_state = jax.jit(optimizer.init)(variables['params'])
    compiled = jax.jit(step, donate_argnums=(0, 1)).lower(variables, opt_state, features).compile()
    facts = {'compile_s': time.perf_counter() - start}
    facts['step_mib'] = compiled.memory_analysis().temp_size_in_bytes / 2**20
    evaluate = jax.jit(lambda v, x: model.apply(v, x, train=False)[0])
    state = [variables, opt_state]
    evaluated = jax.tree.map(lambda x: x.copy(), variables)

    def train() -> jax.Array:
        state[0], state[1], loss = compiled(*state, features)
        return loss

    return lambda: evaluate(evaluated, features), train, facts


def theirs(case: Case, features: np.ndarray, labels: np.ndarray, device: str) -> tuple:
    """Returns evaluation and training step of the PyTorch network.

    Args:
        case: the model.
        features: a batch.
        labels: int (batch,).
        device: of PyTorch.
    """
    import torch

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    array = features if case.axes is None else features.transpose(case.axes)
    inputs = torch.tensor(np.ascontiguousarray(array), device=device)
    inputs = inputs[:, None] if case.channel else inputs
    labels = torch.tensor(labels, device=device)
    network = case.reference().to(device)
    evaluated = case.reference().to(device).eval()
    optimizer = torch.optim.Adam(network.parameters())

    def wait() -> None:
        if device != 'cpu':
            torch.cuda.synchronize()

    def evaluate() -> None:
        with torch.no_grad():
            evaluated(inputs)
        wait()

    def train() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(inputs), labels).backward()
        optimizer.step()
        wait()

    return evaluate, train


def main() -> None:
    """Prints two rows for each model."""
    parser = timing.parser(__doc__)
    parser.add_argument('--only', nargs='+', help='names of rows')
    options = parser.parse_args()
    timing.use_device(options.device)
    device = 'cpu' if jax.default_backend() == 'cpu' else 'cuda'
    # float32 on both sides, also where the hardware would rather round to 19 bits.
    jax.config.update('jax_default_matmul_precision', 'highest')
    table, known = timing.Table(), cases()
    for name in options.only or ():
        if name not in {case.name for case in known}:
            parser.error(f'--only {name}: expected some of {" ".join(c.name for c in known)}')
    for case in known:
        if options.only and case.name not in options.only:
            continue
        rng = np.random.default_rng(0)
        features = rng.standard_normal(case.shape).astype(np.float32)
        labels = rng.integers(0, _CLASSES, case.shape[0])
        evaluate, train, facts = ours(case, features, labels)
        their_evaluate, their_train = theirs(case, features, labels, device)
        for row, ours_row, their_row in (
            ('evaluation', evaluate, their_evaluate), ('training', train, their_train),
        ):  # fmt: skip
            seconds = timing.time_interleaved({'ours': ours_row, 'reference': their_row}, options.repeats)
            table.add(f'{case.name} {row}', seconds['ours'], 'PyTorch', seconds['reference'])
        table.rows[-1] |= facts
        print(f'{"":34} compiled in {facts["compile_s"]:.1f} s, {facts["step_mib"]:.0f} MiB a step')
        jax.clear_caches()
    table.write(options.json)


if __name__ == '__main__':
    main()
