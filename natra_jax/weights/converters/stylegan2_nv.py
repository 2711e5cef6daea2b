"""NVIDIA's StyleGAN2 checkpoints: the names of its PyTorch programs, and of its TensorFlow ones.

Both have the same numbers but for these: TensorFlow's kernels of up-sampling convolutions are
turned by 180 degrees, its styles lack the 1 that is added to their bias, and its first program
embeds labels in another way (`joint_norm`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from natra_jax.printable import shown
from natra_jax.types import UserError
from natra_jax.weights.converters import progressive
from natra_jax.weights.converters.checkpoint_config import agree, require, setting, size
from natra_jax.weights.converters.resample_filter import LARGEST, agreed_taps, one_filter
from natra_jax.weights.tensors import Converted, Tensors

_FAMILY = "StyleGAN2"
_STYLEGAN3_CLAMP = 256  # the default of the stylegan3 program's StyleGAN2


def recognises(names: set[str]) -> bool:
    """Tell whether a state dict's names are this family's."""
    return {"synthesis.b4.const", "synthesis.b4.conv1.affine.weight"} <= names or {
        "synthesis/4x4/Const/const",
        "synthesis/4x4/Conv/mod_weight",
    } <= names


def convert(tensors: Tensors, config: dict[str, Any]) -> Converted:
    """Convert to arguments and parameters of `natra_jax.generators.stylegan2`.

    config: the generator's init_kwargs (PyTorch) or static_kwargs (TensorFlow). Raises UserError
    for settings of another network and for tensors that do not fit.
    """
    network = _Network(tensors)
    for_mapping = config if network.tensorflow else _section(config, "mapping_kwargs")
    # the stylegan3 program has the settings of the synthesis among the generator's own
    for_synthesis = config | _section(config, "synthesis_kwargs")
    require(
        for_mapping,
        {"activation": "lrelu", "mapping_nonlinearity": "lrelu", "normalize_latents": True},
        _FAMILY,
    )
    require(for_synthesis, {"activation": "lrelu", "nonlinearity": "lrelu"}, _FAMILY)
    mapping, sizes = network.mapping()
    channels = [
        tensors.shape(network.layer(layer, "bias"), 1)[0]
        for layer in range(0, network.num_convs, 2)
    ]
    synthesis, buffers, rest = network.synthesis(channels, sizes["code_dim"])
    taps = agreed_taps(
        network.filteragreed_taps(), setting(for_synthesis, "resample_filter", "resample_kernel")
    )
    tensors.close()

    resolution = 4 * 2 ** (len(channels) - 1)
    sizes_said = {
        ("img_resolution", "resolution"): resolution,
        ("img_channels", "num_channels"): rest["img_channels"],
        ("z_dim", "latent_size"): sizes["z_dim"],
        ("w_dim", "dlatent_size"): sizes["code_dim"],
        ("c_dim", "label_size"): sizes["label_dim"],
    }
    agree(config, sizes_said)
    agree(for_mapping, {("num_layers", "mapping_layers"): sizes["mapping_layers"]})
    if sizes["mapping_layers"] > 1:
        agree(for_mapping, {("layer_features", "mapping_fmaps"): sizes["mapping_features"]})
    if sizes["label_dim"] and not sizes["joint_norm"]:
        agree(for_mapping, {("embed_features", "label_fmaps"): sizes["embed_features"]})
    agree(
        for_synthesis, {("architecture",): rest["architecture"], ("use_noise",): rest["use_noise"]}
    )
    _agree_on_channels(for_synthesis, channels, network.tensorflow)

    clamp, notes = _clamp(config, for_synthesis, network.tensorflow)
    low = size(for_synthesis, "num_fp16_res") or 0
    note = (
        f"NVIDIA's program computes its {low} highest resolutions in float16 on a GPU; here dtype "
        "says in what, float32 by default"
    )
    arguments = {
        "resolution": resolution,
        "channels": channels,
        **sizes,
        **rest,
        "lr_mul": _positive(for_mapping, "lr_multiplier", "mapping_lrmul") or 0.01,
        "conv_clamp": clamp,
        "resample_filter": taps,
        **({"low_precision_resolutions": low} if low else {}),
    }
    return Converted(
        arguments,
        {"mapping": mapping, "synthesis": synthesis, "buffers": buffers},
        (*notes, note) if low else notes,
    )


def _section(config: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the configuration's dict of that name; an empty one where there is none."""
    section = config.get(name)
    if section is not None and not isinstance(section, dict):
        raise UserError(
            f"the checkpoint's setting {name} is of type {type(section).__name__}: the checkpoint "
            "is damaged"
        )
    return section or {}


