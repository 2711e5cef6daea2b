"""Move codes along directions by hand (NaTra eq. 12)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from natra_jax.types import Directions


def edit(
    codes: jax.Array, directions: Directions, r: jax.Array, layers: tuple[int, int] | None = None
) -> jax.Array:
    """Return codes + sum over s of r_s sigma_s v_s (NaTra eq. 12).

    Args:
      codes: [B, L, D].
      directions: S of them.
      r: multiples of sigma along each direction, [S] for all images alike or [B, S].
      layers: (first, stop): only these layers' codes move, D(v, first-last) of NaTra section 3.4.2;
        the rest of a vector is not made longer for it. By default every layer that a direction has.

    Returns:
      Codes [B, L, D].

    Raises:
      ValueError: for an r that does not have one multiple for each direction, or for layers that
        are no range of the codes'.
    """
    num_layers = directions.vectors.shape[1]
    if jnp.shape(r)[-1:] != (len(directions.vectors),):
        raise ValueError(
            f"edit: r needs {len(directions.vectors)} multiples, one for each direction, "
            f"got the shape {jnp.shape(r)}"
        )
    first, stop = (0, num_layers) if layers is None else layers
    if not 0 <= first < stop <= num_layers:
        raise ValueError(
            f"edit: layers must be a range inside 0..{num_layers}, got {first}..{stop}"
        )
    moved = (np.arange(num_layers) >= first) & (np.arange(num_layers) < stop)
    steps = directions.sigma[:, None, None] * directions.vectors * moved[:, None]
    return codes + jnp.einsum("...s,sld->...ld", jnp.asarray(r), steps)
