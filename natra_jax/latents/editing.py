"""Codes moved along directions by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from natra_jax.types import Directions


def edit(
    codes: jax.Array, along: Directions, r: jax.Array, layers: tuple[int, int] | None = None
) -> jax.Array:
    """codes + sum over s of r_s sigma_s v_s, [B, L, D] (NaTra eq. 12).

    codes [B, L, D]. r: multiples of sigma along each of the S directions, [S] for all images alike or [B, S]. layers (first, stop): only
    these layers' codes move, D(v, first-last) of section 3.4.2; what is left of a vector is not made longer for it. By default
    every layer that a direction has.

    Raises ValueError for an r that does not have one multiple for each direction, or for layers that are no range of the codes'.
    """
    num_layers = along.vectors.shape[1]
    if jnp.shape(r)[-1:] != (len(along.vectors),):
        raise ValueError(
            f"edit: r needs {len(along.vectors)} multiples, one for each direction, got the shape {jnp.shape(r)}"
        )
    first, stop = (0, num_layers) if layers is None else layers
    if not 0 <= first < stop <= num_layers:
        raise ValueError(
            f"edit: layers must be a range inside 0..{num_layers}, got {first}..{stop}"
        )
    moved = (np.arange(num_layers) >= first) & (np.arange(num_layers) < stop)
    steps = along.sigma[:, None, None] * along.vectors * moved[:, None]
    return codes + jnp.einsum("...s,sld->...ld", jnp.asarray(r), steps)
