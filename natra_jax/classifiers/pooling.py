"""Pooling as torchvision's networks have it, spelled so that its gradient is fast on a CPU.

The gradients of window reductions are slow there.
"""

from __future__ import annotations

from functools import reduce

import jax
import jax.numpy as jnp
import numpy as np


def max_of_2(x: jax.Array) -> jax.Array:
    """Take maxima of 2x2 pixels, [B, H, W, C] -> [B, H // 2, W // 2, C]; a side of 1 stays."""
    return _halved(_halved(x, 1), 2)


def max_of_3(x: jax.Array) -> jax.Array:
    """Take maxima of 3x3 pixels around every other one.

    x: [B, H, W, C], none below 0 -> [B, ceil(H / 2), ceil(W / 2), C].
    """
    # beyond the border 0 wins over nothing
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    height, width = x.shape[1] - 2, x.shape[2] - 2
    x = reduce(_larger, (x[:, i : i + height : 2] for i in range(3)))
    return reduce(_larger, (x[:, :, i : i + width : 2] for i in range(3)))


def adaptive_average(x: jax.Array, side: int) -> jax.Array:
    """Take means over side x side bins, [B, H, W, C] -> [B, side, side, C].

    Bins overlap where H or W is no multiple of side, and repeat where it is less. As PyTorch's:
    bin i of H reaches from floor(i H / side) to ceil((i + 1) H / side).
    """
    rows, columns = (_bins(length, side).astype(x.dtype) for length in x.shape[1:3])
    return jnp.einsum("ph,bhwc,qw->bpqc", rows, x, columns, precision="highest")


def _bins(length: int, side: int) -> np.ndarray:
    """Return [side, length], rows of weights that sum to 1."""
    position, i = np.arange(length), np.arange(side)[:, None]
    inside = (position >= i * length // side) & (position < -(-(i + 1) * length // side))
    return inside / inside.sum(1, keepdims=True)


def _halved(x: jax.Array, axis: int) -> jax.Array:
    """Take the larger of each two neighbours along one axis."""
    length = x.shape[axis]
    if length == 1:
        return x
    pairs = x.shape[:axis] + (length // 2, 2) + x.shape[axis + 1 :]
    pairs = jax.lax.slice_in_dim(x, 0, length // 2 * 2, axis=axis).reshape(pairs)
    return _larger(*(jax.lax.index_in_dim(pairs, i, axis + 1, keepdims=False) for i in (0, 1)))


@jax.custom_jvp
def _larger(a: jax.Array, b: jax.Array) -> jax.Array:
    """Return the maximum, whose gradient goes to one of the two, to a if they are equal.

    JAX's own gradient looks for what equals the maximum. Where a compiler works out a or b once
    more, with a last digit of another rounding, nothing does, and the gradient of a maximum over
    an axis is 0 / 0.
    """
    return jnp.maximum(a, b)


@_larger.defjvp
def _(
    values: tuple[jax.Array, jax.Array], tangents: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array]:
    (a, b), (a_tangent, b_tangent) = values, tangents
    return _larger(a, b), jnp.where(a >= b, a_tangent, b_tangent)
