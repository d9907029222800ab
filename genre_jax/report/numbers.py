"""How pages write numbers."""

from collections.abc import Sequence


def percent(fraction: float) -> str:
    """Returns a share as a percentage without its sign."""
    return f'{100 * fraction:.1f}'


def interval(ci95: Sequence[float] | None, scale: float = 100, digits: int = 1) -> str:
    """Returns '[low, high]' scaled, '' for None."""
    return '' if ci95 is None else '[' + ', '.join(f'{scale * x:.{digits}f}' for x in ci95) + ']'


def duration(seconds: float, digits: int = 1) -> str:
    """Returns a time in words, '1 h 2 min'; `digits` of those that are shorter than a minute."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f'{hours} h {minutes} min'
    return f'{minutes} min {rest} s' if minutes else f'{seconds:.{digits}f} s'
