"""Residual networks from PyTorch: the walk through their stages.

It is the same whatever their blocks are and whatever their layers are called; that is in resnet50
and resnet18. What comes out is for `natra_jax.classifiers.ResNet`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from flax.traverse_util import unflatten_dict

from natra_jax.classifiers.auxiliary_batch_norm import AUXILIARY
from natra_jax.weights.converters import batch_norm
from natra_jax.weights.tensors import Converted, Tensors

STAGES = 4


class Block(NamedTuple):
    """A residual block."""

    # of its convolutions in order, by our name of each; theirs are conv1, conv2, ...
    windows: Mapping[str, int]
    expansion: int  # channels that leave it over those within


class Names(NamedTuple):
    """The names that one author's networks have for their layers."""

    stem: str
    stem_norm: str
    block: tuple[str, ...]  # of each stage, to be filled in with the block's number
    norm: str  # of a block's BatchNorm, to be filled in with its convolution's number
    shortcut: tuple[str, str]  # convolution and norm
    head: str
    auxiliary: str | None = None  # as norm, for perturbed features
    auxiliary_shortcut: str | None = None


TORCHVISION = Names(
    "conv1",
    "bn1",
    tuple(f"layer{stage}.{{}}" for stage in range(1, STAGES + 1)),
    "bn{}",
    ("downsample.0", "downsample.1"),
    "fc",
)


def recognises(found: set[str], names: Names, block: Block) -> bool:
    """Tell whether the tensors' names found are those of a network of such blocks."""
    first, last = names.block[0].format(0), len(block.windows)
    wanted = {f"{names.stem}.weight", f"{first}.conv{last}.weight", f"{names.head}.weight"}
    return wanted <= found and f"{first}.conv{last + 1}.weight" not in found


def convert(tensors: Tensors, names: Names, block: Block) -> Converted:
    """Convert to num_classes, widths and blocks of the network, and its variables.

    All are read off the tensors. The variables are {"params", "batch_stats"}; where the names have
    auxiliary BatchNorms, with those behind the first stage, which is where our AdvBN layer is.

    Raises UserError for tensors that are missing, left over, or of shapes that do not belong
    together.
    """
    flat: dict[tuple[str, ...], np.ndarray] = {}

    def take(
        path: tuple[str, ...],
        conv: str,
        norm: str,
        outputs: int,
        inputs: int,
        window: int,
        auxiliary: str | None = None,
    ) -> None:
        """Put a convolution and its BatchNorms into flat. path: ours; conv, norm: their names."""
        flat["params", *path, "kernel"] = tensors.take(
            f"{conv}.weight", outputs, inputs, window, window
        ).transpose(2, 3, 1, 0)
        for source, branch in [(norm, ())] + ([(auxiliary, (AUXILIARY,))] if auxiliary else []):
            flat.update(batch_norm.take(tensors, source, (*branch, *path, "BatchNorm_0"), outputs))

    widths = [tensors.shape(f"{stage.format(0)}.conv1.weight", 4)[0] for stage in names.block]
    blocks = [_count(tensors, stage) for stage in names.block]
    inputs = widths[0]
    take(("stem",), names.stem, names.stem_norm, inputs, 3, 7)
    for stage, (width, count, numbered) in enumerate(
        zip(widths, blocks, names.block, strict=True), start=1
    ):
        for i in range(count):
            ours, theirs, outputs = f"stage{stage}_{i}", numbered.format(i), block.expansion * width
            # our AdvBN layer is behind the first stage
            auxiliary = f"{theirs}.{names.auxiliary}" if names.auxiliary and stage > 1 else None
            channels = [inputs, *[width] * (len(block.windows) - 1), outputs]
            for n, (part, window) in enumerate(block.windows.items(), start=1):
                norm = f"{theirs}.{names.norm}".format(n)
                take(
                    (ours, part),
                    f"{theirs}.conv{n}",
                    norm,
                    channels[n],
                    channels[n - 1],
                    window,
                    auxiliary and auxiliary.format(n),
                )
            # the first block of every later stage halves the resolution
            if i == 0 and (stage > 1 or inputs != outputs):
                conv, norm = (f"{theirs}.{name}" for name in names.shortcut)
                take(
                    (ours, "shortcut"),
                    conv,
                    norm,
                    outputs,
                    inputs,
                    1,
                    auxiliary and f"{theirs}.{names.auxiliary_shortcut}",
                )
            inputs = outputs
    classes = tensors.shape(f"{names.head}.weight", 2)[0]
    flat["params", "head", "kernel"] = tensors.take(f"{names.head}.weight", classes, inputs).T
    flat["params", "head", "bias"] = tensors.take(f"{names.head}.bias", classes)
    batch_norm.drop_counts(tensors)
    tensors.close()
    return Converted(
        {"num_classes": classes, "widths": tuple(widths), "blocks": tuple(blocks)},
        unflatten_dict(flat),
    )


def _count(tensors: Tensors, stage: str) -> int:
    """Return the number of blocks of the stage: as far as they are numbered without a gap."""
    pattern = re.compile(re.escape(stage).replace(r"\{\}", "([0-9]{1,4})") + r"\.conv1\.weight")
    there = {int(match[1]) for name in tensors.names() if (match := pattern.fullmatch(name))}
    return next(i for i in range(len(there) + 1) if i not in there)
