"""A checkpoint's own configuration, compared with what its tensors say.

It is from a stranger: no value's type is taken for granted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from natra_jax.printable import shown
from natra_jax.types import UserError


def setting(config: Mapping[str, Any], *names: str) -> Any:
    """Return the value of the first of the names that config has; None where it has none of them.

    It is a number, string, bool or list of numbers; UserError is raised for a value of another
    type.
    """
    for name in names:
        value = config.get(name)
        value = value.item() if isinstance(value, np.generic) else value
        if isinstance(value, list | tuple) and all(type(entry) in (int, float) for entry in value):
            return list(value)
        if type(value) in (bool, int, float, str):
            return value
        if value is not None:
            raise UserError(
                f"the checkpoint's setting {name} is of type {type(value).__name__}: the "
                "checkpoint is damaged"
            )
    return None


def require(config: Mapping[str, Any], wanted: Mapping[str, Any], family: str) -> None:
    """Raise UserError, naming the setting, if config has one of wanted's at another value.

    Then the network is of a kind not known here. family: the network's name, for the message.
    """
    for name, value in wanted.items():
        found = setting(config, name)
        if found is not None and not _same(found, value):
            raise UserError(
                f"the checkpoint's setting {name} is {_shown(found)}: {family} is read with "
                f"{_shown(value)} alone"
            )


def agree(config: Mapping[str, Any], found: Mapping[tuple[str, ...], Any]) -> None:
    """Raise UserError, naming the setting, if config says something else than the tensors.

    found: {names of a setting: what the tensors say}.
    """
    for names, value in found.items():
        said = setting(config, *names)
        if said is not None and (
            said != value or isinstance(said, bool) != isinstance(value, bool)
        ):
            there = next(name for name in names if config.get(name) is not None)
            raise UserError(
                f"the checkpoint's setting {there} is {_shown(said)}, but its tensors say "
                f"{_shown(value)}: it is damaged"
            )


def size(config: Mapping[str, Any], *names: str) -> int | None:
    """Return the setting as a whole number of at least 0; None where there is none.

    Raises UserError for anything else that is there.
    """
    said = setting(config, *names)
    if said is not None and (type(said) is not int or said < 0):
        raise UserError(
            f"the checkpoint's setting {names[0]} is {_shown(said)}, expected a whole number: it "
            "is damaged"
        )
    return said


def _same(found: Any, value: Any) -> bool:
    """Tell whether two values are equal, floats up to float32's rounding."""
    return (
        math.isclose(found, value, rel_tol=1e-6)
        if type(found) is type(value) is float
        else found == value
    )


def _shown(value: Any) -> str:
    return shown(value, width=40)
