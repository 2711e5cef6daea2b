"""The type of a config field, and of a section of fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Union

from natra_jax.config.checks import ANYTHING, Check


class Field(NamedTuple):
    """One field. Values have the type of the default; a float may be given as a whole number."""

    default: Any
    help: str
    valid: Check = ANYTHING
    unit: str = ""


Section = Mapping[str, Union[Field, "Section"]]


def by_name(section: Section, prefix: str = "") -> dict[str, Field]:
    """Return {dotted name: field} of a section and those within, in their order."""
    named: dict[str, Field] = {}
    for name, entry in section.items():
        if isinstance(entry, Field):
            named[prefix + name] = entry
        else:
            named |= by_name(entry, f"{prefix}{name}.")
    return named


def defaults(section: Section) -> dict[str, Any]:
    """Return the default of every field of a section, nested as the section is."""
    return {
        name: entry.default if isinstance(entry, Field) else defaults(entry)
        for name, entry in section.items()
    }
