"""Balls around the image in pixels, cut to the range of images."""

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
        decode=Partial(jnp.add),
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
        decode=Partial(jnp.add),
    )


def _images(keys: Keys, images: Float[Array, "B ..."]) -> Float[Array, "B ..."]:
    return images


def _uniform_in_cube(
    keys: Keys, center: Float[Array, "B ..."], epsilon: Float[Array, " B"]
) -> Float[Array, "B ..."]:
    return jax.vmap(lambda key, x, e: jax.random.uniform(key, x.shape, x.dtype, -e, e))(
        keys, center, epsilon.astype(center.dtype)
    )


def _uniform_in_ball(
    keys: Keys, center: Float[Array, "B ..."], epsilon: Float[Array, " B"]
) -> Float[Array, "B ..."]:
    size = center[0].size
    draws = jax.vmap(lambda key: jax.random.ball(key, size, dtype=center.dtype))(keys)
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
