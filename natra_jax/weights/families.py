"""The families of foreign generators: how each is recognised by its tensors' names, and converted.

To add one: a module in `converters` with `recognises(names)` and `convert(tensors, config)`, and a
line in `FAMILIES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from natra_jax import trees
from natra_jax.generators import build
from natra_jax.types import Generator, Params, UserError
from natra_jax.weights.classifiers import CLASSIFIERS
from natra_jax.weights.converters import (
    biggan,
    biggan_deep,
    biggan_deep_hf,
    dcgan,
    progan,
    stylegan1,
    stylegan2_nv,
    stylegan2_rosinality,
)
from natra_jax.weights.selection import select
from natra_jax.weights.tensors import Checkpoint, Converted, Tensors

AUTO = "auto"


class Family(NamedTuple):
    """A family of foreign generators."""

    generator: str  # a key of natra_jax.generators.GENERATORS
    recognises: Callable[[set[str]], bool]  # (names of the tensors) -> whether they are of it
    convert: Callable[[Tensors, dict[str, Any]], Converted]  # (tensors, config)


FAMILIES = {
    "stylegan2_nv": Family("stylegan2", stylegan2_nv.recognises, stylegan2_nv.convert),
    "stylegan2_rosinality": Family(
        "stylegan2", stylegan2_rosinality.recognises, stylegan2_rosinality.convert
    ),
    "stylegan1": Family("stylegan", stylegan1.recognises, stylegan1.convert),
    "progan": Family("progan", progan.recognises, progan.convert),
    "biggan": Family("biggan", biggan.recognises, biggan.convert),
    "biggan_deep": Family("biggan_deep", biggan_deep.recognises, biggan_deep.convert),
    "biggan_deep_hf": Family("biggan_deep", biggan_deep_hf.recognises, biggan_deep_hf.convert),
    "dcgan": Family("dcgan", dcgan.recognises, dcgan.convert),
}


class Loaded(NamedTuple):
    """A generator with its parameters, as a file described it."""

    family: str  # a key of FAMILIES
    generator: Generator
    arguments: dict[str, Any]  # of the generator's function
    params: Params
    notes: tuple[str, ...] = ()  # what the user should know of the conversion

    @property
    def function(self) -> str:
        """The generator's function, a key of natra_jax.generators.GENERATORS."""
        return FAMILIES[self.family].generator


def convert(checkpoint: Checkpoint, family: str = AUTO) -> Loaded:
    """Return the generator that the tensors belong to, with its parameters.

    family: a key of `FAMILIES`, or 'auto' to recognise it by the names. Raises UserError for an
    unknown family, tensors that no family has, or tensors that do not fit.
    """
    if family != AUTO and family not in FAMILIES:
        raise UserError(f"--family={family}: must be one of {AUTO}, {', '.join(FAMILIES)}")
    wanted = FAMILIES if family == AUTO else {family: FAMILIES[family]}
    # classifiers, too, so that one is told where it belongs
    known = [*wanted.values(), *(CLASSIFIERS.values() if family == AUTO else ())]
    tensors, left_out = select(
        checkpoint, lambda names: any(network.recognises(names) for network in known)
    )
    if family == AUTO:
        family = _recognise(set(tensors))
    config = checkpoint.config or {}
    try:
        # what overflows is not finite then, and refused
        with np.errstate(all="ignore"):
            found = FAMILIES[family].convert(Tensors(tensors, family), dict(config))
        arguments, params, notes = found
        generator = build(FAMILIES[family].generator, arguments)
        _require_fit(generator, params)
    except UserError as error:
        raise UserError(f"as {family}: {error}") from error
    return Loaded(family, generator, arguments, params, (*left_out, *notes))


def from_state_dict(
    state_dict: Mapping[str, Any], config: dict[str, Any] | None = None, family: str = AUTO
) -> tuple[Generator, Params]:
    """Return (generator, params) of a state dict {name: array}.

    Names and layouts are those of the family's checkpoints. config: the constructor arguments that
    the checkpoint carries, where it carries any; what can be read off the shapes is. family: a key
    of `FAMILIES`, or 'auto' to recognise it by the names. Raises UserError as `convert` does.
    """
    tensors = {name: np.asarray(array) for name, array in state_dict.items()}
    loaded = convert(Checkpoint(tensors, config), family)
    return loaded.generator, loaded.params


def _recognise(names: set[str]) -> str:
    found = [name for name, family in FAMILIES.items() if family.recognises(names)]
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(f"the tensors may be of any of {', '.join(found)}: choose with --family")
    for network in CLASSIFIERS.values():
        if network.recognises(names):
            raise UserError(
                f"the tensors are a {network.NAME}'s, no generator's: config fields "
                "train.init_from and encoder.perceptual_weights take it"
            )
    some = ", ".join(sorted(names)[:3]) or "none at all"
    raise UserError(
        f"the tensors ({some}, ...) are of no generator known here: there are {', '.join(FAMILIES)}"
    )


def _require_fit(generator: Generator, params: Params) -> None:
    """Raise UserError, naming the first parameter, if params are not what the generator has.

    That is in shape, and in being finite: products of numbers that are may not be.
    """
    there = trees.shapes(params)
    expected = trees.shapes(jax.eval_shape(generator.init, jax.random.key(0)))
    for name in sorted(there.keys() | expected.keys()):
        if there.get(name) != expected.get(name):
            raise UserError(
                f"the tensors disagree with each other: {name} would be {there.get(name)}, "
                f"expected {expected.get(name)}"
            )
    for where, leaf in jax.tree.flatten_with_path(params)[0]:
        if not np.isfinite(leaf).all():
            raise UserError(
                f"the tensors are too large: {trees.leaf_name(where)} would not be finite"
            )
