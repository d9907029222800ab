"""Names of config keys: nested and flat, and the nearest to one that is wrong."""

import difflib
from collections.abc import Iterable, Mapping

import ml_collections


def nearest(name: str, candidates: Iterable[str]) -> str:
    """Returns ', did you mean X?' for the candidate most like `name`, or the list of all."""
    candidates = sorted(candidates)

    def likeness(candidate: str) -> tuple[float, float]:
        # By the last part first: the sections before it are alike anyway.
        pairs = ((name.rsplit('.', 1)[-1], candidate.rsplit('.', 1)[-1]), (name, candidate))
        return tuple(difflib.SequenceMatcher(None, *pair).ratio() for pair in pairs)

    best = max(candidates, key=likeness, default='')
    if best and likeness(best)[0] >= 0.6:
        return f'; did you mean {best!r}?'
    return f'; expected one of {", ".join(candidates)}' if candidates else ''


def flatten(config: Mapping, prefix: str = '') -> dict[str, object]:
    """Returns {'section.key': value} for a nested config."""
    flat = {}
    for key, value in config.items():
        if isinstance(value, Mapping | ml_collections.ConfigDict):
            flat |= flatten(value, f'{prefix}{key}.')
        else:
            flat[prefix + key] = value
    return flat
