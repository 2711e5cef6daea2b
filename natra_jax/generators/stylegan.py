"""StyleGAN (Karras et al. 2019, arXiv 1812.04948), with the numerics of NVIDIA's own networks.

    z, label -> pixel norm -> dense layers -> w, the same for every layer by default
    layer 0: a 4x4 constant; then two 3x3 convolutions a resolution, the first of them doubling it
    and blurred by [1, 2, 1]; each layer l: + noise, + bias, leaky ReLU, instance norm,
    x * (scale_l(codes[l]) + 1) + shift_l(codes[l]); last a 1x1 convolution to RGB

    generator = stylegan(resolution=32, channels=(64, 64, 32, 16), z_dim=64, code_dim=64)
    params = generator.init(jax.random.key(0))
    images = generator.synthesize(
        params, generator.draw(params, jax.random.key(1), 4)
    )  # [4, 32, 32, 3]

L = 2 log2(resolution) - 2 layers.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

from natra_jax.generators import ops, progressive
from natra_jax.generators.layered import layered
from natra_jax.generators.resampling import filter2d
from natra_jax.types import Generator, Params

_MAPPING_LR_MUL = 0.01


def _instance_norm(x: jax.Array) -> jax.Array:
    """Normalise each example's feature maps [B, H, W, C] over their pixels."""
    x = x - x.mean((1, 2), keepdims=True)
    # where a map is nearly flat, as the constant at first, rounding of the mean is much of the
    # variation: a second mean takes it out
    x = x - x.mean((1, 2), keepdims=True)
    return x * jax.lax.rsqrt(jnp.square(x).mean((1, 2), keepdims=True) + 1e-8)


