"""BigGAN-deep of Hugging Face's pytorch-pretrained-BigGAN: the published TF Hub modules.

    embeddings.weight, generator.gen_z.*, generator.{bn,conv_to_rgb}.*,
    generator.layers.{i}.{conv_0..3,bn_0..3}.* or an attention layer's

Every weight_orig is divided by the spectral norm of the stored vectors. Which blocks upsample is in
no name: `layers` of the config.json beside the weights says it. Of the last convolution's filters
three are used and kept.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from natra_jax.generators.biggan_parts import is_truncation
from natra_jax.printable import shown
from natra_jax.types import Params, UserError
from natra_jax.weights.converters import biggan_common as common
from natra_jax.weights.converters.checkpoint_config import agree, setting
from natra_jax.weights.tensors import Converted, Tensors

_NAMES = {
    "embeddings.weight",
    "generator.gen_z.bias",
    "generator.conv_to_rgb.bias",
    "generator.bn.running_means",
}


def recognises(names: set[str]) -> bool:
    """Tell whether a state dict's names are this family's."""
    return names >= _NAMES


def convert(tensors: Tensors, config: dict[str, Any]) -> Converted:
    """Convert to arguments and parameters of `natra_jax.generators.biggan_deep`.

    config: config.json. `layers` and `eps` are read; what else it says has to agree with the
    tensors. Beside these it may have `truncation`, which the original takes with every call; else
    that is 1. Raises UserError where config and tensors disagree, or where the tensors do not fit.
    """
    truncation = _truncation(config)
    common.require_filled(tensors)
    modules = 0
    while any(f"generator.layers.{modules}.{part}" in tensors for part in ("gamma", "conv_0.bias")):
        modules += 1
    blocks = [i for i in range(modules) if f"generator.layers.{i}.gamma" not in tensors]
    upsample = _upsampling(config, len(blocks))
    embed_dim, label_dim = tensors.shape("embeddings.weight", 2)
    code_dim = tensors.shape(_weight_name(tensors, "generator.gen_z"), 2)[1]
    z_dim = common.z_dim(code_dim, embed_dim, "generator.gen_z", "embeddings.weight")
    channels = [tensors.shape(_weight_name(tensors, f"generator.layers.{blocks[0]}.conv_0"), 4)[1]]
    channels += [
        tensors.shape(_weight_name(tensors, f"generator.layers.{i}.conv_3"), 4)[0] for i in blocks
    ]
    n_stats = tensors.shape("generator.bn.running_means", 2)[0]
    filters = tensors.shape(_weight_name(tensors, "generator.conv_to_rgb"), 4)[0]
    resolution = 4 * 2 ** sum(upsample)
    _check(config, filters, channels)
    agree(
        config,
        {
            ("z_dim",): z_dim,
            ("class_embed_dim",): embed_dim,
            ("num_classes",): label_dim,
            ("output_dim",): resolution,
            ("channel_width",): filters,
            ("n_stats",): n_stats,
        },
    )

    layers: list[Params] = [_convolution(tensors, "generator.gen_z", 16 * channels[0], code_dim)]
    norms: list[Params] = [{}]
    attention = []
    for i in range(modules):
        name, before = f"generator.layers.{i}", channels[len(layers) - 1]
        if i in blocks:
            block, statistics = _block(
                tensors, name, before, channels[len(layers)], code_dim, n_stats
            )
            layers.append(block)
            norms.append(statistics)
        elif "attention" in layers[-1]:
            raise UserError(f"{name} is attention behind attention: no such network is known here")
        else:
            layers[-1]["attention"] = _attention(tensors, name, before)
            attention.append(len(layers) - 1)
            agree(config, {("attention_layer_position",): i})
    width = channels[-1]
    output = _convolution(tensors, "generator.conv_to_rgb", filters, width, 3, 3)
    params = {
        "mapping": {"embedding": common.kernel(tensors.take("embeddings.weight"))},
        "layers": layers,
        "output": {
            "norm": {
                "gain": tensors.take("generator.bn.weight", width),
                "bias": tensors.take("generator.bn.bias", width),
            },
            **common.image_filters(output),
        },
        "buffers": {
            "layers": norms,
            "output": _statistics(tensors, "generator.bn", n_stats, width),
        },
    }
    tensors.close()
    eps = common.epsilon(config, "eps", 1e-4)
    arguments = {
        "resolution": resolution,
        "channels": channels,
        "upsample": upsample,
        "z_dim": z_dim,
        "embed_dim": embed_dim,
        "label_dim": label_dim,
        "attention": attention,
        "eps": eps,
        "output_eps": eps,
        "n_stats": n_stats,
        "truncation": truncation,
    }
    notes = (
        (
            f"BatchNorm statistics of {n_stats} truncations are there; the generator is made for "
            f"truncation {truncation}",
        )
        if n_stats > 1
        else ()
    )
    return Converted(arguments, params, notes)


def _truncation(config: dict[str, Any]) -> float:
    """Return the truncation that config asks for, or 1."""
    said = setting(config, "truncation")
    if said is None:
        return 1.0
    if type(said) not in (int, float) or not is_truncation(said):
        raise UserError(
            f"the checkpoint's setting truncation is {shown(said, 20)}, expected a number above 0 "
            "and at most 1"
        )
    return float(said)


def _upsampling(config: dict[str, Any], blocks: int) -> list[bool]:
    """Return whether each of so many blocks upsamples, by config's `layers`."""
    layers = config.get("layers")
    if layers is None:
        raise UserError(
            "config.json is needed beside the weights: its `layers` says which blocks upsample, "
            "which no tensor shows"
        )
    if not isinstance(layers, list | tuple) or len(layers) != blocks or not layers:
        raise UserError(
            f"config: layers must be a list of the {blocks} blocks that the tensors have"
        )
    for layer in layers:
        kinds = [type(entry) for entry in layer] if isinstance(layer, list | tuple) else None
        if kinds != [bool, int, int]:
            raise UserError(
                "config: each of layers must be [whether it upsamples, channels in, channels out]"
            )
    upsample = [layer[0] for layer in layers]
    if not 1 <= sum(upsample) <= common.MAX_DOUBLINGS:
        raise UserError(
            f"config: 1 to {common.MAX_DOUBLINGS} of layers must upsample, not {sum(upsample)}"
        )
    return upsample


