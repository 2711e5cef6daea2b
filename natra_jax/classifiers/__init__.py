"""Classifiers: Flax modules called as module.apply(variables, images, train) -> logits.

from natra_jax.classifiers import build
import jax, jax.numpy as jnp
classifier = build("cnn", num_classes=10)
variables = jax.jit(classifier.init)(jax.random.key(0), jnp.zeros([1, 16, 16, 3]))
"""

from __future__ import annotations

from typing import Any

from flax import linen as nn

from natra_jax.classifiers.advbn import AdvBN, Cut
from natra_jax.classifiers.auxiliary_batch_norm import (
    add_auxiliary,
    adversarial,
    clean,
    has_auxiliary,
)
from natra_jax.classifiers.cnn import Cnn
from natra_jax.classifiers.factory import from_factory, require_logits
from natra_jax.classifiers.resnet import ResNet, ResNet18
from natra_jax.classifiers.vgg import Vgg16
from natra_jax.classifiers.wide_resnet import WideResNet

CLASSIFIERS: dict[str, type[nn.Module]] = {
    "cnn": Cnn,
    "vgg16": Vgg16,
    "resnet18": ResNet18,
    "resnet50": ResNet,
    "wide_resnet": WideResNet,
}


def build(name: str, num_classes: int, axis_name: str | None = None, **options: Any) -> nn.Module:
    """Make the named classifier.

    Args:
      name: in CLASSIFIERS; KeyError for any other.
      num_classes: numbers that it answers with.
      axis_name: the device axis over which BatchNorm averages.
      **options: its other fields.
    """
    return CLASSIFIERS[name](num_classes=num_classes, axis_name=axis_name, **options)


__all__ = [
    "CLASSIFIERS",
    "AdvBN",
    "Cnn",
    "Cut",
    "ResNet",
    "ResNet18",
    "Vgg16",
    "WideResNet",
    "add_auxiliary",
    "adversarial",
    "build",
    "clean",
    "from_factory",
    "has_auxiliary",
    "require_logits",
]
