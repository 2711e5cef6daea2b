"""ResNet-50, and other depths with bottlenecks, under torchvision's names or those of AdvBN's authors (Shu et al. 2021).

    from natra_jax.classifiers import ResNet
    options, variables, notes = convert(Tensors(state_dict, "ResNet-50"), {})
    logits = ResNet(**options).apply(variables, images)

AdvBN's network is torchvision's in two parts, feature_x before the layer that perturbs features and head behind it, where every BatchNorm
has a twin for perturbed features (clean_bn1 and adv_bn1): `natra_jax.classifiers.auxiliary_batch_norm` has both. The twins in feature_x see nothing.
"""

from __future__ import annotations

from natra_jax.classifiers.resnet import EXPANSION
from natra_jax.weights.converters import resnet
from natra_jax.weights.tensors import Converted, Tensors

NAME = "ResNet-50"
_BOTTLENECK = resnet.Block({"reduce": 1, "spatial": 3, "expand": 1}, EXPANSION)


def recognises(names: set[str]) -> bool:
    """Whether a network of bottlenecks is there."""
    return resnet.recognises(names, _lineage(names), _BOTTLENECK)


def convert(tensors: Tensors, config: dict) -> Converted:
    """Arguments of `natra_jax.classifiers.ResNet` and its variables, as `natra_jax.weights.converters.resnet.convert`."""
    names = _lineage(set(tensors.names()))
    if not names.twin:
        return resnet.convert(tensors, names, _BOTTLENECK)
    # those of the trunk see no perturbed features
    tensors.drop(lambda name: name.startswith("feature_x.") and ".adv_bn" in name)
    note = "its BatchNorm has adversarial twins: advbn goes on training both, all else starts from the clean ones"
    return resnet.convert(tensors, names, _BOTTLENECK)._replace(notes=(note,))


def _lineage(names: set[str]) -> resnet.Names:
    if "feature_x.0.weight" not in names:
        return resnet.TORCHVISION
    stages = range(resnet.STAGES + 1)
    return _advbn(
        cut=max(
            stage
            for stage in stages
            if not stage or f"feature_x.{stage + 3}.0.conv1.weight" in names
        )
    )


def _advbn(cut: int) -> resnet.Names:
    """Of AdvBN, with its layer behind stage `cut`."""
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
