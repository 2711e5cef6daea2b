"""Classifiers that others trained: from a file to our network's options and variables.

options, variables, notes = load("vgg16.pth", "vgg16")
network = natra_jax.classifiers.build("vgg16", **options)
logits = network.apply(variables, images)
"""

from __future__ import annotations

import os

import numpy as np

from natra_jax.types import UserError
from natra_jax.weights.converters import resnet18, resnet50, vgg16
from natra_jax.weights.formats.detect import read
from natra_jax.weights.selection import select
from natra_jax.weights.tensors import Converted, Tensors

# by their names in natra_jax.classifiers.CLASSIFIERS
CLASSIFIERS = {"vgg16": vgg16, "resnet18": resnet18, "resnet50": resnet50}


def load(path: str | os.PathLike, name: str) -> Converted:
    """Read the named classifier's options and variables {"params", "batch_stats"} from path.

    name: a key of `CLASSIFIERS`. num_classes is among the options.

    Raises UserError, beginning with the path, if there is nothing, if it is damaged or malicious,
    or if it is of another network.
    """
    checkpoint, family = read(path), CLASSIFIERS[name]
    try:
        tensors, left_out = select(checkpoint, family.recognises)
        names = set(tensors)
        if not family.recognises(names):
            some = ", ".join(sorted(names)[:3]) or "none at all"
            raise UserError(
                f"its tensors ({some}, ...) are no {family.NAME}'s, with the names that "
                "torchvision gives them"
            )
        with np.errstate(all="ignore"):  # Tensors refuses what is not finite
            found = family.convert(Tensors(tensors, family.NAME), checkpoint.config or {})
        return found._replace(notes=(*left_out, *found.notes))
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
