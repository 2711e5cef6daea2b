"""Batch inverse encoding (NaTra section 3.2): an encoder from images to codes, for a frozen
generator.

Every iteration updates the encoder twice:

    NaTra eq. 8: |codes - enc(g(codes))|^2 of sampled codes NaTra eq. 9: gamma1 |x - g(enc(x))|^2 +
    gamma2 sum_l |V_l(x) - V_l(g(enc(x)))|_1 of real images x

V_l are perceptual features (`natra_jax.latents.reconstruction`). Optionally a discriminator D is
trained beside, as in in-domain inversion (Zhu et al. 2020, arXiv 2004.00049, eq. 2 and 3): eq. 9
gains its verdict on the reconstructions, and D learns to tell real images from their
reconstructions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from natra_jax.gan import discriminator as critic
from natra_jax.gan.fit_state import FitState, Opponent
from natra_jax.gan.networks import Encoder
from natra_jax.latents.expansion import Codes, Expansion
from natra_jax.latents.reconstruction import FeaturesFn, Reconstruction
from natra_jax.types import Batch, Generator, Params

Frozen = tuple[Params, FeaturesFn | None]  # the generator's parameters, the perceptual features


class InverseEncoder(NamedTuple):
    """An encoder network, read as offsets from the generator's mean code.

    Made by `inverse_encoder`.
    """

    network: Encoder
    num_layers: int  # L
    code_dim: int  # D
    per_layer: bool  # a code of its own for each layer (w+), or one for all of them (w)
    layout: Expansion | None  # of several codes an image

    def init(self, key: jax.Array, image_shape: tuple[int, ...], mean: jax.Array) -> Params:
        """Return parameters for images of image_shape [H, W, C].

        mean: the code [L, D] that offsets are taken from.
        """
        network = jax.jit(self.network.init)(key, jnp.zeros((1, *image_shape)))["params"]
        return {"network": network, "mean": mean}

    def encode(self, params: Params, images: jax.Array) -> jax.Array:
        """Return the codes [B, L, D] of images [B, H, W, C].

        With several codes an image, the expanded codes [B, L, N * D + E].
        """
        return self.read(params, self.answer(params, images))

    def answer(self, params: Params, images: jax.Array) -> jax.Array:
        """Return the network's output [B, outputs] on images [B, H, W, C].

        It holds N codes' offsets, one for each layer or one for all, and logits of importance.
        """
        output: Any = self.network.apply({"params": params["network"]}, images)
        return output

    def read(self, params: Params, answer: jax.Array) -> jax.Array:
        """Return the codes, as `encode` does, that an `answer` of the network stands for."""
        count, layers = len(answer), self.num_layers if self.per_layer else 1
        mean = jax.lax.stop_gradient(params["mean"])
        if self.layout is None:
            return mean + answer.reshape(count, layers, self.code_dim)
        split = self.layout.num_codes * layers * self.code_dim
        offsets = answer[:, :split].reshape(count, self.layout.num_codes, layers, self.code_dim)
        logits = answer[:, split:].reshape(count, self.layout.num_codes, self.layout.channels)
        return self.layout.pack(mean + offsets, logits)

    def single(self, codes: Codes) -> Codes:
        """Return one code an image, [B, L, D], of codes as `encode` returns: of several their
        mean.
        """
        return codes if self.layout is None else self.layout.mean(codes)


def inverse_encoder(
    generator: Generator,
    *,
    codes: str,
    widths: tuple[int, ...],
    hidden: int,
    layout: Expansion | None = None,
) -> InverseEncoder:
    """Make an encoder for the generator's codes.

    Args:
      generator: of the codes; its own, not of expanded ones.
      codes: 'w' for one vector for all layers, 'w+' for one a layer.
      widths: channels of the convolutions.
      hidden: units of the dense layer.
      layout: of several such codes an image (`natra_jax.latents.expansion`) and the importance of
        their features; None: one code an image.

    Raises:
      ValueError: for other codes.
    """
    if codes not in ("w", "w+"):
        raise ValueError(f"encoder codes must be 'w' or 'w+', got {codes!r}")
    per_layer = codes == "w+"
    outputs = generator.code_dim * (generator.num_layers if per_layer else 1)
    if layout is not None:
        outputs = layout.num_codes * (outputs + layout.channels)
    return InverseEncoder(
        Encoder(outputs, tuple(widths), hidden),
        generator.num_layers,
        generator.code_dim,
        per_layer,
        layout,
    )


def make_step(
    encoder: InverseEncoder,
    generator: Generator,
    optimizer: optax.GradientTransformation,
    reconstruction: Reconstruction,
    *,
    gamma_codes: float,
    discriminator: nn.Module | None = None,
    discriminator_optimizer: optax.GradientTransformation | None = None,
    gamma_adversarial: float = 0.0,
    r1: float = 1.0,
) -> Callable[[Frozen, FitState, Batch], tuple[FitState, dict[str, jax.Array]]]:
    """Make the training step, one iteration of both updates (NaTra eq. 8, then eq. 9).

    batch['image'] are real images; as many codes are sampled. Of several codes an image eq. 8
    regresses the mean: the prior makes all of an image's codes alike, so which of them made it
    cannot be told.

    Args:
      encoder: that is trained.
      generator: frozen; of expanded codes where the encoder's are.
      optimizer: of the encoder, for both updates.
      reconstruction: the terms of eq. 9.
      gamma_codes: weighs eq. 8 against eq. 9.
      discriminator: tells real images from their reconstructions; updated a third time in each
        iteration. Its parameters are those of state.opponent. None: none.
      discriminator_optimizer: its optimizer.
      gamma_adversarial: weight in eq. 9 of its verdict on the reconstructions.
      r1: weight of its R1 penalty.

    Returns:
      ((generator_params, features_fn), state, batch) -> (state, metrics).
    """

    def codes_loss(
        params: Params, generator_params: Params, key: jax.Array, count: int
    ) -> tuple[jax.Array, jax.Array]:
        """Compute NaTra eq. 8, weighted, and as it is."""
        codes = generator.draw(generator_params, key, count)
        images = generator.synthesize(generator_params, codes)
        error = jnp.square(
            encoder.single(codes) - encoder.single(encoder.encode(params, images))
        ).mean()
        return gamma_codes * error, error

    def image_loss(
        params: Params,
        generator_params: Params,
        features_fn: FeaturesFn | None,
        opponent: Opponent | None,
        images: jax.Array,
    ) -> tuple[jax.Array, jax.Array]:
        """Compute NaTra eq. 9, with the discriminator's verdict if there is one, and g(enc(x))."""
        decoded = generator.synthesize(generator_params, encoder.encode(params, images))
        loss = reconstruction.loss(features_fn, images, decoded).mean()
        if discriminator is not None and opponent is not None:
            loss += gamma_adversarial * critic.generator_loss(
                discriminator, opponent.params, decoded
            )
        return loss, decoded

    def update(gradients: Params, params: Params, opt_state: Any) -> tuple[Params, Any]:
        updates, opt_state = optimizer.update(gradients, opt_state, params)
        updated: Any = optax.apply_updates(params, updates)
        # the mean code is a fact, not a weight: weight decay would pull it away
        return updated | {"mean": params["mean"]}, opt_state

    def step(
        frozen: Frozen, state: FitState, batch: Batch
    ) -> tuple[FitState, dict[str, jax.Array]]:
        generator_params, features_fn = frozen
        key = jax.random.fold_in(state.key, state.step)
        gradients, error = jax.grad(codes_loss, has_aux=True)(
            state.params, generator_params, key, len(batch["image"])
        )
        params, opt_state = update(gradients, state.params, state.opt_state)
        images, opponent = batch["image"], state.opponent
        gradients, decoded = jax.grad(image_loss, has_aux=True)(
            params, generator_params, features_fn, opponent, images
        )
        params, opt_state = update(gradients, params, opt_state)
        metrics = {
            "codes_error": error,
            "reconstruction_error": jnp.square(images - decoded).mean(),
        }
        if discriminator is not None:
            assert opponent is not None and discriminator_optimizer is not None
            opponent, metrics["discriminator_loss"] = _update_opponent(
                discriminator, discriminator_optimizer, r1, opponent, images, decoded
            )
        return FitState(state.step + 1, params, opt_state, state.key, opponent), metrics

    return step


def _update_opponent(
    discriminator: nn.Module,
    optimizer: optax.GradientTransformation,
    r1: float,
    opponent: Opponent,
    images: jax.Array,
    decoded: jax.Array,
) -> tuple[Opponent, jax.Array]:
    """Update a discriminator of real images and their reconstructions; return it and its loss."""

    def loss_fn(params: Params) -> jax.Array:
        penalty = critic.gradient_penalty(discriminator, params, images)
        return (
            critic.discriminator_loss(discriminator, params, images, decoded) + 0.5 * r1 * penalty
        )

    loss, gradients = jax.value_and_grad(loss_fn)(opponent.params)
    updates, opt_state = optimizer.update(gradients, opponent.opt_state, opponent.params)
    return Opponent(optax.apply_updates(opponent.params, updates), opt_state), loss
