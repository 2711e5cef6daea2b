"""The state of a fit that is not a classifier's: of autoencoder, inverse encoder or shift."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from natra_jax.types import Params


class Opponent(NamedTuple):
    """A discriminator that is trained beside the network that is fitted."""

    params: Params
    opt_state: Any


class FitState(NamedTuple):
    """Carry a fit from one step to the next; arrays only."""

    step: jax.Array  # [], int32
    params: Params
    opt_state: Any
    key: jax.Array
    opponent: Opponent | None = None


def fit_state(params: Params, optimizer: optax.GradientTransformation, key: jax.Array) -> FitState:
    """Return a fresh state at step 0."""
    return FitState(jnp.zeros((), jnp.int32), params, optimizer.init(params), key)
