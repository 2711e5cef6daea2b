"""StyleGAN (2019) checkpoints: NVIDIA's TensorFlow variables, and the names of PyTorch ports.

The ports are those with genforce's names, and have the same numbers. Another one,
style-based-gan-pytorch, trains a network with other gains, norms and noise; it is not read.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np

from natra_jax.printable import shown
from natra_jax.types import UserError
from natra_jax.weights.converters import progressive
from natra_jax.weights.converters.checkpoint_config import agree, require, setting, size
from natra_jax.weights.tensors import Converted, Tensors

_FAMILY = "StyleGAN"
_WANTED = {
    "normalize_latents": True,
    "use_wscale": True,
    "mapping_use_wscale": True,
    "mapping_lrmul": 0.01,
    "mapping_lr_mul": 0.01,
    "mapping_nonlinearity": "lrelu",
    "nonlinearity": "lrelu",
    "use_styles": True,
    "const_input_layer": True,
    "const_input": True,
    "use_noise": True,
    "noise_type": "spatial",
    "use_pixel_norm": False,
    "use_instance_norm": True,
    "blur_filter": [1, 2, 1],
    "repeat_w": True,
    "final_tanh": False,
}
_FUSED_FROM = {"auto": 128, True: 8, False: None}
_BLUR = np.outer([1, 2, 1], [1, 2, 1]) / 16


class _Names(NamedTuple):
    """The names of a checkpoint's tensors, by PyTorch's names for them.

    TensorFlow's synthesis and mapping networks may have a prefix each.
    """

    tensorflow: bool
    synthesis: str
    mapping: str
    mean: str

    def layer(self, layer: int) -> str:
        """Return what stands before the names of a layer's tensors."""
        if not self.tensorflow:
            return f"{self.synthesis}layer{layer}."
        kind = ("Const", "Conv")[layer] if layer < 2 else ("Conv0_up", "Conv1")[layer % 2]
        return f"{self.synthesis}{4 * 2 ** (layer // 2)}x{4 * 2 ** (layer // 2)}/{kind}/"

    def of_layer(self, layer: int, what: str) -> str:
        """Return the name of a layer's tensor, `what` in PyTorch's names."""
        if not self.tensorflow:
            return self.layer(layer) + what
        if what == "apply_noise.noise":
            return f"{self.synthesis}noise{layer}"
        renamed = what.replace("apply_noise.", "Noise/").replace("style.", "StyleMod/")
        return self.layer(layer) + renamed

    def dense(self, index: int, what: str) -> str:
        """Return the name of a tensor, weight or bias, of the mapping network's layer."""
        if self.tensorflow:
            return f"{self.mapping}Dense{index}/{what}"
        return f"{self.mapping}dense{index}.{what}"


def recognises(names: set[str]) -> bool:
    """Tell whether a state dict's names are this family's, or those of its namesake.

    The namesake, style-based-gan-pytorch, is refused by `convert`, which says why.
    """
    tensorflow = any(name.endswith("4x4/Const/StyleMod/weight") for name in names)
    return "synthesis.layer0.const" in names or tensorflow or _is_style_based_gan(names)


def _is_style_based_gan(names: set[str]) -> bool:
    return any(name.startswith("generator.progression.0.") for name in names)


