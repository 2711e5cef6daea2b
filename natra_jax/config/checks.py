"""Checks of a config field's value: each carries the test and the words that say what passes it."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeGuard

from natra_jax.types import UserError

_MOST = 64  # layers of a network
_LONGEST = 300  # characters of a value in a message


class Check(NamedTuple):
    """A test of one value and the words for it, in error messages and in --help."""

    holds: Callable[[Any], bool]
    words: str  # completes "it must be ..."
    choices: tuple[str, ...] = ()  # all that there are, where these are names

    def require(self, name: str, value: object) -> None:
        """Raise UserError, naming the config field, if value does not pass."""
        if self.choices:
            if not self.holds(value):
                hint = nearest(value, self.choices)
                raise UserError(f"config field {name} is {brief(value)} ({hint})")
        else:
            require(name, value, self.holds(value), self.words)


def require(name: str, value: object, holds: object, wanted: str) -> None:
    """Raise UserError, naming the config field and what it must be, unless holds."""
    if not holds:
        raise UserError(f"config field {name} is {brief(value)}: it must be {wanted}")


def brief(value: object) -> str:
    """Return the value as Python writes it, cut off where it is long."""
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


ANYTHING = Check(lambda value: True, "")


def one_of(*choices: str) -> Check:
    """Accept the names that are listed."""
    return Check(lambda value: value in choices, " | ".join(choices), choices)


def each_of(*choices: str) -> Check:
    """Accept a tuple of some of the names, or of none."""
    return Check(
        lambda values: all(value in choices for value in values),
        f"a tuple of {', '.join(choices)}, or empty",
    )


def at_least(least: float) -> Check:
    """Accept numbers from least on."""
    return Check(lambda value: value >= least, f"at least {least}")


def above(bound: float) -> Check:
    """Accept numbers above the bound."""
    return Check(lambda value: value > bound, f"above {bound}")


def between(low: float, high: float, ends: str = "[]") -> Check:
    """Accept numbers between two; ends: '[]' with both, '()' with neither, '[)' with the lower."""
    if ends == "[]":
        return Check(lambda value: low <= value <= high, f"from {low} to {high}")
    if ends == "[)":
        return Check(lambda value: low <= value < high, f"at least {low} and below {high}")
    return Check(lambda value: low < value < high, f"above {low} and below {high}")


def counts(number: int = 0, *, empty: bool = False, most: int = 2**16) -> Check:
    """Accept a tuple of whole numbers in 1..most: so many of them, or up to 64 where that is 0."""

    def holds(values: tuple[object, ...]) -> bool:
        if not all(is_whole(value) and 0 < value <= most for value in values):
            return False
        return len(values) == number if number else (not empty) <= len(values) <= _MOST

    words = f"whole numbers from 1 to {most}"
    words = f"{number} {words}" if number else f"up to {_MOST} {words}"
    return Check(holds, f"{words}, or empty" if empty else words)


def is_whole(value: object) -> TypeGuard[int]:
    """Tell whether a value is a whole number, which True and False are in Python alone."""
    return isinstance(value, int) and not isinstance(value, bool)


def nearest(name: object, valid: Iterable[str]) -> str:
    """Return 'did you mean ...?' with the nearest valid name, or all of them if none is near."""
    valid = list(valid)
    near = difflib.get_close_matches(str(name), valid, n=1)
    if not near and "." in str(name):
        last = {v.rsplit(".", 1)[-1]: v for v in valid}
        near = [last[m] for m in difflib.get_close_matches(str(name).rsplit(".", 1)[-1], last, n=1)]
    return f"did you mean {near[0]}?" if near else f"valid: {', '.join(valid)}"
