"""Directions of a generator's code space: the Space of NaTra (NaTra eq. 2 and 12)."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Float, PyTree

from natra_jax.attacks.search import Space
from natra_jax.attacks.spaces.balls import in_ball, in_cube
from natra_jax.types import Array, Directions, Generator, Keys, Params


class CodeCenter(NamedTuple):
    """An encoded example, with what does not change while the attack moves it."""

    codes: Float[Array, "B L D"]
    features: PyTree  # the generator's state before the first layer that the directions move
    coordinates: Float[Array, "B S"]  # c, in the units of r


class _Limits(NamedTuple):
    """The bounds of r_s, in the units of r."""

    reach: Float[Array, " S"]  # of the box around the population's mean; inf for none
    useful: Float[Array, " S"]  # from the example itself; inf for any


def directions(
    generator: Generator,
    params: Params,
    directions: Directions,
    *,
    truncation: float | None = 2.0,
    norm: str = "linf",
    units: str = "sigma",
) -> Space:
    """Build the Space of NaTra (NaTra eq. 2 and 12): r moves codes by sum_s r_s sigma_s v_s.

    origin: codes [B, L, D]; delta: r [B, S].

    The set is a ball of radius epsilon around the example, cut with a box around the population:

        r_s in [max(-epsilon, min(0, -t - c_s)), min(epsilon, max(0, t - c_s))],
        c = pinv(V diag(sigma)) (codes - mean).

    A large epsilon can thus reach the other end of the population's range but not leave it, and
    r = 0 is always inside. Nor does any r_s leave ± directions.useful[s], the range of that
    direction which is known to keep the label. Layers below the first one that moves are computed
    once per attack.

    Args:
        generator: decodes the codes.
        params: the generator's weights.
        directions: the S directions, in the generator's code space.
        truncation: t, in sigmas; None for the ball alone.
        norm: 'linf', or 'l2' (the ball first, then the box).
        units: of r and epsilon, 'sigma', or 'raw' for the generator's own code units.

    Returns:
        The Space.

    Raises:
        ValueError: the norm or the unit is unknown, or the directions have another shape than the
            generator's codes, no layer to move, no spread, or a useful range below 0.
    """
    _check(generator, directions, norm, units)
    sigma = directions.sigma
    scale = sigma if units == "sigma" else np.ones_like(sigma)
    moves = directions.vectors * scale[:, None, None]
    reach = jnp.asarray((np.inf if truncation is None else truncation) * sigma / scale)
    limits = _Limits(reach, jnp.asarray(directions.useful * sigma / scale))
    first_layer = int(np.flatnonzero(directions.mask.any(axis=0))[0])
    to_coordinates = np.linalg.pinv(moves.reshape(len(moves), -1).T).reshape(moves.shape)
    anchor, init, project, decode = _functions(generator, first_layer, norm)
    return Space(
        anchor=Partial(anchor, params, jnp.asarray(to_coordinates), jnp.asarray(directions.mean)),
        init=Partial(init, limits),
        project=Partial(project, limits),
        decode=Partial(decode, params, jnp.asarray(moves)),
    )


def _check(generator: Generator, directions: Directions, norm: str, units: str) -> None:
    if norm not in ("linf", "l2"):
        raise ValueError(f"directions: norm must be 'linf' or 'l2', got {norm!r}")
    if units not in ("sigma", "raw"):
        raise ValueError(f"directions: units must be 'sigma' or 'raw', got {units!r}")
    vectors, sigma, useful = directions.vectors, directions.sigma, directions.useful
    expected = (generator.num_layers, generator.code_dim)
    if vectors.shape[1:] != expected or len(vectors) == 0:
        raise ValueError(
            f"directions: vectors must be [S, {expected[0]}, {expected[1]}] with S >= 1, "
            f"got {vectors.shape}"
        )
    if not directions.mask.any() or not (sigma > 0).all():
        raise ValueError(
            f"directions: each needs a layer that it moves and a sigma above 0, got sigma {sigma}"
        )
    if useful.shape != sigma.shape or not (useful >= 0).all():
        raise ValueError(f"directions: useful must be at least 0, one for each, got {useful}")


@cache
def _functions(generator: Generator, first_layer: int, norm: str) -> tuple[Callable[..., Any], ...]:
    """Build the Space's anchor, init, project and decode."""

    def anchor(
        params: Params,
        to_coordinates: Float[Array, "S L D"],
        mean: Float[Array, "L D"],
        keys: Keys,
        codes: Float[Array, "B L D"],
    ) -> CodeCenter:
        coordinates = jnp.einsum("bld,sld->bs", codes - mean, to_coordinates)
        return CodeCenter(codes, generator.head(params, codes, first_layer), coordinates)

    def init(
        limits: _Limits, keys: Keys, center: CodeCenter, epsilon: Float[Array, " B"]
    ) -> Float[Array, "B S"]:
        shape, dtype = center.coordinates.shape[1:], center.coordinates.dtype
        radius = epsilon[:, None].astype(dtype)
        if norm == "linf":
            low, high = _box(limits, center.coordinates)
            unit = jax.vmap(lambda key: jax.random.uniform(key, shape, dtype))(keys)
            low, high = jnp.maximum(-radius, low), jnp.minimum(radius, high)
            return low + unit * (high - low)
        in_unit_ball = jax.vmap(lambda key: jax.random.ball(key, shape[0], dtype=dtype))(keys)
        return project(limits, radius * in_unit_ball, center, radius[:, 0])

    def project(
        limits: _Limits,
        r: Float[Array, "B S"],
        center: CodeCenter,
        epsilon: Float[Array, " B"],
    ) -> Float[Array, "B S"]:
        low, high = _box(limits, center.coordinates)
        return jnp.clip((in_cube if norm == "linf" else in_ball)(r, epsilon), low, high)

    def decode(
        params: Params,
        moves: Float[Array, "S L D"],
        center: CodeCenter,
        r: Float[Array, "B S"],
    ) -> PyTree:
        codes = center.codes + jnp.einsum("bs,sld->bld", r, moves)  # NaTra eq. 12
        return generator.tail(params, center.features, codes, first_layer)

    return anchor, init, project, decode


def _box(
    limits: _Limits, coordinates: Float[Array, "B S"]
) -> tuple[Float[Array, "B S"], Float[Array, "B S"]]:
    """Return the lower and upper ends that the population and the useful ranges allow."""
    reach, useful = limits
    low = jnp.maximum(-useful, jnp.minimum(0.0, -reach - coordinates))
    high = jnp.minimum(useful, jnp.maximum(0.0, reach - coordinates))
    return low, high