def convert(tensors: Tensors, config: dict[str, Any]) -> Converted:
    """Convert to arguments and parameters of `natra_jax.generators.stylegan`.

    config: the static_kwargs of a TensorFlow network, or the arguments of its port. Raises
    UserError for settings of another network and for tensors that do not fit.
    """
    found = set(tensors.names())
    if _is_style_based_gan(found):
        raise UserError(
            "style-based-gan-pytorch's StyleGAN has other gains, norms and noise than NVIDIA's: it "
            "is not supported"
        )
    if "synthesis.layer0.epilogue.bias" in found:
        raise UserError(
            "these are idinvert_pytorch's names of a StyleGAN, which are not read: give the "
            "network under the names that genforce has today, or NVIDIA's .pkl of it"
        )
    require(config, _WANTED, _FAMILY)
    names, blocks = _names(found)
    progressive.require_blocks(blocks, _FAMILY)
    progressive.require_square(tensors, names.of_layer(0, "const"))
    grown, notes = progressive.growth(tensors, f"{names.synthesis}lod", blocks)
    # TensorFlow's whole network keeps one beside the synthesis network's
    tensors.drop(lambda name: name == "lod" or name.endswith("/lod"))
    channels = [tensors.shape(names.of_layer(2 * block, "bias"), 1)[0] for block in range(blocks)]
    style_shape = tensors.shape(names.of_layer(0, "style.weight"))
    if len(style_shape) != 2:
        raise UserError(
            f"{names.of_layer(0, 'style.weight')} is {list(style_shape)}, expected two sides: the "
            "checkpoint is damaged"
        )
    code_dim = style_shape[0 if names.tensorflow else 1]

    mapping, sizes = _mapping(tensors, config, names, code_dim)
    layers = [_layer(tensors, names, layer, channels, code_dim) for layer in range(grown.layers)]
    noise = [
        _noise(tensors, names, layer, grown.resolution(layer)) for layer in range(grown.layers)
    ]
    constant = tensors.take(names.of_layer(0, "const"), 1, channels[0], 4, 4)[0].transpose(1, 2, 0)

    def block_name(block: int) -> str:
        """Return the name of a block's layer to RGB."""
        kind = f"ToRGB_lod{blocks - 1 - block}" if names.tensorflow else f"output{block}"
        return names.synthesis + kind

    rgb, img_channels = progressive.rgb(
        tensors, block_name, "/" if names.tensorflow else ".", grown, channels, names.tensorflow
    )
    unused = tuple(names.layer(layer) for layer in range(grown.layers, 2 * blocks))
    unused_noise = {
        names.of_layer(layer, "apply_noise.noise") for layer in range(grown.layers, 2 * blocks)
    }
    tensors.drop(lambda name: name.startswith(unused) or name in unused_noise)
    tensors.close()

    agree(
        config,
        {
            ("resolution",): 4 * 2 ** (blocks - 1),
            ("num_channels", "image_channels"): img_channels,
            ("latent_size", "z_space_dim"): sizes["z_dim"],
            ("dlatent_size", "w_space_dim"): code_dim,
            ("label_size",): sizes["label_dim"],
            ("mapping_layers",): sizes["mapping_layers"],
            **(
                {("mapping_fmaps",): sizes["mapping_features"]}
                if sizes["mapping_layers"] > 1
                else {}
            ),
        },
    )
    fused_scale = setting(config, "fused_scale")  # the tensors do not tell
    fused_scale = "auto" if fused_scale is None else fused_scale
    if type(fused_scale) not in (bool, str) or fused_scale not in _FUSED_FROM:
        raise UserError(
            f"the checkpoint's setting fused_scale is {shown(fused_scale, 20)}, expected 'auto', "
            "True or False"
        )
    arguments = {
        "resolution": 4 * 2 ** (blocks - 1),
        "channels": channels,
        "code_dim": code_dim,
        "img_channels": img_channels,
        "fused_from": _FUSED_FROM[fused_scale],
        "lod": grown.lod,
        **sizes,
    }
    synthesis = {"constant": constant, "layers": layers, "rgb": rgb}
    return Converted(
        arguments, {"mapping": mapping, "synthesis": synthesis, "buffers": {"noise": noise}}, notes
    )


def _names(found: set[str]) -> tuple[_Names, int]:
    """Return what the tensors are called, and the number of resolutions."""
    if not any(name.endswith("4x4/Const/StyleMod/weight") for name in found):
        blocks = progressive.highest(found, r"synthesis\.layer(\d{1,4})\..*") // 2 + 1
        return _Names(False, "synthesis.", "mapping.", "truncation.w_avg"), blocks
    synthesis = _before(found, "4x4/Const/StyleMod/weight")
    top = progressive.highest(found, re.escape(synthesis) + r"(\d{1,5})x\d+/.*")
    return _Names(
        True,
        synthesis,
        _before(found, "Dense0/weight"),
        _before(found, "dlatent_avg") + "dlatent_avg",
    ), top.bit_length() - 2


