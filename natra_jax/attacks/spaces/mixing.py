"""AdvMix (Gowal et al. 2020): the style layers of an image's code are replaced by another's, and these are searched around."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from natra_jax.attacks.search import Space
from natra_jax.attacks.spaces.balls import in_cube
from natra_jax.types import Bound, Generator

SOURCES = ("prior", "other")


class MixCenter(NamedTuple):
    """A code whose perpendicular layers are another's, with what does not change while the attack moves them."""

    codes: jax.Array  # [B, L, D]
    features: Any  # the generator's state before the first perpendicular layer


def mixing(generator: Generator, params: Any, layers: Any, *, source: str = "prior") -> Space:
    """Keeps the parallel layers of the codes and moves the perpendicular ones inside an l-infinity ball around perp_0, in raw code units.

    layers: bool [L], True for the perpendicular (replaced) layers. source of perp_0, drawn anew at every restart:
    'prior': a fresh map(z); origin: codes [B, L, D].
    'other': the codes of other examples; origin: (codes [B, L, D], others [B, P, L, D]), of which one of the P is drawn.
    delta: [B, number of perpendicular layers, D]. epsilon 0 is RandMix: mixed with perp_0 itself.

    Raises ValueError for layers that are not a mask over the generator's, or without a True, and for an unknown source.
    """
    layers = np.asarray(layers)
    if layers.shape != (generator.num_layers,) or layers.dtype != bool or not layers.any():
        raise ValueError(f"mixing: layers must be bool [{generator.num_layers}] with at least one True, got {layers}")
    if source not in SOURCES:
        raise ValueError(f"mixing: source must be one of {', '.join(map(repr, SOURCES))}, got {source!r}")
    replaced = tuple(np.flatnonzero(layers).tolist())
    draw = Bound(_prior, generator.sample, generator.map) if source == "prior" else Bound(_other)
    return Space(
        anchor=Partial(Bound(_mix, draw, generator.head, replaced), params),
        init=Partial(Bound(_uniform, replaced)),
        project=Partial(_project),
        decode=Partial(Bound(_decode, generator.tail, replaced), params),
    )


def _prior(sample, map_, params, keys, codes):
    z = jax.vmap(lambda key: sample(key, 1)[0])(keys)
    return codes, map_(params, z).astype(codes.dtype)


def _other(params, keys, origin):
    codes, others = origin
    chosen = jax.vmap(lambda key: jax.random.randint(key, (), 0, others.shape[1]))(keys)
    return codes, jnp.take_along_axis(others, chosen[:, None, None, None], axis=1)[:, 0]


def _mix(draw, head, replaced, params, keys, origin):
    # the search draws its start from the same keys: what is drawn here has to be independent of it
    codes, others = draw(params, jax.vmap(jax.random.fold_in, (0, None))(keys, 0x6D69), origin)
    layers = np.asarray(replaced)
    mixed = jnp.asarray(codes).at[:, layers].set(others[:, layers])
    return MixCenter(mixed, head(params, mixed, replaced[0]))


def _uniform(replaced, keys, center, epsilon):
    shape, dtype = (len(replaced), center.codes.shape[2]), center.codes.dtype
    return jax.vmap(lambda key, e: jax.random.uniform(key, shape, dtype, -e, e))(keys, epsilon.astype(dtype))


def _project(delta, center, epsilon):
    return in_cube(delta, epsilon)


def _decode(tail, replaced, params, center, delta):
    codes = center.codes.at[:, np.asarray(replaced)].add(delta)
    return tail(params, center.features, codes, replaced[0])
