"""The number types that a network computes with.

bfloat16 where it is asked to, else the type of its images, which is float64 where JAX is told so.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp


def entering(x: jax.Array, dtype: str) -> jax.Array:
    """Return the images as a network of that dtype begins with them."""
    return x.astype(chosen(dtype) or x.dtype)


def chosen(dtype: str) -> jnp.dtype | None:
    """Return the dtype of Flax's layers; None: that of their inputs."""
    return jnp.dtype(dtype) if dtype != "float32" else None


def precise(x: jax.Array) -> jax.Array:
    """Return x in float32 at least, for last layers and statistics."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
