"""Balls around the image in pixels, cut with the range of images."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from natra_jax.attacks.search import Space, per_example
from natra_jax.attacks.spaces.balls import in_ball, in_cube


def linf(bounds: tuple[float, float] = (-1.0, 1.0)) -> Space:
    """Pixels within epsilon of the image in every coordinate, and within bounds. origin: images [B, ...]; delta likewise.

    Where an image lies outside the bounds already, as a generator's may, it is moved no further out, and not back by itself.
    """
    return _pixels(_uniform, in_cube, bounds)


def l2(bounds: tuple[float, float] = (-1.0, 1.0)) -> Space:
    """Pixels within the Euclidean distance epsilon of the image, and within bounds. origin: images [B, ...]; delta likewise.

    The ball first, then the bounds: cutting a delta at the bounds only shortens it.
    """
    return _pixels(_uniform_in_ball, in_ball, bounds)


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
    return jax.vmap(lambda key, x, e: jax.random.uniform(key, x.shape, x.dtype, -e, e))(
        keys, center, epsilon.astype(center.dtype)
    )


def _uniform_in_ball(keys, center, epsilon):
    size = center[0].size
    unit = jax.vmap(lambda key: jax.random.ball(key, size, dtype=center.dtype))(keys).reshape(
        center.shape
    )
    return per_example(epsilon, unit) * unit


def _project(shrink, low, high, delta, center, epsilon):
    moved = center + shrink(delta, epsilon)
    return jnp.clip(moved, jnp.minimum(low, center), jnp.maximum(high, center)) - center
