"""The families of foreign generators: how each is recognised from the names of its tensors, and what converts it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

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
from natra_jax.weights.tensors import Checkpoint, Converted, Tensors

AUTO = "auto"


class Family(NamedTuple):
    generator: str  # of natra_jax.generators.GENERATORS
    recognises: Callable[[set[str]], bool]
    convert: Callable[[Tensors, dict], Converted]


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

    family: str  # of FAMILIES
    generator: Generator
    arguments: dict[str, Any]  # that the generator's function was called with
    params: Params
    notes: tuple[str, ...] = ()  # what the user should know of the conversion

    @property
    def function(self) -> str:
        """The generator's function, of natra_jax.generators.GENERATORS."""
        return FAMILIES[self.family].generator


def convert(checkpoint: Checkpoint, family: str = AUTO) -> Loaded:
    """The generator that the tensors belong to, and its parameters.

    Raises UserError for an unknown family, tensors that no family has, or tensors that do not fit.
    """
    names = set(checkpoint.tensors)
    if family == AUTO:
        family = _recognise(names)
    elif family not in FAMILIES:
        raise UserError(f"--family={family}: must be one of {AUTO}, {', '.join(FAMILIES)}")
    config = checkpoint.config or {}
    try:
        arguments, params, notes = FAMILIES[family].convert(
            Tensors(checkpoint.tensors, family), dict(config)
        )
        generator = build(FAMILIES[family].generator, arguments)
        _require_fit(generator, params)
    except UserError as error:
        raise UserError(f"as {family}: {error}") from error
    return Loaded(family, generator, arguments, params, notes)


def from_state_dict(
    state_dict: Mapping[str, Any], config: dict | None = None, family: str = AUTO
) -> tuple[Generator, Params]:
    """(generator, params) of a state dict {name: array}, with the names and layouts that the family's checkpoints have.

    config: the constructor arguments that the checkpoint carries, where it carries any; what can be read off the shapes is. family: of
    `FAMILIES`, or 'auto' to recognise it from the names. Raises UserError as `convert` does.
    """
    loaded = convert(
        Checkpoint({name: np.asarray(array) for name, array in state_dict.items()}, config), family
    )
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
    """Raises UserError, naming the first parameter, if params are not what the generator has."""
    wanted = jax.eval_shape(generator.init, jax.random.key(0))
    there, expected = (
        {
            jax.tree_util.keystr(where, simple=True, separator="/"): tuple(leaf.shape)
            for where, leaf in jax.tree.flatten_with_path(tree)[0]
        }
        for tree in (params, wanted)
    )
    for name in sorted(there.keys() | expected.keys()):
        if there.get(name) != expected.get(name):
            raise UserError(
                f"the tensors disagree with each other: {name} would be {there.get(name)}, "
                f"expected {expected.get(name)}"
            )
