"""What a training step trains on: every method by name, with what it needs.

To add one: write a function that returns a `Method` in a file of its own here, and name it in METHODS.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ml_collections import ConfigDict

from natra_jax.attacks import Space
from natra_jax.methods import adversarial, natra, plain
from natra_jax.types import Method

__all__ = ["METHODS", "MethodSpec"]


class MethodSpec(NamedTuple):
    """A method's place in an experiment."""

    build: Callable[[ConfigDict, int, Space | None], Method]
    """(config, num_classes, the space of natural variation where `latent` asks for it) -> Method"""
    fields: tuple[str, ...] = ()  # config sections that it reads beside train and classifier
    latent: bool = False  # moves codes: needs generator, codes and directions
    as_long_as: str = ""  # trained for as many network passes as this method


def _natra(config: ConfigDict, num_classes: int, space: Space) -> Method:
    c = config.natra
    settings = {"num_steps": c.num_steps, "restarts": c.restarts, "random_start": c.random_start}
    return natra.natra(space, num_classes=num_classes, rho=c.rho, epsilon_max=c.epsilon_max, smoothing=c.smoothing, **settings)


def _natra_oa(config: ConfigDict, num_classes: int, space: Space) -> Method:
    c = config.natra
    settings = {"num_steps": c.num_steps, "restarts": c.restarts, "random_start": c.random_start}
    return natra.natra_oa(space, num_classes=num_classes, epsilon=config.natra_oa.epsilon, **settings)


def _random(config: ConfigDict, num_classes: int, space: Space) -> Method:
    return natra.random(space, num_classes=num_classes, epsilon=config.natra.epsilon_max)


def _adv(config: ConfigDict, num_classes: int, space: None) -> Method:
    return adversarial.adv(num_classes=num_classes, **config.adv.to_dict())


METHODS = {
    "original": MethodSpec(lambda config, num_classes, space: plain.original()),
    "adv": MethodSpec(_adv, fields=("adv",)),
    "random": MethodSpec(_random, fields=("natra",), latent=True),
    "random_long": MethodSpec(_random, fields=("natra",), latent=True, as_long_as="natra"),
    "natra_oa": MethodSpec(_natra_oa, fields=("natra", "natra_oa"), latent=True),
    "natra": MethodSpec(_natra, fields=("natra",), latent=True),
}
