"""Shifting (NaTra eq. 10): the generator moves towards the images it is to vary, the encoder frozen.

The synthesis network alone is updated. The mapping network stays, so that codes, and directions among them, keep their meaning.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from natra_jax.gan.fit_state import FitState
from natra_jax.latents.encoder import InverseEncoder
from natra_jax.latents.reconstruction import Reconstruction
from natra_jax.types import Generator, Params

_KEPT = (
    "mapping",
    "buffers",
)  # of a generator's parameters: those of the mapping network, and what no training changes


def synthesis(params: Params) -> Params:
    """The part of a generator's parameters that shifting updates."""
    return {name: part for name, part in params.items() if name not in _KEPT}


def make_step(
    encoder: InverseEncoder,
    generator: Generator,
    optimizer: optax.GradientTransformation,
    reconstruction: Reconstruction,
):
    """((encoder_params, generator_params, features_fn), state, batch) -> (state, metrics): one update on eq. 10.

    state.params: `synthesis` of the generator's parameters. generator: of expanded codes where the encoder's are.
    """

    def loss_fn(params, generator_params, features_fn, codes, images):
        decoded = generator.synthesize(generator_params | params, codes)
        return reconstruction.loss(features_fn, images, decoded).mean(), jnp.square(
            images - decoded
        ).mean()

    def step(frozen, state: FitState, batch):
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
