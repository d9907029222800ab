"""Rules written as lines: which tensor, or layer, is which of ours."""

from collections.abc import Callable

from genre_jax.convert.engine import Rule

# What follows a layer's name in the checkpoint, and what it becomes.
_KINDS = {
    'tensor': {'': '{}'},
    'torch_layer': {r'\.weight': 'params/{}/kernel', r'\.bias': 'params/{}/bias'},
    'torch_layer_norm': {r'\.weight': 'params/{}/scale', r'\.bias': 'params/{}/bias'},
    'torch_norm': {
        r'\.weight': 'params/{}/scale', r'\.bias': 'params/{}/bias',
        r'\.running_mean': 'batch_stats/{}/mean', r'\.running_var': 'batch_stats/{}/var',
    },
    'tf_layer': {'/kernel': 'params/{}/kernel', '/bias': 'params/{}/bias'},
    'tf_norm': {
        '/gamma': 'params/{}/scale', '/beta': 'params/{}/bias',
        '/moving_mean': 'batch_stats/{}/mean', '/moving_variance': 'batch_stats/{}/var',
    },
}  # fmt: skip


def rules(lines: str, **layouts: Callable) -> tuple[Rule, ...]:
    """Reads the rules of a table: in each line kind, pattern, target, perhaps layout and part, as in Rule.

    The layout, a name of LAYOUTS or of `layouts`, is that of a kernel; the part is written i/n. A line
    `left_out pattern reason` is what has no place in the model.
    """
    found = []
    for line in filter(str.strip, lines.splitlines()):
        kind, pattern, rest = line.split(None, 2)
        if kind == 'left_out':
            found.append(Rule(pattern, reason=rest))
            continue
        target, *more = rest.split()
        layout, part = more + ['same', '0/1'][len(more) :]
        index, count = map(int, part.split('/'))
        for i, (end, place) in enumerate(_KINDS[kind].items()):
            this = 'same' if i else layouts.get(layout, layout)
            found.append(Rule(pattern + end, place.format(target), this, (index, count)))
        if kind == 'torch_norm':
            counter = rf'{pattern}\.num_batches_tracked'
            found.append(Rule(counter, reason='a counter of PyTorch, not used'))
    return tuple(found)
