"""A small style-modulated generator for small images, trained in minutes on a CPU.

Per-layer codes as in StyleGAN:

    z -> w = z + MLP(z), the same w for every layer by default
    layer 0: 4x4 constant + dense(codes[0])
    then pairs of 3x3 convolutions a resolution, every second one upsampling first;
    each layer l: leaky_relu((1 + scale_l(codes[l])) * conv(x) + shift_l(codes[l]))
    last a 1x1 convolution to RGB

L = 2 log2(resolution) - 2 layers, as many as StyleGAN has at that resolution.
"""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp

from natra_jax.convolution import conv2d
from natra_jax.generators import ops
from natra_jax.generators.layered import layered
from natra_jax.types import Generator, Params


def _dense(
    key: jax.Array, fan_in: int, shape: tuple[int, ...], gain: float = 2.0
) -> dict[str, jax.Array]:
    """Draw {kernel [fan_in, *shape], bias [*shape]} with variance gain / fan_in."""
    return {
        "kernel": jax.random.normal(key, (fan_in, *shape)) * math.sqrt(gain / fan_in),
        "bias": jnp.zeros(shape),
    }


def _affine(params: Params, x: jax.Array) -> jax.Array:
    """Map x [..., I] with kernel [I, ...] and bias."""
    return jnp.tensordot(x, params["kernel"], 1) + params["bias"]


@functools.cache
def style_small(
    *,
    resolution: int = 16,
    code_dim: int = 64,
    base_channels: int = 32,
    max_channels: int = 64,
    channels_out: int = 3,
) -> Generator:
    """Make a small generator; the same numbers give the same object, so that jit compiles it once.

    Args:
      resolution: a power of two, at least 8.
      code_dim: D, of z and w.
      base_channels: at full resolution, doubled at each lower one.
      max_channels: up to so many.
      channels_out: of the image.

    Raises:
      ValueError: for another resolution, or another number below 1.
    """
    levels = ops.doublings("style_small", resolution)
    if min(code_dim, base_channels, max_channels, channels_out) < 1:
        raise ValueError("style_small: every number must be at least 1")
    num_layers = 2 * levels + 2
    widths = [
        min(max_channels, base_channels * 2 ** (levels - layer // 2)) for layer in range(num_layers)
    ]

    def init(key: jax.Array) -> Params:
        keys = iter(jax.random.split(key, 3 + 2 * num_layers))
        layers = [
            {
                "constant": jnp.zeros((4, 4, widths[0])),
                "dense": _dense(next(keys), code_dim, (4, 4, widths[0])),
            }
        ]
        for layer in range(1, num_layers):
            fan_in = 9 * widths[layer - 1]
            kernel = jax.random.normal(
                next(keys), (3, 3, widths[layer - 1], widths[layer])
            ) * math.sqrt(2 / fan_in)
            # scale and shift of the features, side by side
            layers.append(
                {
                    "kernel": kernel,
                    "style": _dense(next(keys), code_dim, (2, widths[layer]), gain=0.1),
                }
            )
        mapping = [
            _dense(next(keys), code_dim, (code_dim,)),
            _dense(next(keys), code_dim, (code_dim,), gain=0.01),
        ]
        return {
            "mapping": mapping,
            "layers": layers,
            "rgb": _dense(next(keys), widths[-1], (channels_out,), gain=1.0),
        }

    def map_(params: Params, z: jax.Array, label: jax.Array | None) -> jax.Array:
        hidden = jax.nn.leaky_relu(_affine(params["mapping"][0], z), 0.2)
        w = z + _affine(params["mapping"][1], hidden)
        return jnp.broadcast_to(w[:, None, :], (w.shape[0], num_layers, code_dim))

    def mean(params: Params) -> jax.Array:
        # the prior is centred, so the mean code is taken as the image of z = 0
        return _affine(params["mapping"][1], jax.nn.leaky_relu(params["mapping"][0]["bias"], 0.2))

    def apply(params: Params, x: jax.Array, code: jax.Array, layer: int, noise: None) -> jax.Array:
        p = params["layers"][layer]
        if layer == 0:
            return jax.nn.leaky_relu(x + _affine(p["dense"], code), 0.2)
        if layer % 2 == 0:
            x = jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)
        scale, shift = jnp.moveaxis(_affine(p["style"], code), 1, 0)
        return jax.nn.leaky_relu(
            (1 + scale[:, None, None]) * conv2d(x, p["kernel"]) + shift[:, None, None], 0.2
        )

    def start(params: Params, count: int) -> jax.Array:
        return jnp.broadcast_to(params["layers"][0]["constant"], (count, 4, 4, widths[0]))

    def style(params: Params, l: int) -> jax.Array:
        kernel = params["layers"][l]["dense" if l == 0 else "style"]["kernel"]
        return kernel.reshape(code_dim, -1).T

    return layered(
        family="style_small",
        num_layers=num_layers,
        code_dim=code_dim,
        resolution=resolution,
        channels=channels_out,
        init=init,
        sample=ops.standard_normal(code_dim),
        map=map_,
        mean=mean,
        start=start,
        apply=apply,
        finish=lambda params, x: _affine(params["rgb"], x),
        style=style,
        # weights in use were trained, and figures measured, with the formula's rounding at psi = 1
        always_truncate=True,
    )
