"""Balls around the image in pixels, cut to the range of images.

Of images in half precision, delta is float32, and image + delta is rounded towards the image: to
the nearest it could leave the ball, by half the distance of two such numbers.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Float

from natra_jax.attacks.search import Space, per_example
from natra_jax.attacks.spaces.balls import in_ball, in_cube
from natra_jax.types import Array, Keys


def linf(bounds: tuple[float, float] = (-1.0, 1.0)) -> Space:
    """Build the Space of pixels within epsilon of the image in every coordinate, and within bounds.

    origin: images [B, ...]; delta likewise. An image that lies outside the bounds already, as a
    generator's may, is moved no further out, and not back by itself.
    """
    return Space(
        anchor=Partial(_images),
        init=Partial(_uniform_in_cube),
        project=Partial(_project, Partial(in_cube), *bounds),
        decode=Partial(_add),
    )


def l2(bounds: tuple[float, float] = (-1.0, 1.0)) -> Space:
    """Build the Space of pixels within a Euclidean distance of epsilon, and within bounds.

    origin: images [B, ...]; delta likewise. The ball comes first, then the bounds: cutting a delta
    at the bounds only shortens it.
    """
    return Space(
        anchor=Partial(_images),
        init=Partial(_uniform_in_ball),
        project=Partial(_project, Partial(in_ball), *bounds),
        decode=Partial(_add),
    )


def _images(keys: Keys, images: Float[Array, "B ..."]) -> Float[Array, "B ..."]:
    return images


def _uniform_in_cube(
    keys: Keys, center: Float[Array, "B ..."], epsilon: Float[Array, " B"]
) -> Float[Array, "B ..."]:
    dtype = _at_least_float32(center)
    return jax.vmap(lambda key, x, e: jax.random.uniform(key, x.shape, dtype, -e, e))(
        keys, center, epsilon.astype(dtype)
    )


def _uniform_in_ball(
    keys: Keys, center: Float[Array, "B ..."], epsilon: Float[Array, " B"]
) -> Float[Array, "B ..."]:
    size = center[0].size
    dtype = _at_least_float32(center)
    draws = jax.vmap(lambda key: jax.random.ball(key, size, dtype=dtype))(keys)
    unit = draws.reshape(center.shape)
    return per_example(epsilon, unit) * unit


def _project(
    into_ball: Any,
    low: Any,
    high: Any,
    delta: Float[Array, "B ..."],
    center: Float[Array, "B ..."],
    epsilon: Float[Array, " B"],
) -> Float[Array, "B ..."]:
    moved = center + into_ball(delta, epsilon)
    return jnp.clip(moved, jnp.minimum(low, center), jnp.maximum(high, center)) - center


def _at_least_float32(images: Float[Array, "B ..."]) -> jnp.dtype:
    return jnp.promote_types(images.dtype, jnp.float32)


def _add(images: Float[Array, "B ..."], delta: Float[Array, "B ..."]) -> Float[Array, "B ..."]:
    if images.dtype == delta.dtype:
        return images + delta
    return _add_towards(images, delta)


@jax.custom_jvp
def _add_towards(
    images: Float[Array, "B ..."], delta: Float[Array, "B ..."]
) -> Float[Array, "B ..."]:
    """Add delta, which is more precise than images, and round the sum towards images."""
    exact = images.astype(delta.dtype) + delta
    # behind the barrier a compiler that computes in excess precision rounds all the same
    rounded = jax.lax.optimization_barrier(exact.astype(images.dtype))
    difference = rounded.astype(delta.dtype) - exact
    beyond = jnp.where(delta > 0, difference > 0, difference < 0)
    rounded = jnp.where(beyond, jnp.nextafter(rounded, images), rounded)
    return jnp.where(delta == 0, images, rounded)


@_add_towards.defjvp
def _(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    images_tangent, delta_tangent = tangents
    return _add_towards(*primals), images_tangent + delta_tangent.astype(images_tangent.dtype)
