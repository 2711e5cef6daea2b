"""A method's place in an experiment: how it is made from a config, and what it needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ml_collections import ConfigDict

from natra_jax.types import Directions, Generator, Method, Params


class Latent(NamedTuple):
    """The generator and directions, for methods that move codes."""

    generator: Generator
    params: Params
    directions: Directions | None  # for methods that ask for them

    def required_directions(self) -> Directions:
        """Return the directions. Raise ValueError where the method's spec did not ask for them."""
        if self.directions is None:
            raise ValueError(
                "the method needs directions: its MethodSpec needs latent='directions'"
            )
        return self.directions


class MethodSpec(NamedTuple):
    """One entry of METHODS."""

    build: Callable[[ConfigDict, int, Latent | None], Method]
    """(config, num_classes, what `latent` asks for) -> Method"""
    fields: tuple[str, ...] = ()
    """Config fields that `build` reads, or sections of which it reads every field"""
    latent: str = ""  # 'codes': needs generator and codes; 'directions': these and directions
    single_code: bool = False
    """Use a single code per image, whatever the experiment's encoder makes: latent codes expansion
    is off."""
    match_passes_of: str = ""  # trained for as many network passes as this method
    fine_tunes: str = ""
    """Start from this method's classifier, and train by the schedule of the section advbn."""
    perturbs: bool = False  # acts on the features at a classifier's AdvBN layer


def required(latent: Latent | None) -> Latent:
    """Return latent. Raise ValueError where the method's spec did not ask for it."""
    if latent is None:
        raise ValueError("the method moves codes: its MethodSpec needs latent='codes'")
    return latent
