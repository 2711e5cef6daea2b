"""VGG-16 under torchvision's names.

    features.{0, 2, 5, ...}, the convolutions; classifier.{0, 3, 6}, the dense layers

With BatchNorm (vgg16_bn) the convolutions are features.{0, 3, 7, ...}, each with its BatchNorm
behind it. Of torchvision's two files for the network without, give IMAGENET1K_V1: in
IMAGENET1K_FEATURES the dense layers are NaN, so that it is refused; its network expects inputs that
are scaled otherwise.

    from natra_jax.classifiers import Vgg16
    options, variables, notes = convert(Tensors(state_dict, "VGG-16"), {})
    logits = Vgg16(**options).apply(variables, images)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flax.traverse_util import unflatten_dict

from natra_jax.classifiers.vgg import CONVOLUTIONS, POOLED
from natra_jax.weights.converters import batch_norm
from natra_jax.weights.tensors import Converted, Tensors

NAME = "VGG-16"
_DENSE = {"classifier.0": "dense1", "classifier.3": "dense2", "classifier.6": "head"}


def recognises(names: set[str]) -> bool:
    """Tell whether exactly VGG-16's convolutions are there, alone or with their BatchNorm.

    VGG-19 has others.
    """
    theirs = {name for name in names if name.startswith("features.") and name.endswith(".weight")}
    return any(
        theirs == {f"{name}.weight" for name in _numbered(normed)} for normed in (False, True)
    )


def convert(tensors: Tensors, config: dict[str, Any]) -> Converted:
    """Convert to arguments of `natra_jax.classifiers.Vgg16` and its variables.

    These are {"params", "batch_stats"}. All is read off the tensors, nothing off config. Raises
    UserError for tensors that are missing, left over, or of shapes that do not belong together.
    """
    normed = "features.1.weight" in tensors
    flat, widths, inputs = {}, [], 3
    for conv, norm, (block, layer) in _layers(normed):
        if block > len(widths):
            widths.append(tensors.shape(f"{conv}.weight", 4)[0])
        ours = f"conv{block}_{layer}"
        flat["params", ours, "kernel"] = tensors.take(
            f"{conv}.weight", widths[-1], inputs, 3, 3
        ).transpose(2, 3, 1, 0)
        flat["params", ours, "bias"] = tensors.take(f"{conv}.bias", widths[-1])
        if normed:
            flat |= batch_norm.take(tensors, norm, (f"norm{block}_{layer}",), widths[-1])
        inputs = widths[-1]
    units, inputs = [], inputs * POOLED**2
    for name, ours in _DENSE.items():
        units.append(tensors.shape(f"{name}.weight", 2)[0])
        kernel = tensors.take(f"{name}.weight", units[-1], inputs).T
        if ours == "dense1":
            # its inputs are one channel after another there, one pixel after another here
            kernel = (
                kernel.reshape(widths[-1], POOLED, POOLED, -1)
                .transpose(1, 2, 0, 3)
                .reshape(inputs, -1)
            )
        flat["params", ours, "kernel"] = kernel
        flat["params", ours, "bias"] = tensors.take(f"{name}.bias", units[-1])
        inputs = units[-1]
    if normed:
        batch_norm.drop_counts(tensors)
    tensors.close()
    arguments = {
        "num_classes": units[-1],
        "widths": tuple(widths),
        "dense": tuple(units[:-1]),
        "norm": "batch" if normed else "none",
    }
    return Converted(arguments, {"batch_stats": {}} | unflatten_dict(flat))


def _numbered(normed: bool) -> Iterator[str]:
    """Yield their names of all layers with weights among the features."""
    for conv, norm, _ in _layers(normed):
        yield from (conv, norm) if normed else (conv,)


def _layers(normed: bool) -> Iterator[tuple[str, str, tuple[int, int]]]:
    """Yield (their name, their name of its BatchNorm, (block, layer) from 1) of each convolution.

    ReLUs and poolings count in their numbers.
    """
    number = 0
    for block, count in enumerate(CONVOLUTIONS, start=1):
        for layer in range(1, count + 1):
            yield f"features.{number}", f"features.{number + 1}", (block, layer)
            number += 3 if normed else 2
        number += 1
