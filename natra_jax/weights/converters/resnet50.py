"""ResNet-50, and other depths with bottlenecks.

Under torchvision's names, or those of AdvBN's authors (Shu et al. 2021):

    from natra_jax.classifiers import ResNet
    options, variables, notes = convert(Tensors(state_dict, "ResNet-50"), {})
    logits = ResNet(**options).apply(variables, images)

AdvBN's network is torchvision's in two parts, feature_x before the layer that perturbs features and
head behind it, where every BatchNorm has an auxiliary one for perturbed features (clean_bn1 and
adv_bn1): `natra_jax.classifiers.auxiliary_batch_norm` has both. The auxiliary ones in feature_x see
nothing.
"""

from __future__ import annotations

from typing import Any

from natra_jax.classifiers.resnet import EXPANSION
from natra_jax.weights.converters import resnet
from natra_jax.weights.tensors import Converted, Tensors

NAME = "ResNet-50"
_BOTTLENECK = resnet.Block({"reduce": 1, "spatial": 3, "expand": 1}, EXPANSION)


def recognises(names: set[str]) -> bool:
    """Tell whether the names are those of a network of bottlenecks."""
    return resnet.recognises(names, _layer_names(names), _BOTTLENECK)


def convert(tensors: Tensors, config: dict[str, Any]) -> Converted:
    """Convert to arguments of `natra_jax.classifiers.ResNet` and its variables.

    config: not read. Raises UserError as `natra_jax.weights.converters.resnet.convert` does.
    """
    names = _layer_names(set(tensors.names()))
    if not names.auxiliary:
        return resnet.convert(tensors, names, _BOTTLENECK)
    # those of the trunk see no perturbed features
    tensors.drop(lambda name: name.startswith("feature_x.") and ".adv_bn" in name)
    note = (
        "its BatchNorm has adversarial twins: advbn goes on training both, all else starts from "
        "the clean ones"
    )
    return resnet.convert(tensors, names, _BOTTLENECK)._replace(notes=(note,))


def _layer_names(found: set[str]) -> resnet.Names:
    """Return the names of the layers, torchvision's or AdvBN's, by the tensors' names found."""
    if "feature_x.0.weight" not in found:
        return resnet.TORCHVISION
    stages = range(1, resnet.STAGES + 1)
    trunk = [stage for stage in stages if f"feature_x.{stage + 3}.0.conv1.weight" in found]
    return _advbn(cut=max(trunk, default=0))


def _advbn(cut: int) -> resnet.Names:
    """Return the names of the layers of AdvBN's network, with its layer behind stage cut."""
    stages = range(1, resnet.STAGES + 1)
    block = tuple(
        f"feature_x.{stage + 3}.{{}}" if stage <= cut else f"head.layer{stage}_{{}}"
        for stage in stages
    )
    shortcut = ("downsample.conv", "downsample.clean_bn")
    return resnet.Names(
        "feature_x.0",
        "feature_x.1",
        block,
        "clean_bn{}",
        shortcut,
        "head.fc",
        "adv_bn{}",
        "downsample.adv_bn",
    )
