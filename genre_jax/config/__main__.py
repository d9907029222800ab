"""Prints every key of a config, with its default, what it may be and its meaning."""

from genre_jax.config.keys import KEYS

_WHEN_CONTINUED = {
    False: '',
    True: 'yes',
    'diverged': 'once it diverged',
    'longer': 'longer, unless the schedule ends with it',
    'unwatched': 'unless evaluations are counted',
}


def table() -> str:
    """Returns the keys as a table in Markdown."""
    lines = ['| key | default | expected | meaning | free when continued |', '|---|---|---|---|---|']
    for key in KEYS:
        default, free = f'`{key.default!r}`', _WHEN_CONTINUED[key.free]
        cells = (f'`{key.name}`', default, key.check.expected, key.meaning, free)
        lines.append(f'| {" | ".join(cell.replace("|", chr(92) + "|") for cell in cells)} |')
    return '\n'.join(lines)


if __name__ == '__main__':
    print(table())
