"""ProGAN, the progressively grown GAN (Karras et al. 2018, arXiv 1710.10196).

With the numerics of NVIDIA's own networks:

    codes [B, 1, z and class] -> pixel norm -> layer 0: dense to 4x4
    then two 3x3 convolutions a resolution, but one at 4x4; each sees pixel-normalised features;
    + bias, leaky ReLU; last a 1x1 convolution to RGB

    generator = progan(resolution=32, channels=(64, 64, 32, 16), z_dim=64)
    params = generator.init(jax.random.key(0))
    images = generator.synthesize(
        params, generator.draw(params, jax.random.key(1), 4)
    )  # [4, 32, 32, 3]

The one code is z with the class behind it. The network can be split behind each of its
2 log2(resolution) - 2 layers; the state is a layer's output before it is normalised.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

from natra_jax.generators import ops, progressive
from natra_jax.generators.layered import layered
from natra_jax.types import Generator, Params


@functools.cache
def progan(
    *,
    resolution: int,
    channels: tuple[int, ...],
    z_dim: int = 512,
    label_dim: int = 0,
    img_channels: int = 3,
    fused_from: int | None = None,
    normalize_z: bool = False,
    lod: float = 0.0,
) -> Generator:
    """Make a ProGAN; the same numbers give the same object.

    Args:
      resolution: a power of two, at least 8.
      channels: of the layers at 4x4, 8x8 and so on.
      z_dim: of z.
      label_dim: number of classes; 0: unconditional.
      img_channels: of the image.
      fused_from: the resolution from which on doubling and convolution are one; None: never.
      normalize_z: normalise z before the class is put beside it, and with the class a second time.
      lod: how much of progressive training is missing, see `progressive`.

    Raises:
      ValueError: for numbers that cannot be.
    """
    growth = progressive.growth("progan", resolution, lod, channels, fused_from)
    depth, code_dim = 2 * growth.blocks, z_dim + label_dim
    if min(z_dim, img_channels) < 1 or label_dim < 0:
        raise ValueError("progan: every size must be positive, label_dim at least 0")
    widths = [channels[layer // 2] for layer in range(growth.layers)]
    dense_gain = progressive.GAIN / 4

    def init(key: jax.Array) -> Params:
        keys = iter(jax.random.split(key, growth.layers + len(growth.painted)))
        layers = [
            {
                "kernel": jax.random.normal(next(keys), (code_dim, 16 * widths[0])),
                "bias": jnp.zeros(widths[0]),
            }
        ]
        for layer in range(1, growth.layers):
            kernel = jax.random.normal(next(keys), (3, 3, widths[layer - 1], widths[layer]))
            layers.append({"kernel": kernel, "bias": jnp.zeros(widths[layer])})
        rgb = progressive.init_rgb(keys, growth, channels, img_channels)
        return {"mapping": {}, "synthesis": {"layers": layers, "rgb": rgb}, "buffers": {}}

    def map_(params: Params, z: jax.Array, label: jax.Array | None) -> jax.Array:
        classes = ops.distributions(label, label_dim)
        z = (ops.pixel_norm(z) if normalize_z else z)[:, None]
        return z if classes is None else jnp.concatenate([z, classes[:, None]], -1)

    def apply_layer(params: Params, x: Any, code: Any, layer: int, noise: None) -> jax.Array:
        p = params["synthesis"]["layers"][layer]
        if layer == 0:
            x = ops.dense({"kernel": p["kernel"]}, ops.pixel_norm(code), gain=dense_gain).reshape(
                -1, 4, 4, widths[0]
            )
        elif layer % 2 == 0:
            fused = fused_from is not None and growth.resolution(layer) >= fused_from
            x = progressive.convolve_up(ops.pixel_norm(x), p["kernel"], fused)
        else:
            x = progressive.convolve(ops.pixel_norm(x), p["kernel"])
        return ops.leaky_relu(x + p["bias"])

    def to_rgb(params: Params, block: int, x: jax.Array) -> jax.Array:
        return progressive.to_rgb(params["synthesis"]["rgb"], growth, block, ops.pixel_norm(x))

    def with_label(params: Params, codes: jax.Array, label: jax.Array) -> jax.Array:
        classes = ops.class_distributions(label, label_dim)
        return jnp.concatenate([codes[..., :z_dim], classes[:, None]], -1)

    def style(params: Params, l: int) -> jax.Array:
        return params["synthesis"]["layers"][0]["kernel"].T * (dense_gain / math.sqrt(code_dim))

    apply, finish = growth.parts(apply_layer, to_rgb)
    return layered(
        family="progan",
        num_layers=1,
        depth=depth,
        code_dim=code_dim,
        resolution=resolution,
        channels=img_channels,
        label_dim=label_dim,
        init=init,
        sample=ops.standard_normal(z_dim),
        map=map_,
        start=lambda params, count: growth.start(()),
        apply=apply,
        finish=finish,
        style=style,
        class_entries=tuple(range(z_dim, z_dim + label_dim)),
        with_label=with_label if label_dim else None,
    )
