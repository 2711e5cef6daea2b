"""A Space around the image itself, where another is around its reconstruction."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Float, PyTree

from natra_jax.attacks.search import Space
from natra_jax.types import Array, Keys


class _Center(NamedTuple):
    """The inner Space's center, and what its decoding of delta = 0 leaves out."""

    inner: PyTree
    lost: Float[Array, "B ..."]


def residual(space: Space) -> Space:
    """Add to each image what the Space changes: x' = x + decode(delta) - decode(0).

    What a generator cannot reconstruct of an image is kept. origin: (the Space's origin, images
    [B, H, W, C] in [-1, 1]); what leaves that range is clipped.
    """
    return replace(
        space,
        anchor=Partial(_anchor, space),
        init=Partial(_init, space.init),
        project=Partial(_project, space.project),
        decode=Partial(_decode, space.decode),
    )


def _anchor(space: Space, keys: Keys, origin: tuple[PyTree, Float[Array, "B ..."]]) -> _Center:
    inner_origin, images = origin
    inner = space.anchor(keys, inner_origin)
    radius = jnp.zeros(len(keys), images.dtype)  # of no use: only the shape of delta is wanted
    shapes = jax.eval_shape(space.init, keys, inner, radius)
    unchanged = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    return _Center(inner, images - space.decode(inner, unchanged))


def _init(inner_init: Partial, keys: Keys, center: _Center, epsilon: Float[Array, " B"]) -> PyTree:
    return inner_init(keys, center.inner, epsilon)


def _project(
    inner_project: Partial, delta: PyTree, center: _Center, epsilon: Float[Array, " B"]
) -> PyTree:
    return inner_project(delta, center.inner, epsilon)


def _decode(inner_decode: Partial, center: _Center, delta: PyTree) -> Float[Array, "B ..."]:
    return jnp.clip(inner_decode(center.inner, delta) + center.lost, -1.0, 1.0)
