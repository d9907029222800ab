"""Prints every key of a config, with its default, what it may be and its meaning."""

from __future__ import annotations

from genre_jax.config.keys import KEYS


def main() -> None:
    """Prints the table as Markdown."""
    print('| key | default | expected | meaning |\n|---|---|---|---|')
    for key in KEYS:
        cells = (f'`{key.name}`', f'`{key.default!r}`', key.check.expected, key.meaning)
        print(f'| {" | ".join(cell.replace("|", chr(92) + "|") for cell in cells)} |')


if __name__ == '__main__':
    main()
