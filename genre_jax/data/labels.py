"""What the class names of every dataset must be like."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from genre_jax.errors import UserError


def check_spelling(where: str, labels: Iterable[str]) -> None:
    """Refuses two names that differ only by case, or in how an accent is stored; `where` holds them."""
    spellings: dict[str, str] = {}
    for label in sorted(set(labels)):
        folded = unicodedata.normalize('NFC', label).casefold()
        if folded in spellings:
            raise UserError(
                f'{where}: the labels {spellings[folded]!r} and {label!r} differ only '
                'in spelling; write them alike'
            )
        spellings[folded] = label
