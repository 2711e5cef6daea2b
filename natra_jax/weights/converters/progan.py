"""ProGAN checkpoints: NVIDIA's TensorFlow variables, and the names of PyTorch ports (genforce)."""

from __future__ import annotations

from typing import Any

import numpy as np

from natra_jax.types import UserError
from natra_jax.weights.converters import progressive
from natra_jax.weights.converters.checkpoint_config import agree, require, setting, size
from natra_jax.weights.tensors import Converted, Tensors

_FAMILY = "ProGAN"
_WANTED = {
    "normalize_latents": True,
    "use_wscale": True,
    "use_pixelnorm": True,
    "pixelnorm_epsilon": 1e-8,
    "use_leakyrelu": True,
    "tanh_output": False,
    "final_tanh": False,
}


def recognises(names: set[str]) -> bool:
    """Tell whether a state dict's names are this family's."""
    return {"layer0.weight", "layer1.weight", "output0.weight"} <= names or (
        "4x4/Dense/weight" in names
        and "ToRGB_lod0/weight" in names
        and not any("/StyleMod/" in name for name in names)
    )


def convert(tensors: Tensors, config: dict[str, Any]) -> Converted:
    """Convert to arguments and parameters of `natra_jax.generators.progan`.

    config: the static_kwargs of a TensorFlow network, or the arguments of its port. Raises
    UserError for settings of another network and for tensors that do not fit.
    """
    require(config, _WANTED, _FAMILY)
    tensorflow = "layer0.weight" not in tensors
    if tensorflow:
        blocks = progressive.highest(tensors.names(), r"(\d{1,5})x\d+/.*").bit_length() - 2
    else:
        blocks = progressive.highest(tensors.names(), r"layer(\d{1,4})\..*") // 2 + 1
    progressive.require_blocks(blocks, _FAMILY)
    grown, notes = progressive.growth(tensors, "lod", blocks)

    def layer_name(layer: int) -> str:
        """Return what stands before 'weight' and 'bias' of a layer."""
        if not tensorflow:
            return f"layer{layer}."
        up = "Conv0_up" if "8x8/Conv0_up/weight" in tensors else "Conv0"
        kind = ("Dense", "Conv")[layer] if layer < 2 else (up, "Conv1")[layer % 2]
        return f"{grown.resolution(layer)}x{grown.resolution(layer)}/{kind}/"

    def block_name(block: int) -> str:
        """Return the name of a block's layer to RGB."""
        return f"ToRGB_lod{blocks - 1 - block}" if tensorflow else f"output{block}"

    channels = [tensors.shape(layer_name(2 * block) + "bias", 1)[0] for block in range(blocks)]
    if tensorflow:
        fused, fused_notes = "8x8/Conv0_up/weight" in tensors, ()
    else:
        fused, fused_notes = _fused(tensors, config, channels)
    first, code_dim = _first(tensors, layer_name(0), channels[0], tensorflow)
    layers = [first]
    for layer in range(1, grown.layers):
        name = layer_name(layer) + "weight"
        inputs, width = channels[(layer - 1) // 2], channels[layer // 2]
        if fused and layer % 2 == 0:  # kept the other way round
            weight = progressive.kernel(tensors, name, 3, width, inputs, tensorflow).swapaxes(2, 3)
        else:
            weight = progressive.kernel(tensors, name, 3, inputs, width, tensorflow)
        layers.append({"kernel": weight, "bias": tensors.take(layer_name(layer) + "bias", width)})
    rgb, img_channels = progressive.rgb(
        tensors, block_name, "/" if tensorflow else ".", grown, channels, tensorflow
    )
    unused = tuple(layer_name(layer) for layer in range(grown.layers, 2 * blocks))
    tensors.drop(lambda name: name.startswith(unused))
    tensors.close()

    label_dim = size(config, "label_size") or 0
    if label_dim >= code_dim:
        raise UserError(
            f"{layer_name(0)}weight takes {code_dim} numbers, too few for label_size {label_dim} "
            "and z"
        )
    resolution, z_dim = 4 * 2 ** (blocks - 1), code_dim - label_dim
    agree(
        config,
        {
            ("resolution",): resolution,
            ("num_channels", "image_channels"): img_channels,
            ("latent_size", "z_space_dim"): z_dim,
            ("fused_scale",): fused,
        },
    )
    arguments = {
        "resolution": resolution,
        "channels": channels,
        "z_dim": z_dim,
        "label_dim": label_dim,
        "img_channels": img_channels,
        "fused_from": 8 if fused else None,
        # with a class beside it, z is normalised alone first by the port, not by NVIDIA's
        "normalize_z": label_dim > 0 and not tensorflow,
        "lod": grown.lod,
    }
    params = {"mapping": {}, "synthesis": {"layers": layers, "rgb": rgb}, "buffers": {}}
    return Converted(arguments, params, notes + fused_notes)


def _fused(
    tensors: Tensors, config: dict[str, Any], channels: list[int]
) -> tuple[bool, tuple[str, ...]]:
    """Return (whether doubling and convolution are one, a note if that is a guess), for a port.

    Such kernels are kept with inputs first, which tells where inputs are not as many as outputs.
    """
    for block in range(1, len(channels)):
        inputs, width = channels[block - 1], channels[block]
        if inputs != width:
            return tensors.shape(f"layer{2 * block}.weight")[:2] == (inputs, width), ()
    said = setting(config, "fused_scale")
    if said is None:
        return False, (
            "whether doubling and convolution are fused, the tensors do not tell: taken as not",
        )
    return said is True, ()


def _first(
    tensors: Tensors, name: str, width: int, tensorflow: bool
) -> tuple[dict[str, np.ndarray], int]:
    """Take (parameters of the layer that makes 4x4 features of a code, the code's size).

    Its kernel is [code, 16 * width]. name: what stands before 'weight' and 'bias'.
    """
    if tensorflow:
        weight = tensors.take(name + "weight", None, 16 * width)
        weight = weight.reshape(-1, width, 4, 4).transpose(0, 2, 3, 1)
    else:
        # a convolution of the code as one pixel, padded by 3: what it makes is the kernel turned by
        # 180 degrees
        weight = tensors.take(name + "weight", width, None, 4, 4)[:, :, ::-1, ::-1].transpose(
            1, 2, 3, 0
        )
    code_dim = len(weight)
    return {
        "kernel": np.ascontiguousarray(weight.reshape(code_dim, 16 * width)),
        "bias": tensors.take(name + "bias", width),
    }, code_dim
