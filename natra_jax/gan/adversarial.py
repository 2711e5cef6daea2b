"""Train a small generator adversarially, going on from the decoder of an autoencoder.

Adversarial training from nothing takes hours on a CPU to reach where the decoder starts. The
discriminator then judges prior samples, which the autoencoder was never shown. The autoencoder's
own loss may stay beside, so that images can still be inverted. The weights that are kept are
averages over the steps, as in StyleGAN.

The same step transfers a pretrained generator to few images, from its own weights and without an
autoencoder; a part of its parameters may be frozen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from natra_jax.gan import autoencoder
from natra_jax.gan import discriminator as critic
from natra_jax.gan.augmentation import augment
from natra_jax.types import Batch, Generator, Params


class Optimizers(NamedTuple):
    """The optimizers of both networks."""

    generator: optax.GradientTransformation
    discriminator: optax.GradientTransformation


class State(NamedTuple):
    """The state of both networks; arrays only."""

    step: jax.Array  # [], int32
    params: Params  # {"generator", "network"}, as the autoencoder's; or {"generator"} alone
    opt_state: Any
    average: Params  # of params over the steps: the weights that are kept
    discriminator: Params
    discriminator_opt_state: Any
    key: jax.Array


def init_state(
    params: Params, discriminator: Params, optimizers: Optimizers, key: jax.Array
) -> State:
    """Return a fresh state at step 0.

    Args:
      params: of a trained autoencoder, {"generator", "network"}; or {"generator"}, the part of a
        generator's that is trained.
      discriminator: parameters of the discriminator.
      optimizers: of both.
      key: of all draws from here on.
    """
    return State(
        step=jnp.zeros((), jnp.int32),
        params=params,
        opt_state=optimizers.generator.init(params),
        # the step donates its state, and one buffer cannot be given away twice
        average=jax.tree.map(jnp.array, params),
        discriminator=discriminator,
        discriminator_opt_state=optimizers.discriminator.init(discriminator),
        key=key,
    )


def moving_average(average: Params, params: Params, decay: float) -> Params:
    """Return decay * average + (1 - decay) * params."""
    return jax.tree.map(lambda a, p: a + (1 - decay) * (p - a), average, params)


def make_step(
    generator: Generator,
    network: nn.Module | None,
    discriminator: nn.Module,
    optimizers: Optimizers,
    *,
    kl_weight: float,
    reconstruction: float,
    r1: float,
    r1_every: int,
    decay: float,
    kinds: Sequence[str],
) -> Callable[[Params, State, Batch], tuple[State, dict[str, jax.Array]]]:
    """Make the training step: update the discriminator, then the generator against it.

    The discriminator sees batch['image'] and as many prior samples, both augmented.

    Args:
      generator: the autoencoder's decoder, or any other.
      network: the autoencoder's encoder; None without reconstruction.
      discriminator: a module from images [B, H, W, C] to logits [B].
      optimizers: of generator (with network) and discriminator.
      kl_weight: as of `autoencoder.loss`.
      reconstruction: weight of the autoencoder's loss in the generator's update; 0 leaves it out,
        and network as it was.
      r1: weight of R1.
      r1_every: every so many steps, from the first, r1_every times R1 is added (lazy
        regularisation, Karras et al. 2020, section 3.1).
      decay: of the average of parameters.
      kinds: the augmentations, of `natra_jax.gan.augmentation.KINDS`.

    Returns:
      (frozen, state, batch) -> (state, metrics), where frozen is the part of the generator's
      parameters that is not trained, or None.

    Raises:
      ValueError: reconstruction without a network.
    """
    if reconstruction and network is None:
        raise ValueError("the autoencoder's loss needs its network")

    def penalty(params: Params, images: jax.Array) -> jax.Array:
        return 0.5 * r1 * r1_every * critic.gradient_penalty(discriminator, params, images)

    def step(frozen: Params, state: State, batch: Batch) -> tuple[State, dict[str, jax.Array]]:
        keys = jax.random.split(jax.random.fold_in(state.key, state.step), 5)
        count, kept = len(batch["image"]), frozen or {}

        def synthesize(params: Params) -> jax.Array:
            whole = kept | params
            return generator.synthesize(whole, generator.draw(whole, keys[0], count))

        fake, pull_back = jax.vjp(synthesize, state.params["generator"])
        real = augment(keys[1], batch["image"], kinds)

        def discriminator_loss(params: Params) -> jax.Array:
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

        def generator_loss(fake: jax.Array) -> jax.Array:
            return critic.generator_loss(discriminator, opponent, augment(keys[3], fake, kinds))

        verdict, image_gradients = jax.value_and_grad(generator_loss)(fake)
        metrics = {"discriminator_loss": loss, "generator_loss": verdict}
        gradients = jax.tree.map(jnp.zeros_like, state.params)
        gradients["generator"] = pull_back(image_gradients)[0]
        if network is not None and reconstruction:
            own_gradients, own_metrics = jax.grad(autoencoder.loss, argnums=2, has_aux=True)(
                generator, network, state.params, keys[4], batch["image"], kl_weight
            )
            gradients = jax.tree.map(lambda g, a: g + reconstruction * a, gradients, own_gradients)
            metrics |= own_metrics
        updates, opt_state = optimizers.generator.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        average = moving_average(state.average, params, decay)
        return State(
            state.step + 1, params, opt_state, average, opponent, discriminator_opt_state, state.key
        ), metrics

    return step
