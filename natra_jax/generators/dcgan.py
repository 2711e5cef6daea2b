"""DCGAN (Radford et al. 2016, arXiv 1511.06434): transposed convolutions with BatchNorm and ReLU, tanh at the end.

    codes [B, 1, z] -> 4x4 -> 8x8 -> ... -> tanh, each step a 4x4 transposed convolution without bias

    generator = dcgan(channels=(64, 32, 16), z_dim=64)                                      # 32 px
    params = generator.init(jax.random.key(0))
    images = generator.synthesize(params, generator.draw(params, jax.random.key(1), 4))     # [4, 32, 32, 3]

One code, which is z. BatchNorm uses the running statistics, so images do not depend on their neighbours in the batch. It can be split
behind each convolution; the state is what follows it, normalised and rectified, and behind the last one the image before tanh.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from natra_jax.generators import ops
from natra_jax.generators.layered import layered
from natra_jax.generators.resampling import transposed_conv2d
from natra_jax.types import Generator, Params

_EPSILON = 1e-5


@functools.cache
def dcgan(*, channels: tuple[int, ...], z_dim: int = 100, img_channels: int = 3) -> Generator:
    """channels: behind each convolution but the last, at 4x4, 8x8 and so on; the last doubles once more, to the image.

    Raises ValueError for numbers that cannot be.
    """
    if not channels or min(*channels, z_dim, img_channels) < 1:
        raise ValueError(
            f"dcgan: needs channels, and every size must be positive, got {channels}, z_dim {z_dim}, {img_channels}"
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

    def sample(key: jax.Array, n: int) -> jax.Array:
        return jax.random.normal(key, (n, z_dim))

    def map_(params, z, label=None, truncation_psi=1.0, truncation_cutoff=None):
        ops.distributions(label, 0)
        return ops.truncate(z[:, None], jnp.zeros(z_dim), truncation_psi, truncation_cutoff)

    def apply(params, x, code, layer, noise):
        x, padding = (code[:, None, None], 0) if layer == 0 else (x, 1)
        x = transposed_conv2d(x, params["synthesis"]["kernels"][layer], padding)
        if layer == depth - 1:
            return x
        norm, statistics = (
            params["synthesis"]["norms"][layer],
            params["buffers"]["statistics"][layer],
        )
        scale = norm["scale"] * jax.lax.rsqrt(statistics["var"] + _EPSILON)
        return jax.nn.relu((x - statistics["mean"]) * scale + norm["bias"])

    def style(params, l):
        return jnp.moveaxis(params["synthesis"]["kernels"][0], 2, -1).reshape(-1, z_dim)

    return layered(
        family="dcgan",
        num_layers=1,
        depth=depth,
        code_dim=z_dim,
        resolution=4 * 2 ** (depth - 1),
        init=init,
        sample=sample,
        map=map_,
        start=lambda params, count: (),
        apply=apply,
        finish=lambda params, x: jnp.tanh(x),
        style=style,
    )
