"""Adversarial training of a small generator that goes on from the decoder of an autoencoder.

The decoder gives a start that adversarial training from nothing takes hours to reach on a CPU; the discriminator then makes of prior
samples what the autoencoder was never shown. The autoencoder's own loss may stay beside, so that images can still be inverted. What
is kept are averaged weights, as in StyleGAN.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from natra_jax.gan import autoencoder
from natra_jax.gan import discriminator as critic
from natra_jax.gan.augmentation import augment
from natra_jax.latents.encoder import Encoder
from natra_jax.types import Generator, Params


class Optimizers(NamedTuple):
    generator: optax.GradientTransformation
    discriminator: optax.GradientTransformation


class State(NamedTuple):
    """Of both networks; arrays only."""

    step: jax.Array
    params: Params  # {"generator", "network"}, as the autoencoder's
    opt_state: Any
    average: Params  # of params over the steps: what is kept
    discriminator: Params
    discriminator_opt_state: Any
    key: jax.Array


def init_state(
    params: Params, discriminator: Params, optimizers: Optimizers, key: jax.Array
) -> State:
    """A fresh state at step 0 of a trained autoencoder's params and a discriminator's."""
    # the step donates its state, and one buffer cannot be given away twice
    average = jax.tree.map(jnp.array, params)
    step, (of_generator, of_discriminator) = jnp.zeros((), jnp.int32), optimizers
    return State(
        step,
        params,
        of_generator.init(params),
        average,
        discriminator,
        of_discriminator.init(discriminator),
        key,
    )


def moving_average(average: Params, params: Params, decay: float) -> Params:
    """decay * average + (1 - decay) * params"""
    return jax.tree.map(lambda a, p: a + (1 - decay) * (p - a), average, params)


def make_step(
    generator: Generator,
    network: Encoder,
    discriminator: nn.Module,
    optimizers: Optimizers,
    *,
    kl_weight: float,
    reconstruction: float,
    r1: float,
    r1_every: int,
    decay: float,
    kinds: Sequence[str],
):
    """(None, state, batch) -> (state, metrics): one update of the discriminator, then one of the generator against it.

    The discriminator sees batch['image'] and as many prior samples, both augmented by kinds. Every r1_every-th step, from the first,
    adds r1_every times R1 (lazy regularisation, Karras et al. 2020, section 3.1). reconstruction: weight of the autoencoder's loss
    (`autoencoder.loss`, with kl_weight) in the generator's update; 0 leaves it out, and the autoencoder's network as it was.
    """

    def penalty(params, images):
        return 0.5 * r1 * r1_every * critic.gradient_penalty(discriminator, params, images)

    def step(_, state: State, batch):
        keys = jax.random.split(jax.random.fold_in(state.key, state.step), 5)
        z = generator.sample(keys[0], len(batch["image"]))

        def synthesize(params):
            return generator.synthesize(params, generator.map(params, z))

        fake, to_generator = jax.vjp(synthesize, state.params["generator"])
        real = augment(keys[1], batch["image"], kinds)

        def discriminator_loss(params):
            return critic.discriminator_loss(
                discriminator, params, real, augment(keys[2], fake, kinds)
            )

        loss, gradients = jax.value_and_grad(discriminator_loss)(state.discriminator)
        if r1:
            gradients = jax.lax.cond(
                state.step % r1_every == 0,
                lambda g: jax.tree.map(jnp.add, g, jax.grad(penalty)(state.discriminator, real)),
                lambda g: g,
                gradients,
            )
        updates, discriminator_opt_state = optimizers.discriminator.update(
            gradients, state.discriminator_opt_state, state.discriminator
        )
        opponent = optax.apply_updates(state.discriminator, updates)

        def generator_loss(fake):
            return critic.generator_loss(discriminator, opponent, augment(keys[3], fake, kinds))

        generator_loss_, to_images = jax.value_and_grad(generator_loss)(fake)
        metrics = {"discriminator_loss": loss, "generator_loss": generator_loss_}
        gradients = {
            "generator": to_generator(to_images)[0],
            "network": jax.tree.map(jnp.zeros_like, state.params["network"]),
        }
        if reconstruction:
            of_autoencoder, of_loss = jax.grad(autoencoder.loss, argnums=2, has_aux=True)(
                generator, network, state.params, keys[4], batch["image"], kl_weight
            )
            gradients = jax.tree.map(lambda g, a: g + reconstruction * a, gradients, of_autoencoder)
            metrics |= of_loss
        updates, opt_state = optimizers.generator.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        average = moving_average(state.average, params, decay)
        return State(
            state.step + 1, params, opt_state, average, opponent, discriminator_opt_state, state.key
        ), metrics

    return step
