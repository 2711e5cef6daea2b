"""Training a small generator from nothing, as the decoder of a variational autoencoder (Kingma & Welling 2014).

Minutes on a CPU where adversarial training takes hours. The encoder that helps here is thrown away: encoders for use are trained
against the finished generator by `natra_jax.latents.encoder`.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax

from natra_jax.gan.augmentation import augment
from natra_jax.latents.encoder import Encoder, FitState
from natra_jax.types import Generator, Params


def init_params(
    generator: Generator, network: Encoder, image_shape: tuple[int, ...], key: jax.Array
) -> Params:
    """Parameters of both halves. network has 2 * code_dim outputs: mean and log-variance of z."""
    key_generator, key_network = jax.random.split(key)
    return {
        "generator": jax.jit(generator.init)(key_generator),
        "network": jax.jit(network.init)(key_network, jnp.zeros((1, *image_shape)))["params"],
    }


def reconstruct(
    generator: Generator, network: Encoder, params: Params, images: jax.Array
) -> jax.Array:
    """Images [B, H, W, C] through the posterior's mean and back."""
    mean, _ = jnp.split(network.apply({"params": params["network"]}, images), 2, axis=1)
    return generator.synthesize(params["generator"], generator.map(params["generator"], mean))


def loss(
    generator: Generator,
    network: Encoder,
    params: Params,
    key: jax.Array,
    images: jax.Array,
    kl_weight: float,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Sum of squared errors + kl_weight * KL(q(z | x), N(0, I)), a mean over images [B, H, W, C]; beside it both parts as metrics."""
    mean, log_variance = jnp.split(network.apply({"params": params["network"]}, images), 2, axis=1)
    z = mean + jnp.exp(0.5 * log_variance) * jax.random.normal(key, mean.shape)
    decoded = generator.synthesize(params["generator"], generator.map(params["generator"], z))
    squared = jnp.square(images - decoded)
    divergence = 0.5 * (jnp.square(mean) + jnp.exp(log_variance) - 1 - log_variance).sum(1).mean()
    total = squared.sum((1, 2, 3)).mean() + kl_weight * divergence
    return total, {"reconstruction_error": squared.mean(), "divergence": divergence}


def make_step(
    generator: Generator,
    network: Encoder,
    optimizer: optax.GradientTransformation,
    kl_weight: float,
    kinds: Sequence[str] = (),
):
    """(None, state, batch) -> (state, metrics): one step on `loss` of the images, changed by kinds (`natra_jax.gan.augmentation`)."""

    def step(_, state: FitState, batch):
        key = jax.random.fold_in(state.key, state.step)
        images = augment(jax.random.fold_in(key, 1), batch["image"], kinds)
        gradients, metrics = jax.grad(loss, argnums=2, has_aux=True)(
            generator, network, state.params, key, images, kl_weight
        )
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        return FitState(
            state.step + 1, optax.apply_updates(state.params, updates), opt_state, state.key
        ), metrics

    return step
