"""Batch inverse encoding (NaTra section 3.2): an encoder from images to codes, trained against a frozen generator.

Every iteration updates the encoder twice: on eq. 8 (regress the codes that made a generated image) and on eq. 9 (reconstruct a real
image, in pixels and in perceptual features; optionally also in the eyes of a discriminator that is trained beside).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from natra_jax.gan import discriminator as critic
from natra_jax.gan.fit_state import FitState, Opponent
from natra_jax.gan.networks import Encoder
from natra_jax.latents.expansion import Codes, Expansion
from natra_jax.latents.reconstruction import Reconstruction
from natra_jax.types import Generator, Params


class InverseEncoder(NamedTuple):
    """An encoder network read as offsets from the generator's mean code; made by `inverse_encoder`."""

    network: Encoder
    num_layers: int  # L
    code_dim: int  # D
    per_layer: bool  # a code of its own for each layer (w+), or one for all of them (w)
    layout: Expansion | None  # of several codes an image

    def init(self, key: jax.Array, image_shape: tuple[int, ...], mean: jax.Array) -> Params:
        """Parameters for images of image_shape [H, W, C], with the mean code [L, D] that offsets are taken from."""
        network = jax.jit(self.network.init)(key, jnp.zeros((1, *image_shape)))["params"]
        return {"network": network, "mean": mean}

    def encode(self, params: Params, images: jax.Array) -> jax.Array:
        """images [B, H, W, C] -> codes [B, L, D], with several codes an image expanded ones [B, L, N * D + E]."""
        return self.read(params, self.answer(params, images))

    def answer(self, params: Params, images: jax.Array) -> jax.Array:
        """images [B, H, W, C] -> [B, outputs], what the network says: N codes' offsets, each for every layer or for all, and logits."""
        return self.network.apply({"params": params["network"]}, images)

    def read(self, params: Params, answer: jax.Array) -> jax.Array:
        """What `answer` returns -> what `encode` does."""
        count, layers = len(answer), self.num_layers if self.per_layer else 1
        mean = jax.lax.stop_gradient(params["mean"])
        if self.layout is None:
            return mean + answer.reshape(count, layers, self.code_dim)
        split = self.layout.num_codes * layers * self.code_dim
        offsets = answer[:, :split].reshape(count, self.layout.num_codes, layers, self.code_dim)
        logits = answer[:, split:].reshape(count, self.layout.num_codes, self.layout.channels)
        return self.layout.pack(mean + offsets, logits)

    def single(self, codes: Codes) -> Codes:
        """What `encode` returns -> [B, L, D], one code an image: of several their mean."""
        return codes if self.layout is None else self.layout.mean(codes)


def inverse_encoder(
    generator: Generator,
    *,
    codes: str,
    widths: tuple[int, ...],
    hidden: int,
    layout: Expansion | None = None,
) -> InverseEncoder:
    """An encoder for the generator's codes. codes: 'w' for one vector for all layers, 'w+' for one a layer.

    layout: of several such codes an image (`natra_jax.latents.expansion`), and the importance of their features.
    Raises ValueError for other codes.
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
):
    """((generator_params, features_fn), state, batch) -> (state, metrics): both updates of one iteration.

    generator: of expanded codes where the encoder's are. batch['image'] are real images; the generated ones are sampled inside, as many.
    gamma_codes weighs eq. 8 against eq. 9. Of several codes an image eq. 8 regresses the mean: which of them made an image of the
    prior, which all make alike, cannot be told.

    discriminator: tells real images from their reconstructions, and is updated a third time in each iteration, with an R1 penalty of
    weight r1; its verdict on the reconstructions joins eq. 9 with weight gamma_adversarial (in-domain inversion, Zhu et al. 2020). Its
    parameters are state.opponent's, which discriminator_optimizer moves.
    """

    def codes_loss(params, generator_params, key, count):
        codes = generator.draw(generator_params, key, count)
        images = generator.synthesize(generator_params, codes)
        error = jnp.square(
            encoder.single(codes) - encoder.single(encoder.encode(params, images))
        ).mean()
        return gamma_codes * error, error

    def image_loss(params, generator_params, features_fn, opponent, images):
        decoded = generator.synthesize(generator_params, encoder.encode(params, images))
        loss = reconstruction.loss(features_fn, images, decoded).mean()
        if discriminator is not None:
            loss += gamma_adversarial * critic.generator_loss(
                discriminator, opponent.params, decoded
            )
        return loss, decoded

    def opponent_loss(params, images, decoded):
        penalty = critic.gradient_penalty(discriminator, params, images)
        return (
            critic.discriminator_loss(discriminator, params, images, decoded) + 0.5 * r1 * penalty
        )

    def update(gradients, params, opt_state):
        updates, opt_state = optimizer.update(gradients, opt_state, params)
        # the mean code is a fact, not a weight: weight decay would pull it away
        return optax.apply_updates(params, updates) | {"mean": params["mean"]}, opt_state

    def step(frozen, state: FitState, batch):
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
            loss, gradients = jax.value_and_grad(opponent_loss)(opponent.params, images, decoded)
            updates, against = discriminator_optimizer.update(
                gradients, opponent.opt_state, opponent.params
            )
            opponent = Opponent(optax.apply_updates(opponent.params, updates), against)
            metrics["discriminator_loss"] = loss
        return FitState(state.step + 1, params, opt_state, state.key, opponent), metrics

    return step
