"""ResNet-18, and other depths without bottlenecks, under torchvision's names.

from natra_jax.classifiers import build
options, variables, notes = convert(Tensors(state_dict, "ResNet-18"), {})
logits = build("resnet18", **options).apply(variables, images)
"""

from __future__ import annotations

from typing import Any

from natra_jax.weights.converters import resnet
from natra_jax.weights.tensors import Converted, Tensors

NAME = "ResNet-18"
_BASIC = resnet.Block({"first": 3, "second": 3}, expansion=1)


def recognises(names: set[str]) -> bool:
    """Tell whether the names are those of a network of basic blocks."""
    return resnet.recognises(names, resnet.TORCHVISION, _BASIC)


def convert(tensors: Tensors, config: dict[str, Any]) -> Converted:
    """Convert to arguments of `natra_jax.classifiers.ResNet` but for bottleneck, and its variables.

    config: not read. Raises UserError as `natra_jax.weights.converters.resnet.convert` does.
    """
    return resnet.convert(tensors, resnet.TORCHVISION, _BASIC)
