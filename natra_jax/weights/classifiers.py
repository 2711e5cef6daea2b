"""Classifiers that others trained: from a file to our network's options and variables.

options, variables, notes = load("vgg16.pth", "vgg16")
network = natra_jax.classifiers.build("vgg16", **options)
logits = network.apply(variables, images)
"""

from __future__ import annotations

import os

from natra_jax.types import UserError
from natra_jax.weights.converters import resnet18, resnet50, vgg16
from natra_jax.weights.formats.detect import read
from natra_jax.weights.tensors import Converted, Tensors

CLASSIFIERS = {
    "vgg16": vgg16,
    "resnet18": resnet18,
    "resnet50": resnet50,
}  # by their names among natra_jax.classifiers.CLASSIFIERS


def load(path: str | os.PathLike, name: str) -> Converted:
    """The options of the named classifier, with num_classes among them, and its variables {"params", "batch_stats"}, as path has them.

    Raises UserError, beginning with the path, if there is nothing, if it is damaged or malicious, or if it is of another network.
    """
    checkpoint, family = read(path), CLASSIFIERS[name]
    names = set(checkpoint.tensors)
    try:
        if not family.recognises(names):
            some = ", ".join(sorted(names)[:3]) or "none at all"
            raise UserError(
                f"its tensors ({some}, ...) are no {family.NAME}'s, with the names that "
                "torchvision gives them"
            )
        return family.convert(Tensors(checkpoint.tensors, family.NAME), checkpoint.config or {})
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
