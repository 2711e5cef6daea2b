"""ResNet-50, and other depths with bottlenecks, under torchvision's names or those of AdvBN's authors (Shu et al. 2021).

    from natra_jax.classifiers import ResNet
    options, variables, notes = convert(Tensors(state_dict, "ResNet-50"), {})
    logits = ResNet(**options).apply(variables, images)

AdvBN's network is torchvision's in two parts, feature_x before the layer that perturbs features and head behind it, where every BatchNorm
has a twin for perturbed features (clean_bn1 and adv_bn1): `natra_jax.classifiers.dual` has both. The twins in feature_x see nothing.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
from flax.traverse_util import unflatten_dict

from natra_jax.classifiers.dual import TWINS
from natra_jax.classifiers.resnet import EXPANSION
from natra_jax.weights.tensors import Converted, Tensors

NAME = "ResNet-50"
STAGES = 4
_INSIDE = {"reduce": 1, "spatial": 2, "expand": 3}  # our name of a bottleneck's convolution -> its number there
_NORM = {"scale": "weight", "bias": "bias"}, {"mean": "running_mean", "var": "running_var"}


class _Names(NamedTuple):
    """How a lineage names its layers."""

    stem: str
    stem_norm: str
    block: tuple[str, ...]  # of each stage, to be filled in with the block's number
    norm: str  # of a bottleneck's, to be filled in with its number
    shortcut: tuple[str, str]  # convolution and norm
    head: str
    twin: str | None = None  # as norm, for perturbed features
    twin_shortcut: str | None = None


_TORCHVISION = _Names(
    "conv1", "bn1", tuple(f"layer{stage}.{{}}" for stage in range(1, STAGES + 1)), "bn{}", ("downsample.0", "downsample.1"), "fc"
)


def _advbn(cut: int) -> _Names:
    """Of AdvBN, with its layer behind stage `cut`."""
    stages = range(1, STAGES + 1)
    block = tuple(f"feature_x.{stage + 3}.{{}}" if stage <= cut else f"head.layer{stage}_{{}}" for stage in stages)
    shortcut = ("downsample.conv", "downsample.clean_bn")
    return _Names("feature_x.0", "feature_x.1", block, "clean_bn{}", shortcut, "head.fc", "adv_bn{}", "downsample.adv_bn")


def recognises(names: set[str]) -> bool:
    """Whether a network of bottlenecks is there."""
    lineage = _lineage(names)
    return {f"{lineage.stem}.weight", f"{lineage.block[0].format(0)}.conv3.weight", f"{lineage.head}.weight"} <= names


def convert(tensors: Tensors, config: dict) -> Converted:
    """Arguments of `natra_jax.classifiers.ResNet` and its variables {"params", "batch_stats"}, all read off the tensors.

    Of AdvBN's names, variables with adversarial twins of the BatchNorm behind the first stage, which is where our AdvBN layer is.

    Raises UserError for tensors that are missing, left over, or of shapes that do not belong together.
    """
    names = _lineage(set(tensors.names()))
    flat: dict[tuple[str, ...], np.ndarray] = {}

    def take(path: tuple[str, ...], conv: str, norm: str, outputs: int, inputs: int, window: int, twin: str | None = None) -> None:
        flat["params", *path, "kernel"] = tensors.take(f"{conv}.weight", outputs, inputs, window, window).transpose(2, 3, 1, 0)
        for source, branch in [(norm, ())] + ([(twin, (TWINS,))] if twin else []):
            for collection, leaves in zip(("params", "batch_stats"), _NORM, strict=True):
                for ours, theirs in leaves.items():
                    flat[collection, *branch, *path, "BatchNorm_0", ours] = tensors.take(f"{source}.{theirs}", outputs)

    widths = [tensors.shape(f"{block.format(0)}.conv1.weight", 4)[0] for block in names.block]
    blocks = [_count(tensors, block) for block in names.block]
    inputs = widths[0]
    take(("stem",), names.stem, names.stem_norm, inputs, 3, 7)
    for stage, (width, count, block) in enumerate(zip(widths, blocks, names.block, strict=True), start=1):
        for i in range(count):
            ours, theirs, outputs = f"stage{stage}_{i}", block.format(i), EXPANSION * width
            # our AdvBN layer is behind the first stage
            twin = f"{theirs}.{names.twin}" if names.twin and stage > 1 else None
            sizes = {"reduce": (width, inputs, 1), "spatial": (width, width, 3), "expand": (outputs, width, 1)}
            for part, n in _INSIDE.items():
                take((ours, part), f"{theirs}.conv{n}", f"{theirs}.{names.norm}".format(n), *sizes[part], twin and twin.format(n))
            # the first block of every later stage halves the resolution
            if i == 0 and (stage > 1 or inputs != outputs):
                conv, norm = (f"{theirs}.{name}" for name in names.shortcut)
                take((ours, "shortcut"), conv, norm, outputs, inputs, 1, twin and f"{theirs}.{names.twin_shortcut}")
            inputs = outputs
    classes = tensors.shape(f"{names.head}.weight", 2)[0]
    flat["params", "head", "kernel"] = tensors.take(f"{names.head}.weight", classes, inputs).T
    flat["params", "head", "bias"] = tensors.take(f"{names.head}.bias", classes)
    tensors.drop(lambda name: name.endswith(".num_batches_tracked"))
    if names.twin:
        # those of the trunk see no perturbed features
        tensors.drop(lambda name: name.startswith("feature_x.") and ".adv_bn" in name)
    tensors.close()
    notes = ("its BatchNorm has adversarial twins: advbn goes on training both, all else starts from the clean ones",) if names.twin else ()
    return Converted({"num_classes": classes, "widths": tuple(widths), "blocks": tuple(blocks)}, unflatten_dict(flat), notes)


def _lineage(names: set[str]) -> _Names:
    if "feature_x.0.weight" not in names:
        return _TORCHVISION
    return _advbn(cut=max(stage for stage in range(STAGES + 1) if not stage or f"feature_x.{stage + 3}.0.conv1.weight" in names))


def _count(tensors: Tensors, block: str) -> int:
    """How many blocks the stage has: as far as they are numbered without a gap."""
    pattern = re.compile(re.escape(block).replace(r"\{\}", "([0-9]{1,4})") + r"\.conv1\.weight")
    there = {int(match[1]) for name in tensors.names() if (match := pattern.fullmatch(name))}
    return next(i for i in range(len(there) + 1) if i not in there)
