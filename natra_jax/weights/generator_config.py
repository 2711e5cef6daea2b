"""The generator that an experiment's config describes: by a checkpoint, or by the numbers of the one that is trained here."""

from __future__ import annotations

import inspect

from ml_collections import ConfigDict

from natra_jax.generators import GENERATORS, build
from natra_jax.types import Generator, UserError
from natra_jax.weights.families import Loaded
from natra_jax.weights.loading import find

OWN = "style_small"  # what is trained here
NONE = "none"  # the family of an experiment that does without
PACKAGE = "package:"  # before the name of weights that come with natra_jax
FIELDS = (
    "weights",
    "family",
    "truncation",
    "dtype",
)  # of the config's section generator, that a checkpoint's generator depends on


def from_config(c: ConfigDict) -> Loaded:
    """c: the section generator. Raises UserError, naming the field, if its checkpoint cannot be used or does not go with the others."""
    try:
        loaded = find(c.weights, c.family)
    except UserError as error:
        raise UserError(f"config field generator.weights: {error}") from error
    wanted = {
        "truncation": c.truncation or None,
        "dtype": c.dtype if c.dtype != "float32" else None,
    }
    taken = inspect.signature(GENERATORS[loaded.function]).parameters
    arguments = dict(loaded.arguments)
    for name, value in wanted.items():
        if value is None:
            continue
        if name not in taken:
            raise UserError(
                f"config field generator.{name} is {value!r}: a {loaded.function}, which {c.weights} holds, has none: leave it out"
            )
        arguments[name] = value
    try:
        return loaded._replace(generator=build(loaded.function, arguments), arguments=arguments)
    except UserError as error:
        raise UserError(f"config fields of generator: {error}") from error


def is_file(c: ConfigDict) -> bool:
    """Whether the section names a checkpoint of its user's."""
    return bool(c.weights) and not c.weights.startswith(PACKAGE)


def has_generator(c: ConfigDict) -> bool:
    """Whether the experiment has one."""
    return c.family != NONE


def own_arguments(c: ConfigDict) -> dict[str, int]:
    """Of the generator that is trained here."""
    return {
        name: c[name]
        for name in ("resolution", "channels_out", "code_dim", "base_channels", "max_channels")
    }


def describe(c: ConfigDict) -> Generator:
    """The section's generator, without its parameters. Raises UserError as `from_config` does."""
    return from_config(c).generator if is_file(c) else build(OWN, own_arguments(c))