def _check(config: dict[str, Any], width: int, channels: list[int]) -> None:
    """Raise UserError if config's `layers` disagree with the channels, or with the network.

    width: filters of the last convolution, in which `layers` counts channels.
    """
    common.require_image("generator.conv_to_rgb", width)
    for layer, before, after in zip(config["layers"], channels[:-1], channels[1:], strict=True):
        if (layer[1] * width, layer[2] * width) != (before, after):
            raise UserError(
                f"config: layers do not agree with the tensors, by which a block has {before} "
                f"channels, then {after}"
            )
        if after not in (before, before // 2):
            raise UserError(
                f"config: layers must keep the channels or halve them, not {before} to {after}"
            )


def _weight_name(tensors: Tensors, name: str) -> str:
    """Return the name of a layer's weight; without spectral normalisation it is the plain one."""
    return f"{name}.weight" if f"{name}.weight" in tensors else f"{name}.weight_orig"


def _weight(tensors: Tensors, name: str, *shape: int) -> np.ndarray:
    """Take a layer's weight, divided by its spectral norm where it has one."""
    weight_name = _weight_name(tensors, name)
    weight = tensors.take(weight_name, *shape)
    if weight_name == f"{name}.weight":
        return weight
    u, v = (
        tensors.take(f"{name}.weight_u", shape[0]),
        tensors.take(f"{name}.weight_v", weight[0].size),
    )
    return common.by_stored_vectors(weight_name, weight, u, v)


def _convolution(tensors: Tensors, name: str, *shape: int) -> Params:
    """Take a layer {kernel, bias}. shape: the weight's, [O, I, ...]."""
    return {
        "kernel": common.kernel(_weight(tensors, name, *shape)),
        "bias": tensors.take(f"{name}.bias", shape[0]),
    }


def _statistics(tensors: Tensors, name: str, n_stats: int, channels: int) -> Params:
    """Take a BatchNorm's {mean, variance} [n_stats, channels]."""
    mean, variance = (
        tensors.take(f"{name}.running_{side}", n_stats, channels) for side in ("means", "vars")
    )
    return common.checked_statistics(name, mean, variance)


def _block(
    tensors: Tensors, name: str, before: int, after: int, code_dim: int, n_stats: int
) -> tuple[Params, Params]:
    """Take the (params, statistics) of the block of that name.

    before, after: channels that enter and leave it.
    """
    block, statistics = {}, {}
    for j, shape in enumerate(common.bottleneck_shapes(before, after)):
        block[f"conv{j}"] = _convolution(tensors, f"{name}.conv_{j}", *shape)
        norm, width = f"{name}.bn_{j}", shape[1]
        sides = {"gain": f"{norm}.scale", "bias": f"{norm}.offset"}
        block[f"norm{j}"] = {
            side: common.kernel(_weight(tensors, where, width, code_dim))
            for side, where in sides.items()
        }
        statistics[f"norm{j}"] = _statistics(tensors, norm, n_stats, width)
    return block, statistics


def _attention(tensors: Tensors, name: str, channels: int) -> Params:
    """Take the attention of that name, over so many channels."""
    theirs = {"o": "o_conv"}
    kernels = {
        ours: common.kernel(_weight(tensors, f"{name}.snconv1x1_{theirs.get(ours, ours)}", *shape))
        for ours, shape in common.attention_shapes(channels).items()
    }
    return {**kernels, "gamma": common.scalar(tensors, f"{name}.gamma")}
