"""DCGAN (Radford et al. 2016, arXiv 1511.06434): transposed convolutions, BatchNorm, ReLU; last
tanh.

    codes [B, 1, z] -> 4x4 -> 8x8 -> ... -> tanh

    generator = dcgan(channels=(64, 32, 16), z_dim=64)  # 32 px
    params = generator.init(jax.random.key(0))
    images = generator.synthesize(
        params, generator.draw(params, jax.random.key(1), 4)
    )  # [4, 32, 32, 3]

Each step is a 4x4 transposed convolution without bias. The one code is z. BatchNorm uses the
running statistics, so images do not depend on their neighbours in the batch. The network can be
split behind each convolution. The state is the convolution's output, normalised and rectified;
behind the last one, the image before tanh.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from natra_jax.generators import ops
from natra_jax.generators.layered import layered
from natra_jax.generators.resampling import transposed_conv2d
from natra_jax.types import Generator, Params

_EPSILON = 1e-5


@functools.cache
def dcgan(*, channels: tuple[int, ...], z_dim: int = 100, img_channels: int = 3) -> Generator:
    """Make a DCGAN; the same numbers give the same object.

    Args:
      channels: behind each convolution but the last, at 4x4, 8x8 and so on; the last convolution
        doubles once more, to the image.
      z_dim: of z, which is the code.
      img_channels: of the image.

    Raises:
      ValueError: for numbers that cannot be.
    """
    if not channels or min(*channels, z_dim, img_channels) < 1:
        raise ValueError(
            f"dcgan: needs channels, and every size must be positive, got {channels}, "
            f"z_dim {z_dim}, {img_channels}"
        )
    widths = [z_dim, *channels, img_channels]
    depth = len(widths) - 1

    def init(key: jax.Array) -> Params:
        keys = iter(jax.random.split(key, 2 * depth))
        kernels = [
            0.02 * jax.random.normal(next(keys), (4, 4, i, o))
            for i, o in zip(widths[:-1], widths[1:], strict=True)
        ]
        norms = [
            {"scale": 1 + 0.02 * jax.random.normal(next(keys), (width,)), "bias": jnp.zeros(width)}
            for width in channels
        ]
        statistics = [{"mean": jnp.zeros(width), "var": jnp.ones(width)} for width in channels]
        return {
            "mapping": {},
            "synthesis": {"kernels": kernels, "norms": norms},
            "buffers": {"statistics": statistics},
        }

    def map_(params: Params, z: jax.Array, label: jax.Array | None) -> jax.Array:
        ops.distributions(label, 0)
        return z[:, None]

    def apply(params: Params, x: Any, code: Any, layer: int, noise: None) -> jax.Array:
        x, padding = (code[:, None, None], 0) if layer == 0 else (x, 1)
        x = transposed_conv2d(x, params["synthesis"]["kernels"][layer], padding)
        if layer == depth - 1:
            return x
        norm = params["synthesis"]["norms"][layer]
        statistics = params["buffers"]["statistics"][layer]
        scale = norm["scale"] * jax.lax.rsqrt(statistics["var"] + _EPSILON)
        return jax.nn.relu((x - statistics["mean"]) * scale + norm["bias"])

    def style(params: Params, l: int) -> jax.Array:
        return jnp.moveaxis(params["synthesis"]["kernels"][0], 2, -1).reshape(-1, z_dim)

    return layered(
        family="dcgan",
        num_layers=1,
        depth=depth,
        code_dim=z_dim,
        resolution=4 * 2 ** (depth - 1),
        channels=img_channels,
        init=init,
        sample=ops.standard_normal(z_dim),
        map=map_,
        start=lambda params, count: (),
        apply=apply,
        finish=lambda params, x: jnp.tanh(x),
        style=style,
    )
