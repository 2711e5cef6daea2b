"""Both ways to lay out a kernel, and how far a network had grown.

What the checkpoints of ProGAN and StyleGAN have in common. PyTorch's names count layers and blocks
from the lowest resolution on; TensorFlow's say the resolution, and count RGB from the highest.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import numpy as np

from natra_jax.generators.progressive import Growth
from natra_jax.types import UserError
from natra_jax.weights.tensors import Tensors

_MOST_BLOCKS = 11  # 4096 px


def highest(names: Iterable[str], pattern: str) -> int:
    """Return the highest number that pattern's first group matches in a name; -1 without any."""
    return max(
        (int(match[1]) for name in names if (match := re.fullmatch(pattern, name))), default=-1
    )


def require_blocks(blocks: int, family: str) -> None:
    """Raise UserError if no network of the family has as many."""
    if not 2 <= blocks <= _MOST_BLOCKS:
        raise UserError(
            f"the tensors are of {blocks} resolutions, from 4 px on: {family} has 2 to "
            f"{_MOST_BLOCKS}"
        )


def require_square(tensors: Tensors, name: str) -> None:
    """Raise UserError if the constant of that name, the first features, is not of 4x4."""
    shape = tensors.shape(name)
    if name in tensors and len(shape) in (3, 4) and shape[-2:] != (4, 4):
        raise UserError(
            f"{name} is {list(shape)}: the network begins with {shape[-2]}x{shape[-1]} features, "
            "and only those of square images, which begin with 4x4, are read"
        )


def growth(tensors: Tensors, name: str, blocks: int) -> tuple[Growth, tuple[str, ...]]:
    """Take how far the network had grown, by its tensor of that name, and a note if there is none.

    Raises UserError for an impossible value.
    """
    if name not in tensors:
        return Growth(blocks, 0.0), (
            "there is no level of detail (lod) in the checkpoint: it is taken as trained to the "
            "end",
        )
    value = tensors.take(name)
    if value.size != 1 or not 0 <= value.item() <= blocks - 1:
        raise UserError(f"{name} must be a number in 0..{blocks - 1}: the checkpoint is damaged")
    return Growth(blocks, value.item()), ()


def dense(tensors: Tensors, name: str, inputs: int, outputs: int, tensorflow: bool) -> np.ndarray:
    """Take the kernel [inputs, outputs] of a dense layer, of TensorFlow's layout or PyTorch's."""
    return (
        tensors.take(name, inputs, outputs) if tensorflow else tensors.take(name, outputs, inputs).T
    )


def kernel(
    tensors: Tensors, name: str, size: int, inputs: int, outputs: int, tensorflow: bool
) -> np.ndarray:
    """Take a convolution's kernel [size, size, inputs, outputs], of either layout."""
    if tensorflow:
        return tensors.take(name, size, size, inputs, outputs)
    return tensors.take(name, outputs, inputs, size, size).transpose(2, 3, 1, 0)


def rgb(
    tensors: Tensors,
    name: Callable[[int], str],
    separator: str,
    grown: Growth,
    channels: list[int],
    tensorflow: bool,
) -> tuple[list[dict[str, np.ndarray]], int]:
    """Take (parameters of the layers to RGB that take part, image channels); drop the others.

    Args:
        tensors: of the checkpoint.
        name: (block) -> the name of its layer, without what follows the separator.
        separator: between a layer and its 'weight' or 'bias'.
        grown: says which blocks take part.
        channels: of each block.
        tensorflow: whether the layout is TensorFlow's.

    Raises:
        UserError: if they do not fit.
    """
    img_channels = tensors.shape(f"{name(grown.painted.start)}{separator}bias", 1)[0]
    layers = []
    for block in grown.painted:
        weight = kernel(
            tensors, f"{name(block)}{separator}weight", 1, channels[block], img_channels, tensorflow
        )
        layers.append(
            {
                "kernel": weight[0, 0],
                "bias": tensors.take(f"{name(block)}{separator}bias", img_channels),
            }
        )
    others = tuple(
        name(block) + separator for block in range(grown.blocks) if block not in grown.painted
    )
    tensors.drop(lambda there: there.startswith(others))
    return layers, img_channels
