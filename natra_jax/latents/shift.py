"""Shifting (NaTra eq. 10): move the generator towards the images it is to vary.

    NaTra eq. 10: gamma1 |x - g(enc(x))|^2 + gamma2 sum_l |V_l(x) - V_l(g(enc(x)))|_1,

eq. 9's loss, but the encoder is frozen and the synthesis network alone is updated. The mapping
network stays, so that codes, and directions among them, keep their meaning.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from natra_jax.gan.fit_state import FitState
from natra_jax.latents.encoder import InverseEncoder
from natra_jax.latents.reconstruction import FeaturesFn, Reconstruction
from natra_jax.types import Batch, Generator, Params

# of a generator's parameters: the mapping network's, and those that no training changes
_KEPT = ("mapping", "buffers")
Frozen = tuple[Params, Params, FeaturesFn | None]
"""The encoder's parameters, the generator's before the shift, the perceptual features."""


def synthesis(params: Params) -> Params:
    """Return the part of a generator's parameters that shifting updates."""
    return {name: part for name, part in params.items() if name not in _KEPT}


def make_step(
    encoder: InverseEncoder,
    generator: Generator,
    optimizer: optax.GradientTransformation,
    reconstruction: Reconstruction,
) -> Callable[[Frozen, FitState, Batch], tuple[FitState, dict[str, jax.Array]]]:
    """Make the training step, one update on NaTra eq. 10.

    Args:
      encoder: frozen.
      generator: of expanded codes where the encoder's are.
      optimizer: of the synthesis network.
      reconstruction: the terms of eq. 10.

    Returns:
      ((encoder_params, generator_params, features_fn), state, batch) -> (state, metrics), where
      state.params are `synthesis` of the generator's parameters.
    """

    def loss_fn(
        params: Params,
        generator_params: Params,
        features_fn: FeaturesFn | None,
        codes: jax.Array,
        images: jax.Array,
    ) -> tuple[jax.Array, jax.Array]:
        """Compute NaTra eq. 10, and the mean squared error."""
        decoded = generator.synthesize(generator_params | params, codes)
        loss = reconstruction.loss(features_fn, images, decoded).mean()
        return loss, jnp.square(images - decoded).mean()

    def step(
        frozen: Frozen, state: FitState, batch: Batch
    ) -> tuple[FitState, dict[str, jax.Array]]:
        encoder_params, generator_params, features_fn = frozen
        codes = encoder.encode(encoder_params, batch["image"])
        gradients, squared = jax.grad(loss_fn, has_aux=True)(
            state.params, generator_params, features_fn, codes, batch["image"]
        )
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return FitState(state.step + 1, params, opt_state, state.key), {
            "reconstruction_error": squared
        }

    return step
