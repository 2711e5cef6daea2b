"""The train state: arrays only, so that it can be replicated, donated and checkpointed.

Functions stay outside.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import Array, Float, Integer

from natra_jax.types import Params


class TrainState(NamedTuple):
    """Everything that training changes, and the key of its randomness."""

    step: Integer[Array, ""]  # updates done
    params: Params
    batch_stats: Params  # {} for a classifier without BatchNorm
    opt_state: Any
    epsilon: Float[Array, " examples"]
    """The adaptive radius of every training example (NaTra section 3.4.3)."""
    delta: Float[Array, "examples S"] | None
    """The perturbation that is kept of every training example, NaN before its first visit; None
    where the method keeps none."""
    key: jax.Array
    """The seed of everything random in training. It is never advanced: randomness follows from
    (key, step, example index)."""


def init_state(
    classifier: nn.Module,
    optimizer: optax.GradientTransformation,
    image_shape: tuple[int, ...],
    num_examples: int,
    key: jax.Array,
    kept: int | None = None,
) -> TrainState:
    """Return a fresh state, with epsilon 0 for all examples.

    Args:
        classifier: called as classifier(images, train).
        optimizer: of the classifier's weights.
        image_shape: (H, W, C).
        num_examples: the size of the training set.
        key: the same key gives the same initial weights for every method.
        kept: S of the method's kept perturbations; None where it keeps none.

    Returns:
        The state.
    """
    key_init, key_train = jax.random.split(key)
    variables = _fresh_variables(classifier, image_shape, key_init)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=variables["params"],
        batch_stats=variables.get("batch_stats", {}),
        opt_state=optimizer.init(variables["params"]),
        epsilon=jnp.zeros(num_examples),
        delta=None if kept is None else jnp.full((num_examples, kept), jnp.nan),
        key=key_train,
    )


@partial(jax.jit, static_argnums=(0, 1))
def _fresh_variables(
    classifier: nn.Module, image_shape: tuple[int, ...], key: jax.Array
) -> Mapping[str, Any]:
    """Initialise the weights, compiled once for all fits of one classifier.

    Made operation by operation, fresh weights take seconds.
    """
    return classifier.init(key, jnp.zeros((1, *image_shape)), train=False)
