"""Balls around the image in pixels, cut with the range of images."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from natra_jax.attacks.search import Space, per_example


def linf(bounds: tuple[float, float] = (-1.0, 1.0)) -> Space:
    """Pixels within epsilon of the image in every coordinate, and within bounds. origin: images [B, ...]; delta likewise.

    Where an image lies outside the bounds already, as a generator's may, it is moved no further out, and not back by itself.
    """
    return _pixels(_uniform, _cube, bounds)


def l2(bounds: tuple[float, float] = (-1.0, 1.0)) -> Space:
    """Pixels within the Euclidean distance epsilon of the image, and within bounds. origin: images [B, ...]; delta likewise.

    The ball first, then the bounds: cutting a delta at the bounds only shortens it.
    """
    return _pixels(_in_ball, _ball, bounds)


def _pixels(init, shrink, bounds):
    low, high = bounds
    return Space(
        anchor=Partial(_stay),
        init=Partial(init),
        project=Partial(_project, Partial(shrink), low, high),
        decode=Partial(jnp.add),
    )


def _stay(keys, origin):
    return origin


def _uniform(keys, center, epsilon):
    return jax.vmap(lambda key, x, e: jax.random.uniform(key, x.shape, x.dtype, -e, e))(keys, center, epsilon.astype(center.dtype))


def _in_ball(keys, center, epsilon):
    size = center[0].size
    unit = jax.vmap(lambda key: jax.random.ball(key, size, dtype=center.dtype))(keys).reshape(center.shape)
    return per_example(epsilon, unit) * unit


def _cube(delta, epsilon):
    return jnp.clip(delta, -epsilon, epsilon)


def _ball(delta, epsilon):
    length = jnp.sqrt(jnp.square(delta).sum(axis=tuple(range(1, delta.ndim)), keepdims=True))
    return delta * jnp.where(length > epsilon, epsilon / jnp.where(length > 0, length, 1.0), 1.0)


def _project(shrink, low, high, delta, center, epsilon):
    moved = center + shrink(delta, per_example(epsilon, delta))
    return jnp.clip(moved, jnp.minimum(low, center), jnp.maximum(high, center)) - center