def _before(found: set[str], ending: str) -> str:
    """Return what stands before the ending in the name that has it.

    '' if no name has it, so that the tensor is missed by its plain name.
    """
    return min((name.removesuffix(ending) for name in found if name.endswith(ending)), default="")


def _mapping(
    tensors: Tensors, config: dict[str, Any], names: _Names, code_dim: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Take the mapping network: (parameters, the generator's arguments that they tell)."""
    pattern = re.escape(names.mapping) + (
        r"Dense(\d{1,4})/weight" if names.tensorflow else r"dense(\d{1,4})\.weight"
    )
    depth = progressive.highest(tensors.names(), pattern) + 1
    widths = [tensors.shape(names.dense(index, "bias"), 1)[0] for index in range(max(1, depth))]
    first = tensors.shape(names.dense(0, "weight"))
    inputs = first[0 if names.tensorflow else -1] if len(first) == 2 else 0
    dense = []
    for index in range(len(widths)):
        width = inputs if index == 0 else widths[0]
        outputs = code_dim if index == depth - 1 else widths[0]
        weight = progressive.dense(
            tensors, names.dense(index, "weight"), width, outputs, names.tensorflow
        )
        dense.append({"kernel": weight, "bias": tensors.take(names.dense(index, "bias"), outputs)})
    mapping = {"dense": dense, "mean": tensors.take(names.mean, code_dim)}
    label_dim, label_features = size(config, "label_size") or 0, None
    label = (
        f"{names.mapping}LabelConcat/weight" if names.tensorflow else f"{names.mapping}label_weight"
    )
    if label in tensors or (names.tensorflow and label_dim):
        mapping["label"] = tensors.take(label, None, None)
        label_dim, label_features = mapping["label"].shape
    z_dim = inputs - (label_dim if label_features is None else label_features)
    if z_dim < 1 or (label_features is not None and 0 in mapping["label"].shape):
        raise UserError(
            f"{names.dense(0, 'weight')} takes {inputs} numbers, too few for a code with its "
            "label: the checkpoint is damaged"
        )
    sizes = {"z_dim": z_dim, "label_dim": label_dim, "label_features": label_features}
    return mapping, sizes | {"mapping_layers": depth, "mapping_features": widths[0]}


def _layer(
    tensors: Tensors, names: _Names, layer: int, channels: list[int], code_dim: int
) -> dict[str, Any]:
    """Take a layer of the synthesis network. channels: of each block."""
    width = channels[layer // 2]
    params: dict[str, Any] = {
        "bias": tensors.take(names.of_layer(layer, "bias"), width),
        "noise": tensors.take(names.of_layer(layer, "apply_noise.weight"), width),
        "style": {
            "kernel": progressive.dense(
                tensors,
                names.of_layer(layer, "style.weight"),
                code_dim,
                2 * width,
                names.tensorflow,
            ),
            "bias": tensors.take(names.of_layer(layer, "style.bias"), 2 * width),
        },
    }
    if layer > 0:
        weight = names.of_layer(layer, "weight")
        params["kernel"] = progressive.kernel(
            tensors, weight, 3, channels[(layer - 1) // 2], width, names.tensorflow
        )
    blur = names.of_layer(layer, "blur.kernel")
    if blur in tensors and np.abs(tensors.take(blur, width, 1, 3, 3) - _BLUR).max() > 1e-6:
        raise UserError(
            f"{blur} is not [1, 2, 1] along both sides: a StyleGAN with another filter is not "
            "supported"
        )
    return params


def _noise(tensors: Tensors, names: _Names, layer: int, side: int) -> np.ndarray:
    """Take a layer's noise map [side, side]."""
    return tensors.take(names.of_layer(layer, "apply_noise.noise"), 1, 1, side, side)[0, 0]
