"""Golden networks, and what a converter makes of them, for the tests of converters."""

from __future__ import annotations

import json
from functools import cache

import numpy as np

from natra_jax.generators import build
from natra_jax.types import Generator, Params
from natra_jax.weights.families import FAMILIES
from natra_jax.weights.formats import nvidia_tensorflow
from natra_jax.weights.tensors import Checkpoint, Tensors
from tests.weights import writers


@cache
def golden(name: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict]:
    """(inputs and outputs, state dict, config) of tests/golden/NAME.npz."""
    tensors, config, data = writers.golden(name)
    return data, tensors, config


@cache
def tensorflow(name: str) -> Checkpoint:
    """Of tests/golden/NAME.pkl."""
    path = writers.GOLDEN / f"{name}.pkl"
    with path.open("rb") as file:
        return nvidia_tensorflow.read(file, path)


def converted(
    family: str, tensors: dict[str, np.ndarray], config: dict
) -> tuple[Generator, Params]:
    """By the family's converter, whose arguments can be written down as JSON."""
    arguments, params, _ = FAMILIES[family].convert(Tensors(tensors, family), config)
    assert json.loads(json.dumps(arguments)) == arguments
    return build(FAMILIES[family].generator, arguments), params


def nhwc(array: np.ndarray) -> np.ndarray:
    """Channels last."""
    return array.transpose(0, 2, 3, 1)
