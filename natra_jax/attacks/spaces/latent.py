"""Directions of a generator's code space: the Space of NaTra."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from natra_jax.attacks.search import Space
from natra_jax.attacks.spaces.balls import in_ball, in_cube
from natra_jax.types import Bound, Directions, Generator


class CodeCenter(NamedTuple):
    """An encoded example, with what does not change while the attack moves it."""

    codes: jax.Array  # [B, L, D]
    features: Any  # the generator's state before the first layer that the directions move
    coordinates: jax.Array  # c [B, S], in the units of r


class _Limits(NamedTuple):
    """How far r_s may go, [S] each, in the units of r."""

    reach: jax.Array  # of the box around the population's mean; inf for none
    useful: jax.Array  # from the example itself; inf for any


def directions(
    generator: Generator,
    params: Any,
    along: Directions,
    *,
    truncation: float | None = 2.0,
    norm: str = "linf",
    units: str = "sigma",
) -> Space:
    """r in R^S moves codes to codes + sum_s r_s sigma_s v_s (NaTra eq. 2 and 12). origin: codes [B, L, D]; delta: r [B, S].

    The set is a ball of radius epsilon around the example cut with a box around the population:
    r_s in [max(-epsilon, min(0, -t - c_s)), min(epsilon, max(0, t - c_s))], c = pinv(V diag(sigma)) (codes - mean).
    A large epsilon can thus reach the other end of the population's range but not leave it, and r = 0 is always inside. Nor does any
    r_s leave +-along.useful[s], the range of that direction which is known to keep the label.

    truncation: t, in sigmas; None for the ball alone. norm: 'linf' or 'l2' (the ball first, then the box). units of r and epsilon:
    'sigma', or 'raw' for the generator's own code units. Layers below the first one that moves are computed once per attack.

    Raises ValueError for an unknown norm or unit, and for directions of another shape than the generator's codes, without a layer
    to move, of no spread, or of a useful range below 0.
    """
    if norm not in ("linf", "l2"):
        raise ValueError(f"directions: norm must be 'linf' or 'l2', got {norm!r}")
    if units not in ("sigma", "raw"):
        raise ValueError(f"directions: units must be 'sigma' or 'raw', got {units!r}")
    expected = (generator.num_layers, generator.code_dim)
    if along.vectors.shape[1:] != expected or len(along.vectors) == 0:
        raise ValueError(
            f"directions: vectors must be [S, {expected[0]}, {expected[1]}] with S >= 1, got {along.vectors.shape}"
        )
    if not along.mask.any() or not (along.sigma > 0).all():
        raise ValueError(
            f"directions: each needs a layer that it moves and a sigma above 0, got sigma {along.sigma}"
        )
    if along.useful.shape != along.sigma.shape or not (along.useful >= 0).all():
        raise ValueError(f"directions: useful must be at least 0, one for each, got {along.useful}")
    scale = along.sigma if units == "sigma" else np.ones_like(along.sigma)
    moves = along.vectors * scale[:, None, None]
    reach = jnp.asarray((np.inf if truncation is None else truncation) * along.sigma / scale)
    limits = _Limits(reach, jnp.asarray(along.useful * along.sigma / scale))
    first_layer = int(np.flatnonzero(along.mask.any(axis=0))[0])
    to_coordinates = np.linalg.pinv(moves.reshape(len(moves), -1).T).reshape(moves.shape)
    return Space(
        anchor=Partial(
            Bound(_center, generator.head, first_layer),
            params,
            jnp.asarray(to_coordinates),
            jnp.asarray(along.mean),
        ),
        init=Partial(Bound(_random_r, norm), limits),
        project=Partial(Bound(_project_r, norm), limits),
        decode=Partial(Bound(_decode_r, generator.tail, first_layer), params, jnp.asarray(moves)),
    )


def _center(head, first_layer, params, to_coordinates, mean, keys, codes):
    coordinates = jnp.einsum("bld,sld->bs", codes - mean, to_coordinates)
    return CodeCenter(codes, head(params, codes, first_layer), coordinates)


def _decode_r(tail, first_layer, params, moves, center, r):
    codes = center.codes + jnp.einsum("bs,sld->bld", r, moves)
    return tail(params, center.features, codes, first_layer)


def _box(limits, coordinates):
    """Lower and upper ends [B, S] of what the population and the useful ranges allow, from the examples' coordinates."""
    reach, useful = limits
    return jnp.maximum(-useful, jnp.minimum(0.0, -reach - coordinates)), jnp.minimum(
        useful, jnp.maximum(0.0, reach - coordinates)
    )


def _project_r(norm, limits, r, center, epsilon):
    low, high = _box(limits, center.coordinates)
    return jnp.clip((in_cube if norm == "linf" else in_ball)(r, epsilon), low, high)


def _random_r(norm, limits, keys, center, epsilon):
    shape, dtype = center.coordinates.shape[1:], center.coordinates.dtype
    epsilon = epsilon[:, None].astype(dtype)
    if norm == "linf":
        low, high = _box(limits, center.coordinates)
        unit = jax.vmap(lambda key: jax.random.uniform(key, shape, dtype))(keys)
        low, high = jnp.maximum(-epsilon, low), jnp.minimum(epsilon, high)
        return low + unit * (high - low)
    inside_unit_ball = jax.vmap(lambda key: jax.random.ball(key, shape[0], dtype=dtype))(keys)
    return _project_r(norm, limits, epsilon * inside_unit_ball, center, epsilon[:, 0])
