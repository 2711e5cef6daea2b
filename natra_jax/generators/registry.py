"""Generators by name, made from a description that can be written down: a name and arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NotRequired, TypedDict, get_type_hints

from natra_jax import json_files
from natra_jax.generators.biggan import biggan
from natra_jax.generators.biggan_deep import biggan_deep
from natra_jax.generators.dcgan import dcgan
from natra_jax.generators.progan import progan
from natra_jax.generators.style_small import style_small
from natra_jax.generators.stylegan import stylegan
from natra_jax.generators.stylegan2 import stylegan2
from natra_jax.printable import reason, shown
from natra_jax.types import Generator, UserError

GENERATORS: dict[str, Callable[..., Generator]] = {
    "style_small": style_small,
    "stylegan2": stylegan2,
    "stylegan": stylegan,
    "progan": progan,
    "biggan": biggan,
    "biggan_deep": biggan_deep,
    "dcgan": dcgan,
}

# numbers beyond these are no generator's, and would take minutes or all memory to find out
_MOST, _MOST_LAYERS, _MOST_PIXELS = 2**20, 64, 2**14


class Card(TypedDict):
    """A generator as it is written down, in JSON."""

    function: str  # a key of GENERATORS
    arguments: dict[str, Any]  # of that function


def build(function: str, arguments: Mapping[str, Any]) -> Generator:
    """Make the generator GENERATORS[function](**arguments).

    The arguments are as JSON has them: lists stand for tuples.

    Raises UserError for an unknown function, and for arguments that it does not take: of other
    names or types, of more layers or pixels than any generator has, or that do not go together.
    """
    if function not in list(GENERATORS):  # what a file says may be a list
        raise UserError(f"there is no generator {shown(function)} ({', '.join(GENERATORS)})")
    given = {name: _tuples(value) for name, value in arguments.items()}
    try:
        json_files.check(given, _arguments(function))
        for name, value in given.items():
            _require_plausible(name, value)
        generator = GENERATORS[function](**given)
        _require_plausible("resolution", generator.resolution)
        return generator
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(
            f"a generator {function} cannot be made of these arguments ({reason(error)})"
        ) from error


@cache
def _arguments(function: str) -> Any:
    """Return the type of the JSON object of the function's arguments."""
    hints = get_type_hints(GENERATORS[function])
    del hints["return"]
    # which of them are missing, the function itself says
    entries = {name: NotRequired[hint] for name, hint in hints.items()}
    return TypedDict(function, entries)  # pyright: ignore[reportArgumentType]: not literal


def _require_plausible(name: str, value: Any) -> None:
    """Raise ValueError, naming the argument, for a number or length beyond any generator's."""
    if isinstance(value, tuple):
        if len(value) > _MOST_LAYERS:
            raise ValueError(f"{name} has {len(value)} entries, more than {_MOST_LAYERS}")
        for entry in value:
            _require_plausible(name, entry)
    most = {"resolution": _MOST_PIXELS, "mapping_layers": _MOST_LAYERS}.get(name, _MOST)
    if isinstance(value, int) and not 0 <= value <= most:
        raise ValueError(f"{name} is {value}: it must be in 0..{most}")


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value
