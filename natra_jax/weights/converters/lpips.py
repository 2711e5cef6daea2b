"""The heads of LPIPS (Zhang et al. 2018) for VGG-16, under their authors' names.

lin{0..4}.model.1.weight, one weight a channel
"""

from __future__ import annotations

from typing import Any

from natra_jax.types import UserError
from natra_jax.weights.tensors import Converted, Tensors

_ALEXNET = (64, 192, 384, 256, 256)
_OF_ANOTHER = "but VGG-16's are needed: give the authors' vgg.pth"
_NAMES = tuple(f"lin{layer}.model.1.weight" for layer in range(5))


def recognises(names: set[str]) -> bool:
    """Tell whether a state dict's names are the heads'."""
    return set(_NAMES) <= names


def convert(tensors: Tensors, config: dict[str, Any]) -> Converted:
    """Convert to the heads for `natra_jax.latents.lpips.distance`: [C] each, finest layer first.

    config: not read. Raises UserError for other tensors.
    """
    if "lin6.model.1.weight" in tensors:
        raise UserError(f"these are the heads of SqueezeNet, {_OF_ANOTHER}")
    if all(tensors.shape(name)[1:2] == (n,) for name, n in zip(_NAMES, _ALEXNET, strict=True)):
        raise UserError(f"these are the heads of AlexNet, {_OF_ANOTHER}")
    heads = []
    for name in _NAMES:
        weight = tensors.take(name, 1, None, 1, 1)
        if not weight.size:
            raise UserError(f"{name} is empty: the checkpoint is damaged")
        heads.append(weight.reshape(-1))
    tensors.close()
    return Converted({}, heads)
