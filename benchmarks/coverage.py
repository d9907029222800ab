"""How often the 95 % intervals of evaluations hold the truth, in simulated test parts.

    python -m benchmarks.coverage [--repeats=1000]

Groups have one size, or sizes from a log-normal law (sigma 1), or one of them holds a third of the items; the
probability of a group to be right is drawn from a beta law, whose correlation inside groups is given. Wrong
items fall to the other classes evenly, so that the true macro F1 is the accuracy.
"""

from __future__ import annotations

import itertools

import numpy as np
from absl import app, flags

from genre_jax.evaluation import intervals

_REPEATS = flags.DEFINE_integer('repeats', 1000, 'simulated test parts per cell')
ACCURACIES = (0.5, 0.8, 0.9, 0.97, 0.99)
SIZES = ('single', 'equal', 'skewed', 'dominated')


def draw(
    rng: np.random.Generator,
    *,
    accuracy: float,
    n_groups: int,
    sizes: str,
    correlation: float,
    n_classes: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns labels, predictions and groups of one test part; a class has as many groups as another."""
    counts = {
        'single': lambda: np.ones(n_groups, int),
        'equal': lambda: np.full(n_groups, 10),
        'skewed': lambda: np.maximum(1, np.round(np.exp(rng.normal(1.5, 1.0, n_groups))).astype(int)),
        'dominated': lambda: np.append(np.full(n_groups - 1, 5), 5 * n_groups // 2),
    }[sizes]()
    right = np.full(n_groups, accuracy)
    if correlation:
        scale = (1 - correlation) / correlation
        right = rng.beta(accuracy * scale, (1 - accuracy) * scale, n_groups)
    group = np.repeat(np.arange(n_groups), counts)
    labels = rng.permutation(np.arange(n_groups) % n_classes)[group]
    other = (labels + 1 + rng.integers(n_classes - 1, size=len(labels))) % n_classes
    return labels, np.where(rng.random(len(group)) < right[group], labels, other), group


def coverage(repeats: int, seed: int = 0, **cell: object) -> tuple[float, float]:
    """Returns how often the intervals of accuracy and of macro F1 hold the truth in one cell."""
    rng = np.random.default_rng(seed)
    held = np.zeros(2)
    for _ in range(repeats):
        labels, predicted, group = draw(rng, **cell)
        ours, size = intervals.share(labels == predicted, group)
        f1 = intervals.macro_f1(labels, predicted, cell['n_classes'], group, size)
        held += [low <= cell['accuracy'] <= high for low, high in (ours, f1)]
    return tuple(held / repeats)


def main(argv: list[str]) -> None:
    """Prints the table: the least and the most often over classes and correlations."""
    columns = ' | '.join(
        f'{figure} {accuracy:.0%}' for figure in ('accuracy', 'macro F1') for accuracy in ACCURACIES
    )
    print(f'| groups | {columns} |')
    print('|---' * (1 + 2 * len(ACCURACIES)) + '|')
    for sizes, n_groups in itertools.product(SIZES, (10, 20, 50, 100, 300)):
        cells = [
            [
                coverage(
                    _REPEATS.value, accuracy=accuracy, n_groups=n_groups, sizes=sizes,
                    correlation=correlation, n_classes=n_classes,
                )
                for n_classes in (2, 10, 60)
                if n_groups >= 2 * n_classes
                for correlation in ((0.0,) if sizes == 'single' else (0.0, 0.1, 0.3, 0.6))
            ]
            for accuracy in ACCURACIES
        ]  # fmt: skip
        shown = [
            f'{100 * min(of):.0f} to {100 * max(of):.0f}'
            for figure in (0, 1)
            for of in ([pair[figure] for pair in cell] for cell in cells)
        ]
        print(f'| {n_groups} {sizes} | {" | ".join(shown)} |', flush=True)


if __name__ == '__main__':
    app.run(main)
