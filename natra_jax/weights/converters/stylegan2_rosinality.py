"""rosinality's StyleGAN2 checkpoints (stylegan2-pytorch).

They are the 'g_ema' of a training, or of a conversion from NVIDIA's TensorFlow files. The network
is NVIDIA's. Its weights of convolutions are scaled at run time before they are made of unit length,
so they are scaled here, and its filters hold the gain of up-sampling. The mean code stands in
converted files alone ('latent_avg'), beside the network.
"""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
import numpy as np

from natra_jax.generators import style_mapping
from natra_jax.types import UserError
from natra_jax.weights.converters import progressive
from natra_jax.weights.converters.checkpoint_config import agree
from natra_jax.weights.converters.resample_filter import one_filter
from natra_jax.weights.tensors import Converted, Tensors

_FAMILY = "rosinality's StyleGAN2"
_LR_MUL = 0.01  # of the mapping network
_SAMPLES = 10_000  # draws for the mean code
_AT_ONCE = 2**22  # numbers, at most, of one layer's outputs


def recognises(names: set[str]) -> bool:
    """Tell whether a state dict's names are this family's."""
    return {"input.input", "conv1.conv.modulation.weight", "style.1.weight"} <= names


def convert(tensors: Tensors, config: dict[str, Any]) -> Converted:
    """Convert to arguments and parameters of `natra_jax.generators.stylegan2`.

    config: what the generator was made with, where it is known: size, style_dim, n_mlp. Raises
    UserError for tensors that do not fit.
    """
    blocks = progressive.highest(tensors.names(), r"to_rgbs\.(\d{1,4})\..*") + 2
    progressive.require_blocks(blocks, _FAMILY)
    progressive.require_square(tensors, "input.input")
    names = ["conv1", *(f"convs.{n}" for n in range(2 * blocks - 2))]
    channels = [tensors.shape(f"{name}.activate.bias", 1)[0] for name in names[::2]]
    layers, notes = _mapping(tensors), []
    code_dim = layers[-1]["kernel"].shape[1]
    sides = [4 * 2 ** ((layer + 1) // 2) for layer in range(len(names))]
    convs = [
        _conv(tensors, name, channels[n // 2], channels[(n + 1) // 2], code_dim)
        for n, name in enumerate(names)
    ]
    rgb_names = ["to_rgb1", *(f"to_rgbs.{n}" for n in range(blocks - 1))]
    rgbs = [
        _rgb(tensors, name, width, code_dim)
        for name, width in zip(rgb_names, channels, strict=True)
    ]
    constant = tensors.take("input.input", 1, channels[0], 4, 4)[0].transpose(1, 2, 0)
    ups = [
        *(f"{name}.conv.blur.kernel" for name in names[1::2]),
        *(f"{name}.upsample.kernel" for name in rgb_names[1:]),
    ]
    taps = one_filter(tensors, ups)
    _require_gain(tensors, ups)

    if "noises.noise_0" in tensors:
        noises = [
            tensors.take(f"noises.noise_{n}", 1, 1, side, side)[0, 0]
            for n, side in enumerate(sides)
        ]
    else:
        rng = np.random.default_rng(0)
        noises = [rng.standard_normal((side, side), np.float32) for side in sides]
        notes.append(
            "the checkpoint has no noise maps, being older than they are: those of constant noise "
            "are drawn, with a fixed seed"
        )
    if "latent_avg" in tensors:
        mean = tensors.take("latent_avg")
        if mean.ndim == 2 and len(mean) and (mean == mean[:1]).all():  # one for each layer
            mean = mean[0]
        mean = mean.reshape(-1)
        if mean.shape != (code_dim,):
            raise UserError(
                f"latent_avg holds {mean.size} numbers, expected {code_dim}: it is of another "
                "network"
            )
    else:
        mean = _mean_code(layers)
        notes.append(
            f"the checkpoint has no mean code (latent_avg): it is taken over {_SAMPLES:,} draws, "
            "with a fixed seed"
        )
    tensors.close()
    agree(
        config,
        {
            ("size",): sides[-1],
            ("style_dim",): code_dim,
            ("n_mlp",): len(layers),
            ("lr_mlp",): _LR_MUL,
        },
    )
    arguments = {
        "resolution": sides[-1],
        "z_dim": layers[0]["kernel"].shape[0],
        "code_dim": code_dim,
        "channels": channels,
        "img_channels": rgbs[0]["kernel"].shape[1],
        "mapping_layers": len(layers),
        "mapping_features": code_dim,
        "lr_mul": _LR_MUL,
        "resample_filter": taps,
    }
    params = {
        "mapping": {"layers": layers, "mean": mean},
        "synthesis": {"constant": constant, "convs": convs, "rgbs": rgbs},
        "buffers": {"noise": noises},
    }
    return Converted(arguments, params, tuple(notes))


def _mapping(tensors: Tensors) -> list[dict[str, np.ndarray]]:
    """Take the layers of the mapping network."""
    depth = progressive.highest(tensors.names(), r"style\.(\d{1,4})\.weight")
    width = tensors.shape("style.1.bias", 1)[0]
    return [
        {
            "kernel": progressive.dense(tensors, f"style.{n}.weight", width, width, False),
            "bias": tensors.take(f"style.{n}.bias", width),
        }
        for n in range(1, max(1, depth) + 1)
    ]


def _affine(tensors: Tensors, name: str, width: int, code_dim: int) -> dict[str, np.ndarray]:
    """Take the layer from a code to the styles of a convolution of so many inputs."""
    kernel = progressive.dense(tensors, f"{name}.conv.modulation.weight", code_dim, width, False)
    return {"kernel": kernel, "bias": tensors.take(f"{name}.conv.modulation.bias", width)}


def _conv(tensors: Tensors, name: str, inputs: int, outputs: int, code_dim: int) -> dict[str, Any]:
    """Take a convolution with its style, noise strength and bias."""
    weight = tensors.take(f"{name}.conv.weight", 1, outputs, inputs, 3, 3)[0].transpose(2, 3, 1, 0)
    return {
        "kernel": weight * np.float32(1 / math.sqrt(9 * inputs)),
        "bias": tensors.take(f"{name}.activate.bias", outputs),
        "noise_strength": tensors.take(f"{name}.noise.weight", 1).reshape(()),
        "affine": _affine(tensors, name, inputs, code_dim),
    }


def _rgb(tensors: Tensors, name: str, inputs: int, code_dim: int) -> dict[str, Any]:
    """Take a layer to RGB."""
    weight = tensors.take(f"{name}.conv.weight", 1, None, inputs, 1, 1)[0, :, :, 0, 0].T
    bias = tensors.take(f"{name}.bias", 1, weight.shape[1], 1, 1).reshape(-1)
    return {"kernel": weight, "bias": bias, "affine": _affine(tensors, name, inputs, code_dim)}


def _require_gain(tensors: Tensors, names: list[str]) -> None:
    """Raise UserError if a filter does not sum to 4, so that images would be brighter or darker."""
    for name in names:
        total = float(tensors.take(name).sum())
        if abs(total - 4) > 1e-3:
            raise UserError(
                f"{name} sums to {total:.4g}, expected 4, the gain of an up-sampling filter: the "
                "checkpoint is damaged"
            )


def _mean_code(layers: list[dict[str, np.ndarray]]) -> np.ndarray:
    """Return the mean of w over draws of z: [code]."""
    rng, total = np.random.default_rng(0), np.zeros(())
    width = max(layer["kernel"].shape[0] for layer in layers)
    left = _SAMPLES
    while left:
        count = min(left, max(1, _AT_ONCE // width))
        z = rng.standard_normal((count, layers[0]["kernel"].shape[0]), np.float32)
        w = style_mapping.apply(
            {"layers": layers}, jnp.asarray(z), None, lr_mul=_LR_MUL, joint_norm=False
        )
        total = total + np.asarray(w, np.float64).sum(0)
        left -= count
    return (total / _SAMPLES).astype(np.float32)
