"""Train a small generator from nothing, as the decoder of a variational autoencoder.

Kingma & Welling 2014. It takes minutes on a CPU where adversarial training takes hours. The encoder
that helps here is thrown away: encoders for use are trained against the finished generator by
`natra_jax.latents.encoder`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from natra_jax.gan.augmentation import augment
from natra_jax.gan.fit_state import FitState
from natra_jax.types import Batch, Generator, Params


def init_params(
    generator: Generator, network: nn.Module, image_shape: tuple[int, ...], key: jax.Array
) -> Params:
    """Return fresh parameters of both halves, {"generator", "network"}.

    Args:
      generator: the decoder.
      network: the encoder, with 2 * code_dim outputs: mean and log-variance of z.
      image_shape: [H, W, C].
      key: of the draws.
    """
    key_generator, key_network = jax.random.split(key)
    return {
        "generator": jax.jit(generator.init)(key_generator),
        "network": jax.jit(network.init)(key_network, jnp.zeros((1, *image_shape)))["params"],
    }


def reconstruct(
    generator: Generator, network: nn.Module, params: Params, images: jax.Array
) -> jax.Array:
    """Reconstruct images by way of the posterior's mean.

    Args:
      generator: the decoder.
      network: the encoder.
      params: {"generator", "network"}.
      images: [B, H, W, C] in [-1, 1].

    Returns:
      Images [B, H, W, C].
    """
    mean, _ = _posterior(network, params, images)
    return generator.synthesize(params["generator"], generator.map(params["generator"], mean))


def loss(
    generator: Generator,
    network: nn.Module,
    params: Params,
    key: jax.Array,
    images: jax.Array,
    kl_weight: float,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Compute the mean over images of |x - x'|^2 + kl_weight * KL(q(z | x), N(0, I)).

    Args:
      generator: the decoder.
      network: the encoder, images -> mean and log-variance of z.
      params: {"generator", "network"}.
      key: of z's noise.
      images: [B, H, W, C] in [-1, 1]; squared errors are summed over H, W, C.
      kl_weight: of the divergence; 1 is the evidence lower bound of a unit variance.

    Returns:
      (loss, metrics): a scalar; reconstruction_error, the squared error's mean over pixels, and
      divergence.
    """
    mean, log_variance = _posterior(network, params, images)
    z = mean + jnp.exp(0.5 * log_variance) * jax.random.normal(key, mean.shape)
    decoded = generator.synthesize(params["generator"], generator.map(params["generator"], z))
    squared = jnp.square(images - decoded)
    divergence = 0.5 * (jnp.square(mean) + jnp.exp(log_variance) - 1 - log_variance).sum(1).mean()
    total = squared.sum((1, 2, 3)).mean() + kl_weight * divergence
    return total, {"reconstruction_error": squared.mean(), "divergence": divergence}


def make_step(
    generator: Generator,
    network: nn.Module,
    optimizer: optax.GradientTransformation,
    kl_weight: float,
    kinds: Sequence[str] = (),
) -> Callable[[None, FitState, Batch], tuple[FitState, dict[str, jax.Array]]]:
    """Make the training step, one update on `loss`.

    Args:
      generator: the decoder.
      network: the encoder.
      optimizer: of both.
      kl_weight: of the divergence.
      kinds: the augmentations of the images, of `natra_jax.gan.augmentation.KINDS`.

    Returns:
      (None, state, batch) -> (state, metrics).
    """

    def step(_: None, state: FitState, batch: Batch) -> tuple[FitState, dict[str, jax.Array]]:
        key = jax.random.fold_in(state.key, state.step)
        images = augment(jax.random.fold_in(key, 1), batch["image"], kinds)
        gradients, metrics = jax.grad(loss, argnums=2, has_aux=True)(
            generator, network, state.params, key, images, kl_weight
        )
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return FitState(state.step + 1, params, opt_state, state.key), metrics

    return step


def _posterior(
    network: nn.Module, params: Params, images: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return mean and log-variance of q(z | x), [B, Z] each."""
    answer: Any = network.apply({"params": params["network"]}, images)
    mean, log_variance = jnp.split(answer, 2, axis=1)
    return mean, log_variance
