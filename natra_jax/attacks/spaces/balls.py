"""What lies within a radius of zero, example by example: delta [B, ...], epsilon [B]."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from natra_jax.attacks.search import per_example


def in_cube(delta: jax.Array, epsilon: jax.Array) -> jax.Array:
    """Every coordinate cut to -epsilon .. epsilon."""
    epsilon = per_example(epsilon, delta)
    return jnp.clip(delta, -epsilon, epsilon)


def in_ball(delta: jax.Array, epsilon: jax.Array) -> jax.Array:
    """What is longer than epsilon shortened to it."""
    epsilon = per_example(epsilon, delta)
    length = jnp.sqrt(jnp.square(delta).sum(axis=tuple(range(1, delta.ndim)), keepdims=True))
    return delta * jnp.where(length > epsilon, epsilon / jnp.where(length > 0, length, 1.0), 1.0)