def _clamp(
    config: dict[str, Any], for_synthesis: dict[str, Any], tensorflow: bool
) -> tuple[float | None, tuple[str, ...]]:
    """Return (the bound of the features, None where there is none; notes).

    The layers' own values stand above what the network was made with, where the program's default
    is not told. Raises UserError if they differ.
    """
    own = _section(config, "layers").get("conv_clamp")
    if isinstance(own, list) and own:
        if len(own) > 1:
            raise UserError(
                f"its layers clamp their features at {shown(own)}: {_FAMILY} is read with one "
                "conv_clamp alone"
            )
        return _positive({"conv_clamp": own[0]}, "conv_clamp"), ()
    if tensorflow or "conv_clamp" in for_synthesis:
        return _positive(for_synthesis, "conv_clamp"), ()
    if "fused_modconv_default" in for_synthesis:
        return _STYLEGAN3_CLAMP, ()
    if "synthesis_kwargs" in config:
        return None, ()
    return None, (
        "nothing in the checkpoint says at what the network clamps its features (conv_clamp): they "
        "are not clamped here; a network that was trained with float16 clamps at 256",
    )


def _positive(config: dict[str, Any], *names: str) -> float | None:
    """Return the first of these settings that is there, a positive number; None where none is."""
    value = setting(config, *names)
    if value is not None and (type(value) not in (int, float) or not 0 < value < LARGEST):
        raise UserError(
            f"the checkpoint's setting {names[0]} is {shown(value, 20)}, expected a positive "
            "number: it is damaged"
        )
    return value


