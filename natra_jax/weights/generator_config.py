"""The generator that an experiment's config describes.

The config's section `generator` names a checkpoint, or has the numbers of the generator that is
trained here.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from natra_jax.generators import GENERATORS, build
from natra_jax.types import Generator, UserError
from natra_jax.weights.families import Loaded
from natra_jax.weights.loading import find

OWN = "style_small"  # the family that is trained here
NONE = "none"  # the family of an experiment without a generator
PACKAGE = "package:"  # before the name of weights that come with natra_jax
FIELDS = (
    "weights",
    "family",
    "truncation",
    "dtype",
)  # of the config's section generator, that a checkpoint's generator depends on


def from_config(c: ConfigDict) -> Loaded:
    """Return what the config's section generator names, read from its checkpoint.

    Raises UserError, naming the field, if the checkpoint cannot be used or does not go with the
    section's other fields.
    """
    loaded = read(c)
    generator, arguments = with_options(c, loaded.function, loaded.arguments)
    return loaded._replace(generator=generator, arguments=arguments)


def read(c: ConfigDict) -> Loaded:
    """Read the checkpoint that the config's section generator names.

    Raises UserError, naming the field, if that cannot be done.
    """
    try:
        return find(checkpoint(c), c.family)
    except UserError as error:
        raise UserError(f"config field generator.{checkpoint_field(c)}: {error}") from error


def with_options(
    c: ConfigDict, function: str, arguments: Mapping[str, Any]
) -> tuple[Generator, dict[str, Any]]:
    """Build the generator of a checkpoint with the section's truncation and dtype.

    Returns (generator, the arguments that its function was called with). Raises UserError, naming
    the field, for an option that the function does not take or that it refuses.
    """
    wanted = {
        "truncation": c.truncation or None,
        "dtype": c.dtype if c.dtype != "float32" else None,
    }
    taken = inspect.signature(GENERATORS[function]).parameters
    chosen = dict(arguments)
    for name, value in wanted.items():
        if value is None:
            continue
        if name not in taken:
            raise UserError(
                f"config field generator.{name} is {value!r}: a {function}, which "
                f"{checkpoint(c)} holds, has none: leave it out"
            )
        chosen[name] = value
    try:
        return build(function, chosen), chosen
    except UserError as error:
        raise UserError(f"config fields of generator: {error}") from error


def checkpoint_field(c: ConfigDict) -> str:
    """Return the field of the section that names ready weights, be they moved or not."""
    return "weights" if c.weights or not c.transfer_from else "transfer_from"


def checkpoint(c: ConfigDict) -> str:
    """Return what the section names as ready weights; '' where it names none."""
    return c.weights or c.transfer_from


def is_file(c: ConfigDict) -> bool:
    """Tell whether the section names a checkpoint of its user's."""
    return is_path(checkpoint(c))


def is_path(named: str) -> bool:
    """Tell whether ready weights are a checkpoint of the user's: none of this package's."""
    return bool(named) and not named.startswith(PACKAGE)


def has_generator(c: ConfigDict) -> bool:
    """Tell whether the experiment has a generator."""
    return c.family != NONE


def own_arguments(c: ConfigDict) -> dict[str, int]:
    """Return the arguments of the generator that is trained here."""
    names = ("resolution", "channels_out", "code_dim", "base_channels", "max_channels")
    return {name: c[name] for name in names}


def describe(c: ConfigDict) -> Generator:
    """Return the section's generator, without its parameters. Raises UserError as `from_config`."""
    return from_config(c).generator if is_file(c) else build(OWN, own_arguments(c))
