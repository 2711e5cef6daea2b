"""DCGAN checkpoints, with the names of PyTorch's example.

A chain `main` of transposed convolutions, BatchNorms and ReLUs.
"""

from __future__ import annotations

import re
from typing import Any

from natra_jax.types import UserError
from natra_jax.weights.converters.checkpoint_config import agree
from natra_jax.weights.converters.progressive import highest
from natra_jax.weights.tensors import Converted, Tensors

_MOST_LAYERS = 11  # 4096 px
_NAME = r"main\.\d+\.(weight|bias|running_mean|running_var|num_batches_tracked)"


def recognises(names: set[str]) -> bool:
    """Tell whether a state dict's names are this family's.

    The discriminator's have no BatchNorm behind the first convolution.
    """
    return {"main.0.weight", "main.1.running_mean"} <= names and all(
        re.fullmatch(_NAME, name) for name in names
    )


def convert(tensors: Tensors, config: dict[str, Any]) -> Converted:
    """Convert to arguments and parameters of `natra_jax.generators.dcgan`.

    config: nz, nc and ngf, where they are known. Raises UserError for tensors that do not fit.
    """
    last = highest(tensors.names(), r"main\.(\d{1,4})\.weight")
    depth = last // 3 + 1
    if last % 3 or not 2 <= depth <= _MOST_LAYERS:
        raise UserError(
            f"main.{last}.weight is the last one: DCGAN has 2 to {_MOST_LAYERS} convolutions, "
            "three places apart"
        )
    kernels, norms, statistics, inputs = [], [], [], None
    for layer in range(depth):
        name = f"main.{3 * layer}.weight"
        if (shape := tensors.shape(name))[2:] != (4, 4) and len(shape) == 4 and 0 not in shape:
            raise UserError(
                f"{name} is {list(shape)}, a kernel of {shape[2]}x{shape[3]}: DCGANs are read with "
                "kernels of 4x4 alone, which double 4 px to 8, 16, ..."
            )
        weight = tensors.take(name, inputs, None, 4, 4)
        if weight.size == 0:
            raise UserError(f"{name} is empty: the checkpoint is damaged")
        kernels.append(weight.transpose(2, 3, 0, 1))
        inputs = weight.shape[1]
        if layer < depth - 1:
            norm = f"main.{3 * layer + 1}"
            norms.append(
                {
                    "scale": tensors.take(f"{norm}.weight", inputs),
                    "bias": tensors.take(f"{norm}.bias", inputs),
                }
            )
            statistics.append(
                {
                    "mean": tensors.take(f"{norm}.running_mean", inputs),
                    "var": tensors.take(f"{norm}.running_var", inputs),
                }
            )
            if (statistics[-1]["var"] < 0).any():
                raise UserError(
                    f"{norm}.running_var holds negative values: the checkpoint is damaged"
                )
    tensors.drop(lambda name: name.endswith(".num_batches_tracked"))
    tensors.close()
    z_dim, channels = kernels[0].shape[2], [kernel.shape[3] for kernel in kernels[:-1]]
    agree(config, {("nz",): z_dim, ("nc",): inputs, ("ngf",): channels[-1]})
    arguments = {"channels": channels, "z_dim": z_dim, "img_channels": inputs}
    params = {
        "mapping": {},
        "synthesis": {"kernels": kernels, "norms": norms},
        "buffers": {"statistics": statistics},
    }
    return Converted(arguments, params)
