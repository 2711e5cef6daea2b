"""Convolutions that double the resolution, and the filters that go with them, in the form that is fastest on each backend."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

_NHWC = ("NHWC", "HWIO", "NHWC")


def repeat(x: jax.Array) -> jax.Array:
    """[B, H, W, C] -> [B, 2H, 2W, C], each pixel four times (nearest neighbour)."""
    return jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)


def transposed_conv2d(x: jax.Array, kernel: jax.Array, padding: int = 0) -> jax.Array:
    """Transposed convolution of stride 2: x [B, H, W, C] with kernel [k, k, C, K] -> [B, 2H - 2 + k - 2 padding, ..., K].

    Output pixel 2 i + a - padding receives x[i] @ kernel[a], summed over all i and a: PyTorch's conv_transpose2d with its weight
    [C, K, k, k] as kernel, unflipped.
    """
    k = kernel.shape[0]
    pads = [(k - 1 - padding, k - 1 - padding)] * 2
    return lax.conv_general_dilated(x, kernel[::-1, ::-1], (1, 1), pads, lhs_dilation=(2, 2), dimension_numbers=_NHWC)
