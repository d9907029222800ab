"""How pages write numbers."""

from collections.abc import Sequence


def percent(fraction: float, sign: str = '') -> str:
    """Returns a share in percent, as a bare number; with the sign '+' a difference of shares, in points."""
    return f'{100 * fraction:{sign}.1f}'


def interval(ci95: Sequence[float] | None, scale: float = 100, digits: int = 1, sign: str = '') -> str:
    """Returns '[low, high]' scaled, '' for None; with the sign '+' of a difference."""
    return '' if ci95 is None else '[' + ', '.join(f'{scale * x:{sign}.{digits}f}' for x in ci95) + ']'


def duration(seconds: float, digits: int = 1) -> str:
    """Returns a time in words, '1 h 2 min'; `digits` of those that are shorter than a minute."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f'{hours} h {minutes} min'
    return f'{minutes} min {rest} s' if minutes else f'{seconds:.{digits}f} s'
