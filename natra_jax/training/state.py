"""The train state: arrays only, so that it can be replicated, donated and checkpointed. Functions stay outside."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn


class TrainState(NamedTuple):
    step: jax.Array  # [] int32, updates done
    params: Any
    batch_stats: Any  # {} for a classifier without BatchNorm
    opt_state: Any
    epsilon: (
        jax.Array
    )  # [N_examples], the adaptive radius of every training example (NaTra section 3.4.3)
    key: jax.Array  # the seed of everything random in training; never advanced, randomness is (key, step, example index)


def init_state(
    classifier: nn.Module,
    optimizer: optax.GradientTransformation,
    image_shape: tuple[int, ...],
    num_examples: int,
    key,
) -> TrainState:
    """A fresh state with epsilon 0 for all. image_shape: [H, W, C]. The same key gives the same initial weights for every method."""
    key_init, key_train = jax.random.split(key)
    variables = _fresh_variables(classifier, image_shape, key_init)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=variables["params"],
        batch_stats=variables.get("batch_stats", {}),
        opt_state=optimizer.init(variables["params"]),
        epsilon=jnp.zeros(num_examples),
        key=key_train,
    )


@partial(jax.jit, static_argnums=(0, 1))
def _fresh_variables(classifier: nn.Module, image_shape: tuple[int, ...], key: jax.Array):
    """Compiled once for all fits of one classifier: made operation by operation, fresh weights take seconds."""
    return classifier.init(key, jnp.zeros((1, *image_shape)), train=False)