@functools.cache
def stylegan(
    *,
    resolution: int,
    channels: tuple[int, ...],
    z_dim: int = 512,
    code_dim: int = 512,
    label_dim: int = 0,
    label_features: int | None = None,
    img_channels: int = 3,
    mapping_layers: int = 8,
    mapping_features: int = 512,
    fused_from: int | None = 128,
    lod: float = 0.0,
) -> Generator:
    """Make a StyleGAN; the same numbers give the same object.

    Args:
      resolution: a power of two, at least 8.
      channels: of the layers at 4x4, 8x8 and so on.
      z_dim: of z.
      code_dim: D, of w.
      label_dim: number of classes; 0: unconditional.
      label_features: numbers that a class is embedded as beside z; None: the label itself.
      img_channels: of the image.
      mapping_layers: dense layers of the mapping network.
      mapping_features: their width.
      fused_from: the resolution from which on doubling and convolution are one (NVIDIA's 'auto':
        128); None: never.
      lod: how much of progressive training is missing, see `progressive`; layers above it have no
        parameters, and their codes no effect.

    Raises:
      ValueError: for numbers that cannot be.
    """
    growth = progressive.growth("stylegan", resolution, lod, channels, fused_from)
    num_layers = 2 * growth.blocks
    if min(z_dim, code_dim, img_channels, mapping_layers, mapping_features) < 1 or label_dim < 0:
        raise ValueError("stylegan: every size must be positive, label_dim at least 0")
    if label_features is not None and (label_dim == 0 or label_features < 1):
        raise ValueError(
            f"stylegan: label_features {label_features} needs classes to embed, "
            "and must be positive"
        )
    widths = [channels[layer // 2] for layer in range(growth.layers)]
    mapping_widths = [
        z_dim + (label_dim if label_features is None else label_features),
        *[mapping_features] * (mapping_layers - 1),
        code_dim,
    ]

    def init(key: jax.Array) -> Params:
        keys = iter(
            jax.random.split(key, mapping_layers + 3 * growth.layers + len(growth.painted) + 1)
        )
        mapping = {
            "dense": [
                {
                    "kernel": jax.random.normal(next(keys), (i, o)) / _MAPPING_LR_MUL,
                    "bias": jnp.zeros(o),
                }
                for i, o in zip(mapping_widths[:-1], mapping_widths[1:], strict=True)
            ],
            "mean": jnp.zeros(code_dim),
        }
        if label_features is not None:
            mapping["label"] = jax.random.normal(next(keys), (label_dim, label_features))
        layers, noise = [], []
        for layer, width in enumerate(widths):
            style = {
                "kernel": jax.random.normal(next(keys), (code_dim, 2 * width)),
                "bias": jnp.zeros(2 * width),
            }
            layers.append({"bias": jnp.zeros(width), "noise": jnp.zeros(width), "style": style})
            if layer > 0:
                layers[-1]["kernel"] = jax.random.normal(
                    next(keys), (3, 3, widths[layer - 1], width)
                )
            noise.append(jax.random.normal(next(keys), (growth.resolution(layer),) * 2))
        synthesis = {
            "constant": jnp.ones((4, 4, channels[0])),
            "layers": layers,
            "rgb": progressive.init_rgb(keys, growth, channels, img_channels),
        }
        return {"mapping": mapping, "synthesis": synthesis, "buffers": {"noise": noise}}

    def map_(params: Params, z: jax.Array, label: jax.Array | None) -> jax.Array:
        mapping, classes = params["mapping"], ops.distributions(label, label_dim)
        if classes is not None:
            embedded = classes if label_features is None else classes @ mapping["label"]
            z = jnp.concatenate([z, embedded], -1)
        w = ops.pixel_norm(z)
        for layer in mapping["dense"]:
            w = ops.leaky_relu(ops.dense(layer, w, gain=progressive.GAIN, lr_mul=_MAPPING_LR_MUL))
        return jnp.repeat(w[:, None], num_layers, axis=1)

    def apply_layer(
        params: Params, x: jax.Array, code: jax.Array, layer: int, noise: jax.Array | None
    ) -> jax.Array:
        p = params["synthesis"]["layers"][layer]
        if layer == 0:
            pass  # x is the constant
        elif layer % 2 == 0:
            size = growth.resolution(layer)
            x = progressive.convolve_up(
                x, p["kernel"], fused=fused_from is not None and size >= fused_from
            )
            x = filter2d(x, taps=(1, 2, 1), padding=(1, 1))
        else:
            x = progressive.convolve(x, p["kernel"])
        if noise is not None:
            x = x + noise[..., None] * p["noise"]
        x = _instance_norm(ops.leaky_relu(x + p["bias"]))
        scale, shift = jnp.split(ops.dense(p["style"], code)[:, None, None], 2, -1)
        return x * (scale + 1) + shift

    def to_rgb(params: Params, block: int, x: jax.Array) -> jax.Array:
        return progressive.to_rgb(params["synthesis"]["rgb"], growth, block, x)

    def start(params: Params, count: int) -> Any:
        constant = params["synthesis"]["constant"]
        return growth.start(jnp.broadcast_to(constant, (count, *constant.shape)))

    def noise_maps(
        params: Params, noise: str, key: jax.Array | None, count: int
    ) -> list[jax.Array | None]:
        # layers above the level of detail have none
        return [*_noise_maps(params, noise, key, count), *[None] * (num_layers - growth.layers)]

    def style(params: Params, l: int) -> jax.Array:
        if l >= growth.layers:
            return jnp.zeros((1, code_dim))
        return params["synthesis"]["layers"][l]["style"]["kernel"].T / math.sqrt(code_dim)

    apply, finish = growth.parts(apply_layer, to_rgb)
    return layered(
        family="stylegan",
        num_layers=num_layers,
        code_dim=code_dim,
        resolution=resolution,
        channels=img_channels,
        label_dim=label_dim,
        init=init,
        sample=ops.standard_normal(z_dim),
        map=map_,
        mean=lambda params: params["mapping"]["mean"],
        start=start,
        apply=apply,
        finish=finish,
        style=style,
        noise_maps=noise_maps,
    )


def _noise_maps(
    params: Params, noise: str, key: jax.Array | None, count: int
) -> list[jax.Array | None]:
    """Return the noise of each layer, [H, W], or [B, H, W] where it is drawn; None for no noise."""
    maps = params["buffers"]["noise"]
    if noise == "const":
        return maps
    if noise == "none":
        return [None] * len(maps)
    if noise != "random":
        raise ValueError(f"noise must be 'const', 'none' or 'random', got {noise!r}")
    if key is None:
        raise ValueError("noise 'random' needs a key")
    return [
        jax.random.normal(jax.random.fold_in(key, layer), (count, *m.shape))
        for layer, m in enumerate(maps)
    ]
