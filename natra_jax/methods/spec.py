"""A method's place in an experiment: how it is made from a config, and what it needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from natra_jax.types import Directions, Generator, Method


class Latent(NamedTuple):
    """What methods that move codes are given."""

    generator: Generator
    params: Any
    directions: Directions | None  # for methods that ask for them


class MethodSpec(NamedTuple):
    """One entry of METHODS."""

    build: Callable[[ConfigDict, int, Latent | None], Method]
    """(config, num_classes, what `latent` asks for) -> Method"""
    fields: tuple[str, ...] = ()  # config sections that it reads beside train and classifier
    latent: str = ""  # 'codes': needs generator and codes; 'directions': these and directions
    single_code: bool = False  # with a single code an image, whatever the experiment's encoder makes: latent codes expansion off
    match_passes_of: str = ""  # trained for as many network passes as this method
    fine_tunes: str = (
        ""  # starts from this method's classifier, and trains by the schedule of the section advbn
    )
    perturbs: bool = False  # acts on the features at a classifier's AdvBN layer
