"""VGG-16 under torchvision's names: features.{0, 2, 5, ...}, the convolutions, and classifier.{0, 3, 6}, the dense layers.

Of torchvision's two files, IMAGENET1K_V1. In IMAGENET1K_FEATURES the dense layers are NaN, so that it is refused: its network expects
inputs that are scaled otherwise.

    from natra_jax.classifiers import Vgg16
    options, variables, notes = convert(Tensors(state_dict, "VGG-16"), {})
    logits = Vgg16(**options).apply(variables, images)
"""

from __future__ import annotations

from collections.abc import Iterator

from natra_jax.classifiers.vgg import CONVOLUTIONS, POOLED
from natra_jax.weights.tensors import Converted, Tensors

NAME = "VGG-16"
_DENSE = {"classifier.0": "dense1", "classifier.3": "dense2", "classifier.6": "head"}


def recognises(names: set[str]) -> bool:
    """Whether exactly VGG-16's convolutions are there: VGG-19 and those with BatchNorm have others."""
    theirs = {name for name in names if name.startswith("features.") and name.endswith(".weight")}
    return theirs == {f"{name}.weight" for name, _, _ in _convolutions()}


def convert(tensors: Tensors, config: dict) -> Converted:
    """Arguments of `natra_jax.classifiers.Vgg16` and its variables {"params", "batch_stats"}, all read off the tensors.

    Raises UserError for tensors that are missing, left over, or of shapes that do not belong together.
    """
    params, widths, inputs = {}, [], 3
    for name, ours, block in _convolutions():
        if block == len(widths):
            widths.append(tensors.shape(f"{name}.weight", 4)[0])
        kernel = tensors.take(f"{name}.weight", widths[-1], inputs, 3, 3).transpose(2, 3, 1, 0)
        params[ours] = {"kernel": kernel, "bias": tensors.take(f"{name}.bias", widths[-1])}
        inputs = widths[-1]
    units, inputs = [], inputs * POOLED**2
    for name, ours in _DENSE.items():
        units.append(tensors.shape(f"{name}.weight", 2)[0])
        kernel = tensors.take(f"{name}.weight", units[-1], inputs).T
        if ours == "dense1":
            # its inputs are one channel after another there, one pixel after another here
            kernel = kernel.reshape(widths[-1], POOLED, POOLED, -1).transpose(1, 2, 0, 3).reshape(inputs, -1)
        params[ours] = {"kernel": kernel, "bias": tensors.take(f"{name}.bias", units[-1])}
        inputs = units[-1]
    tensors.close()
    arguments = {"num_classes": units[-1], "widths": tuple(widths), "dense": tuple(units[:-1])}
    return Converted(arguments, {"params": params, "batch_stats": {}})


def _convolutions() -> Iterator[tuple[str, str, int]]:
    """(their name, ours, block from 0) of each; ReLUs and poolings count in their numbers."""
    number = 0
    for block, count in enumerate(CONVOLUTIONS):
        for layer in range(count):
            yield f"features.{number}", f"conv{block + 1}_{layer + 1}", block
            number += 2
        number += 1
