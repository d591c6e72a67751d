"""Numbers and durations as people say them."""

from __future__ import annotations

import math

__all__ = ["count_words", "duration_words", "left_words", "number_words", "rate_words"]

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_YEAR = 365 * _DAY
_SHORTEST = 0.001
_TWO_DIGITS_BELOW = 10


def number_words(number: int) -> str:
    """Return a whole number with commas between thousands, such as `12,345`."""
    return f"{number:,}"


def count_words(number: int, noun: str) -> str:
    """Return how many there are of something, such as `1 item` or `12,345 items`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def duration_words(seconds: float, *, whole: bool = False) -> str:
    """Return a duration in at most two units, such as `0.35 s`, `13 s`, `1 min 20 s` or `2 h 5 min`.

    Args:
        seconds: Duration in seconds; below zero counts as zero.
        whole: Whether to leave out fractions of a second, for a duration that is shown while it grows.
    """
    if not math.isfinite(seconds) or seconds <= 0:
        return "0 s"
    # A clock that was set wrong must not make a number of three hundred digits.
    seconds = min(seconds, 100 * _YEAR)
    if whole:
        seconds = math.floor(seconds)
    elif seconds < _SHORTEST:
        return "less than 1 ms"
    elif seconds < _TWO_DIGITS_BELOW:
        return f"{seconds:.2g} s"
    rounded = round(seconds)
    for unit, name, part, part_name in (
        (_DAY, "day", _HOUR, "h"),
        (_HOUR, "h", _MINUTE, "min"),
        (_MINUTE, "min", 1, "s"),
    ):
        if rounded >= unit:
            # Rounded to the smaller unit first, so that no rest reads as 60 min.
            number, rest = divmod(round(rounded / part), unit // part)
            first = count_words(number, name) if name == "day" else f"{number} {name}"
            return f"{first} {rest} {part_name}" if rest else first
    return f"{rounded} s"


def left_words(seconds: float) -> str:
    """Return the time left, rounded the more the longer it is, so that an estimate does not look exact.

    Args:
        seconds: Seconds left; for more than a year, nothing is returned.
    """
    if not 0 <= seconds <= _YEAR:
        return ""
    if seconds < 1:
        return "less than 1 s left"
    if seconds >= 10 * _MINUTE:
        seconds = round(seconds / _MINUTE) * _MINUTE
    elif seconds >= _MINUTE:
        seconds = round(seconds / 5) * 5
    return f"{duration_words(math.ceil(seconds))} left"


def rate_words(per_second: float) -> str:
    """Return a rate in two digits or more, per second, minute or hour, such as `160/s` or `6/min`."""
    if not math.isfinite(per_second) or per_second <= 0:
        return ""
    if per_second >= 1:
        rate, unit = per_second, "s"
    elif per_second * _MINUTE >= 1:
        rate, unit = per_second * _MINUTE, "min"
    else:
        rate, unit = per_second * _HOUR, "h"
    return f"{rate:.2g}/{unit}" if rate < _TWO_DIGITS_BELOW else f"{rate:,.0f}/{unit}"
