"""AdvMix (Gowal et al. 2020): style layers are replaced by another image's, and moved."""

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
from natra_jax.attacks.spaces.balls import in_cube
from natra_jax.types import Array, Generator, Keys, Params

SOURCES = ("prior", "other")


class MixCenter(NamedTuple):
    """A code whose perpendicular layers are another's, and what no attack on these changes."""

    codes: Float[Array, "B L D"]
    features: PyTree  # the generator's state before the first perpendicular layer


def mixing(generator: Generator, params: Params, layers: Any, *, source: str = "prior") -> Space:
    """Build the Space of AdvMix, in raw code units.

    The parallel layers of the codes are kept. The perpendicular ones move inside an l-infinity ball
    around perp_0, which is drawn anew at every restart. delta: [B, perpendicular layers, D].
    Epsilon 0 is RandMix: mixed with perp_0 itself. The entries of a code that hold its class (the
    generator's class_entries) stay the example's own.

    Args:
        generator: decodes the codes.
        params: the generator's weights.
        layers: bool [L], True for the perpendicular (replaced) layers.
        source: where perp_0 comes from. 'prior': a fresh map(z), with origin codes [B, L, D].
            'other': one of the codes of P other examples, with origin (codes [B, L, D],
            others [B, P, L, D]).

    Returns:
        The Space.

    Raises:
        ValueError: layers are not a mask over the generator's or have no True, or the source is
            unknown.
    """
    layers = np.asarray(layers)
    if layers.shape != (generator.num_layers,) or layers.dtype != bool or not layers.any():
        raise ValueError(
            f"mixing: layers must be bool [{generator.num_layers}] with at least one True, "
            f"got {layers}"
        )
    if source not in SOURCES:
        raise ValueError(
            f"mixing: source must be one of {', '.join(map(repr, SOURCES))}, got {source!r}"
        )
    replaced = tuple(np.flatnonzero(layers).tolist())
    anchor, init, project, decode = _functions(generator, replaced, source)
    return Space(
        anchor=Partial(anchor, params),
        init=Partial(init),
        project=Partial(project),
        decode=Partial(decode, params),
    )


@cache
def _functions(
    generator: Generator, replaced: tuple[int, ...], source: str
) -> tuple[Callable[..., Any], ...]:
    """Build the Space's anchor, init, project and decode."""
    draw = _from_prior(generator) if source == "prior" else _from_others
    layers = np.asarray(replaced, np.int32)
    holds_class = np.isin(np.arange(generator.code_dim), generator.class_entries)

    def anchor(params: Params, keys: Keys, origin: PyTree) -> MixCenter:
        """Resample the perpendicular layers (AdvMix)."""
        # the search draws its start from the same keys: this draw has to be independent of it
        keys = jax.vmap(jax.random.fold_in, (0, None))(keys, 0x6D69)
        codes, others = draw(params, keys, origin)
        own = jnp.asarray(codes)[:, layers]
        others = jnp.where(holds_class, own, others[:, layers])
        mixed = jnp.asarray(codes).at[:, layers].set(others)
        return MixCenter(mixed, generator.head(params, mixed, replaced[0]))

    def init(
        keys: Keys, center: MixCenter, epsilon: Float[Array, " B"]
    ) -> Float[Array, "B replaced D"]:
        shape, dtype = (len(replaced), center.codes.shape[2]), center.codes.dtype
        return jax.vmap(lambda key, e: jax.random.uniform(key, shape, dtype, -e, e))(
            keys, epsilon.astype(dtype)
        )

    def project(
        delta: Float[Array, "B replaced D"], center: MixCenter, epsilon: Float[Array, " B"]
    ) -> Float[Array, "B replaced D"]:
        return jnp.where(holds_class, 0, in_cube(delta, epsilon))

    def decode(params: Params, center: MixCenter, delta: Float[Array, "B replaced D"]) -> PyTree:
        codes = center.codes.at[:, layers].add(delta)
        return generator.tail(params, center.features, codes, replaced[0])

    return anchor, init, project, decode


def _from_prior(generator: Generator) -> Callable[..., tuple[Array, Array]]:
    def draw(
        params: Params, keys: Keys, codes: Float[Array, "B L D"]
    ) -> tuple[Float[Array, "B L D"], Float[Array, "B L D"]]:
        z = jax.vmap(lambda key: generator.sample(key, 1)[0])(keys)
        label = jax.vmap(one_label)(keys) if generator.label_dim else None
        return codes, generator.map(params, z, label).astype(codes.dtype)

    def one_label(key: Array) -> Array:
        label = generator.draw_label(key, 1)
        assert label is not None, "the generator has classes"
        return label[0]

    return draw


def _from_others(
    params: Params, keys: Keys, origin: tuple[Float[Array, "B L D"], Float[Array, "B P L D"]]
) -> tuple[Float[Array, "B L D"], Float[Array, "B L D"]]:
    codes, others = origin
    chosen = jax.vmap(lambda key: jax.random.randint(key, (), 0, others.shape[1]))(keys)
    return codes, jnp.take_along_axis(others, chosen[:, None, None, None], axis=1)[:, 0]
