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
    delta: [B, number of perpendicular layers, D]. epsilon 0 is RandMix: mixed with perp_0 itself. What a code says of the class (the
    generator's class_entries) stays the example's own.

    Raises ValueError for layers that are not a mask over the generator's, or without a True, and for an unknown source.
    """
    layers = np.asarray(layers)
    if layers.shape != (generator.num_layers,) or layers.dtype != bool or not layers.any():
        raise ValueError(
            f"mixing: layers must be bool [{generator.num_layers}] with at least one True, got {layers}"
        )
    if source not in SOURCES:
        raise ValueError(
            f"mixing: source must be one of {', '.join(map(repr, SOURCES))}, got {source!r}"
        )
    replaced = tuple(np.flatnonzero(layers).tolist())
    draw = Bound(_prior, generator) if source == "prior" else Bound(_other)
    return Space(
        anchor=Partial(
            Bound(_mix, draw, generator.head, replaced, generator.class_entries), params
        ),
        init=Partial(Bound(_uniform, replaced)),
        project=Partial(Bound(_project, generator.class_entries)),
        decode=Partial(Bound(_decode, generator.tail, replaced), params),
    )


def _prior(generator, params, keys, codes):
    z = jax.vmap(lambda key: generator.sample(key, 1)[0])(keys)
    label = (
        jax.vmap(lambda key: generator.draw_label(key, 1)[0])(keys) if generator.label_dim else None
    )
    return codes, generator.map(params, z, label).astype(codes.dtype)


def _other(params, keys, origin):
    codes, others = origin
    chosen = jax.vmap(lambda key: jax.random.randint(key, (), 0, others.shape[1]))(keys)
    return codes, jnp.take_along_axis(others, chosen[:, None, None, None], axis=1)[:, 0]


def _mix(draw, head, replaced, class_entries, params, keys, origin):
    # the search draws its start from the same keys: what is drawn here has to be independent of it
    codes, others = draw(params, jax.vmap(jax.random.fold_in, (0, None))(keys, 0x6D69), origin)
    layers = np.asarray(replaced)
    own = jnp.asarray(codes)[:, layers]
    others = jnp.where(_holds_class(class_entries, codes), own, others[:, layers])
    mixed = jnp.asarray(codes).at[:, layers].set(others)
    return MixCenter(mixed, head(params, mixed, replaced[0]))


def _uniform(replaced, keys, center, epsilon):
    shape, dtype = (len(replaced), center.codes.shape[2]), center.codes.dtype
    return jax.vmap(lambda key, e: jax.random.uniform(key, shape, dtype, -e, e))(
        keys, epsilon.astype(dtype)
    )


def _project(class_entries, delta, center, epsilon):
    return jnp.where(_holds_class(class_entries, delta), 0, in_cube(delta, epsilon))


def _holds_class(class_entries, codes):
    return np.isin(np.arange(codes.shape[-1]), class_entries)


def _decode(tail, replaced, params, center, delta):
    codes = center.codes.at[:, np.asarray(replaced)].add(delta)
    return tail(params, center.features, codes, replaced[0])