def _agree_on_channels(config: dict[str, Any], channels: list[int], tensorflow: bool) -> None:
    """Raise UserError if the channels that the settings tell are not the tensors'.

    They are proportional to 1 / pixels, up to a maximum.
    """
    names = ("fmap_base", "fmap_max") if tensorflow else ("channel_base", "channel_max")
    if all(config.get(name) is None for name in names) or setting(config, "fmap_decay") not in (
        None,
        1,
    ):
        return
    base, most = size(config, names[0]), size(config, names[1])
    base = 32768 if base is None else base * (2 if tensorflow else 1)
    said = [
        max(1, min(base // (4 * 2**level), 512 if most is None else most))
        for level in range(len(channels))
    ]
    if said != channels:
        raise UserError(
            f"the checkpoint's settings {' and '.join(names)} say channels {said}, but its tensors "
            f"{channels}: it is damaged"
        )


class _Network:
    """The parts of one checkpoint, under PyTorch's or TensorFlow's names."""

    def __init__(self, tensors: Tensors) -> None:
        self.tensors, self.tensorflow = tensors, "synthesis/4x4/Const/const" in tensors
        pattern = r"synthesis/(\d{1,5})x\d+/.*" if self.tensorflow else r"synthesis\.b(\d{1,5})\..*"
        resolution = progressive.highest(tensors.names(), pattern)
        levels = resolution.bit_length() - 2
        progressive.require_blocks(levels, _FAMILY)
        const = "synthesis/4x4/Const/const" if self.tensorflow else "synthesis.b4.const"
        progressive.require_square(tensors, const)
        if resolution != 2 * 2**levels:
            raise UserError(
                f"the highest resolution among the tensors is {resolution} px, no power of two: "
                "the checkpoint is damaged"
            )
        self.num_convs = 2 * levels - 1

    def layer(self, layer: int, what: str) -> str:
        """Return the name of convolution `layer`'s tensor, `what` in PyTorch's names."""
        pixels = 4 * 2 ** ((layer + 1) // 2)
        if self.tensorflow:
            return self.block(
                pixels, "Conv" if layer == 0 else ("Conv1", "Conv0_up")[layer % 2], what
            )
        return self.block(pixels, f"conv{1 - layer % 2}", what)

    def block(self, pixels: int, part: str, what: str) -> str:
        """Return the name of a tensor of a part of the block of that resolution."""
        if self.tensorflow:
            renamed = {"affine.weight": "mod_weight", "affine.bias": "mod_bias"}.get(what, what)
            return f"synthesis/{pixels}x{pixels}/{part}/{renamed}"
        return f"synthesis.b{pixels}.{part}.{what}"

    def mapping(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Take the mapping network: (parameters, the generator's arguments that they tell)."""
        tensors = self.tensors
        prefix, end = ("mapping/Dense", "/") if self.tensorflow else ("mapping.fc", ".")
        depth = (
            progressive.highest(
                tensors.names(), prefix.replace(".", r"\.") + r"(\d{1,4})[./]weight"
            )
            + 1
        )
        widths = [
            tensors.shape(f"{prefix}{index}{end}bias", 1)[0] for index in range(max(1, depth))
        ]
        first = tensors.shape(f"{prefix}0{end}weight")
        total = first[0 if self.tensorflow else -1] if len(first) == 2 else 0
        embed, joint = self._embed()
        label_dim, embed_features = embed["kernel"].shape if embed else (0, 0)
        if total - embed_features < 1 or (embed and 0 in embed["kernel"].shape):
            raise UserError(
                f"{prefix}0{end}weight is {list(first)}, too small for a code with its label: the "
                "checkpoint is damaged"
            )
        layers, hidden = [], [widths[0]] * (depth - 1)
        for index, (inputs, width) in enumerate(
            zip([total, *hidden], [*hidden, widths[-1]], strict=True)
        ):
            kernel = progressive.dense(
                tensors, f"{prefix}{index}{end}weight", inputs, width, self.tensorflow
            )
            layers.append(
                {"kernel": kernel, "bias": tensors.take(f"{prefix}{index}{end}bias", width)}
            )
        params = {
            "layers": layers,
            "mean": tensors.take("dlatent_avg" if self.tensorflow else "mapping.w_avg", widths[-1]),
        }
        sizes = {
            "z_dim": total - embed_features,
            "code_dim": widths[-1],
            "label_dim": label_dim,
            "mapping_layers": depth,
        }
        sizes |= {
            "mapping_features": widths[0],
            "embed_features": embed_features or None,
            "joint_norm": joint,
        }
        return params | ({"embed": embed} if embed else {}), sizes

    def _embed(self) -> tuple[dict[str, np.ndarray] | None, bool]:
        """Take (the label's embedding, whether it is normalised together with z)."""
        tensors = self.tensors
        if self.tensorflow and "mapping/LabelConcat/weight" in tensors:
            return {"kernel": tensors.take("mapping/LabelConcat/weight", None, None)}, True
        prefix = "mapping/LabelEmbed/" if self.tensorflow else "mapping.embed."
        if f"{prefix}weight" not in tensors:
            return None, False
        features = tensors.shape(f"{prefix}bias", 1)[0]
        kernel = tensors.take(
            f"{prefix}weight", *((None, features) if self.tensorflow else (features, None))
        )
        return {
            "kernel": kernel if self.tensorflow else kernel.T,
            "bias": tensors.take(f"{prefix}bias", features),
        }, False

    def synthesis(
        self, channels: list[int], code_dim: int
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """Take the synthesis network: (parameters, buffers, the arguments that they tell).

        channels: of each block, from 4 px on.
        """
        tensors, levels = self.tensors, len(channels)
        rgb, shortcut = ("ToRGB", "Skip") if self.tensorflow else ("torgb", "skip")
        pixels = [4 * 2**level for level in range(levels)]
        if self.block(4, rgb, "bias") in tensors:
            architecture = "skip"
        else:
            architecture = "resnet" if self.block(8, shortcut, "weight") in tensors else "orig"
        use_noise = self.layer(0, "noise_strength") in tensors
        const = "synthesis/4x4/Const/const" if self.tensorflow else "synthesis.b4.const"
        const = tensors.take(const, *((1,) if self.tensorflow else ()), channels[0], 4, 4).reshape(
            channels[0], 4, 4
        )
        img_channels = tensors.shape(self.block(pixels[-1], rgb, "bias"), 1)[0]
        params: dict[str, Any] = {"constant": const.transpose(1, 2, 0), "convs": [], "rgbs": []}
        noises = []
        for layer in range(self.num_convs):
            inputs, width = channels[layer // 2], channels[(layer + 1) // 2]
            side = pixels[(layer + 1) // 2]
            kernel = progressive.kernel(
                tensors, self.layer(layer, "weight"), 3, inputs, width, self.tensorflow
            )
            if self.tensorflow and layer % 2:
                kernel = kernel[::-1, ::-1]
            conv: dict[str, Any] = {
                "kernel": kernel,
                "bias": tensors.take(self.layer(layer, "bias"), width),
            }
            conv["affine"] = self._affine(
                self.layer(layer, "affine.weight"),
                self.layer(layer, "affine.bias"),
                code_dim,
                inputs,
            )
            if use_noise:
                strength = tensors.take(self.layer(layer, "noise_strength"))
                conv["noise_strength"] = strength.reshape(())
                if self.tensorflow:
                    noise = tensors.take(f"synthesis/noise{layer}", 1, 1, side, side)
                else:
                    noise = tensors.take(self.layer(layer, "noise_const"), side, side)
                noises.append(noise.reshape(side, side))
            params["convs"].append(conv)
        painted = slice(0 if architecture == "skip" else -1, None)  # the blocks with a layer to RGB
        for side, inputs in list(zip(pixels, channels, strict=True))[painted]:
            kernel = progressive.kernel(
                tensors, self.block(side, rgb, "weight"), 1, inputs, img_channels, self.tensorflow
            )[0, 0]
            affine = self._affine(
                self.block(side, rgb, "affine.weight"),
                self.block(side, rgb, "affine.bias"),
                code_dim,
                inputs,
            )
            bias = tensors.take(self.block(side, rgb, "bias"), img_channels)
            params["rgbs"].append({"kernel": kernel, "bias": bias, "affine": affine})
        if architecture == "resnet":
            between = zip(pixels[1:], channels[:-1], channels[1:], strict=True)
            params["shortcuts"] = [
                {
                    "kernel": progressive.kernel(
                        tensors,
                        self.block(side, shortcut, "weight"),
                        1,
                        inputs,
                        width,
                        self.tensorflow,
                    )[0, 0]
                }
                for side, inputs, width in between
            ]
        tensors.drop(lambda name: self.tensorflow and name.split("/")[-1] == "lod")
        found = {"img_channels": img_channels, "architecture": architecture, "use_noise": use_noise}
        return params, {"noise": noises} if use_noise else {}, found

    def _affine(self, weight: str, bias: str, code_dim: int, width: int) -> dict[str, np.ndarray]:
        """Take the layer from a code to the styles of a convolution of so many inputs."""
        kernel = progressive.dense(self.tensors, weight, code_dim, width, self.tensorflow)
        return {
            "kernel": kernel,
            "bias": self.tensors.take(bias, width) + np.float32(self.tensorflow),
        }

    def filteragreed_taps(self) -> list[float] | None:
        """Take the taps of PyTorch's buffers; None where there are none."""
        # a convolution that keeps the resolution has a filter too, NVIDIA's default whatever the
        # others are, and no use for it
        filters = {name for name in self.tensors.names() if name.endswith(".resample_filter")}
        unused = {name for name in filters if name.endswith(".conv1.resample_filter")}
        self.tensors.drop(unused.__contains__)
        return one_filter(self.tensors, sorted(filters - unused))
