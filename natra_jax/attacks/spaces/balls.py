"""Projections onto a ball around zero, example by example."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Float

from natra_jax.attacks.search import per_example
from natra_jax.types import Array


def in_cube(delta: Float[Array, "B ..."], epsilon: Float[Array, " B"]) -> Float[Array, "B ..."]:
    """Cut every coordinate to -epsilon .. epsilon."""
    epsilon = per_example(epsilon, delta)
    return jnp.clip(delta, -epsilon, epsilon)


def in_ball(delta: Float[Array, "B ..."], epsilon: Float[Array, " B"]) -> Float[Array, "B ..."]:
    """Shorten each delta to a Euclidean length of at most epsilon."""
    epsilon, axes = per_example(epsilon, delta), tuple(range(1, delta.ndim))
    largest = jnp.abs(delta).max(axis=axes, keepdims=True)
    # the squares of small numbers underflow
    length = jnp.maximum(jnp.sqrt(jnp.square(delta).sum(axis=axes, keepdims=True)), largest)
    # a radius that is NaN makes delta NaN, which no search keeps
    return delta * jnp.where(length <= epsilon, 1.0, epsilon / jnp.where(length > 0, length, 1.0))
