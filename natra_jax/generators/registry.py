"""Generators by name, made from a description that can be written down: a name and arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

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


def build(function: str, arguments: Mapping[str, Any]) -> Generator:
    """Make the generator GENERATORS[function](**arguments).

    The arguments are as JSON has them: lists stand for tuples.

    Raises UserError for an unknown function, and for arguments that it does not take.
    """
    if function not in list(GENERATORS):  # what a file says may be a list
        raise UserError(f"there is no generator {shown(function)} ({', '.join(GENERATORS)})")
    try:
        return GENERATORS[function](**{name: _tuples(value) for name, value in arguments.items()})
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(
            f"a generator {function} cannot be made of these arguments ({reason(error)})"
        ) from error


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value
