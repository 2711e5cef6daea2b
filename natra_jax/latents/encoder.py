"""Batch inverse encoding (NaTra section 3.2): an encoder from images to codes, trained against a frozen generator.

Every iteration updates the encoder twice: on eq. 8 (regress the codes that made a generated image) and on eq. 9 (reconstruct a real
image, in pixels and in perceptual features).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from natra_jax.convolution import Conv
from natra_jax.types import Generator, Params

FeaturesFn = Callable[[jax.Array], tuple[jax.Array, ...]]


class Encoder(nn.Module):
    """Images [B, H, W, C] -> [B, outputs]: convolutions, each but the last followed by halving, then two dense layers."""

    outputs: int
    widths: tuple[int, ...] = (32, 64, 128)
    hidden: int = 128

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        x = images
        for stage, width in enumerate(self.widths):
            if stage:
                x = nn.avg_pool(x, (2, 2), (2, 2))
            x = nn.leaky_relu(Conv(width)(x), 0.2)
        x = nn.leaky_relu(nn.Dense(self.hidden)(x.reshape(x.shape[0], -1)), 0.2)
        # a small last layer starts every answer at the mean code
        return nn.Dense(self.outputs, kernel_init=nn.initializers.normal(0.01))(x)


class InverseEncoder(NamedTuple):
    """An encoder network read as offsets from the generator's mean code; per layer (w+) or one for all layers (w)."""

    network: Encoder
    num_layers: int
    code_dim: int
    per_layer: bool

    def init(self, key: jax.Array, image_shape: tuple[int, ...], mean: jax.Array) -> Params:
        """Parameters for images of image_shape [H, W, C], with the mean code [L, D] that offsets are taken from."""
        network = jax.jit(self.network.init)(key, jnp.zeros((1, *image_shape)))["params"]
        return {"network": network, "mean": mean}

    def encode(self, params: Params, images: jax.Array) -> jax.Array:
        """images [B, H, W, C] -> codes [B, L, D]."""
        offsets = self.network.apply({"params": params["network"]}, images)
        layers = self.num_layers if self.per_layer else 1
        return jax.lax.stop_gradient(params["mean"]) + offsets.reshape(-1, layers, self.code_dim)


def inverse_encoder(generator: Generator, *, codes: str, widths: tuple[int, ...], hidden: int) -> InverseEncoder:
    """codes: 'w' for one code an image, 'w+' for one a layer (latent codes expansion with N = 1). Raises ValueError otherwise."""
    if codes not in ("w", "w+"):
        raise ValueError(f"encoder codes must be 'w' or 'w+', got {codes!r}")
    per_layer = codes == "w+"
    outputs = generator.code_dim * (generator.num_layers if per_layer else 1)
    return InverseEncoder(Encoder(outputs, tuple(widths), hidden), generator.num_layers, generator.code_dim, per_layer)


class FitState(NamedTuple):
    """State of a fit that is not a classifier's: arrays only."""

    step: jax.Array
    params: Params
    opt_state: Any
    key: jax.Array


def fit_state(params: Params, optimizer: optax.GradientTransformation, key: jax.Array) -> FitState:
    """A fresh state at step 0."""
    return FitState(jnp.zeros((), jnp.int32), params, optimizer.init(params), key)


def reconstruction_loss(
    images: jax.Array, decoded: jax.Array, features_fn: FeaturesFn | None, *, gamma1: float, gamma2: float, pixel_loss: str
):
    """gamma1 |x - x'|^2 + gamma2 sum_l |V_l(x) - V_l(x')|_1 (eq. 9 and 10), every norm a mean over its entries; a scalar.

    pixel_loss: 'l2' as the equation prints, 'l1' as the text says. features_fn None leaves the second term out.
    """
    error = images - decoded
    loss = gamma1 * (jnp.square(error) if pixel_loss == "l2" else jnp.abs(error)).mean()
    if features_fn is not None and gamma2:
        loss += gamma2 * sum(jnp.abs(a - b).mean() for a, b in zip(features_fn(images), features_fn(decoded), strict=True))
    return loss


def make_step(
    encoder: InverseEncoder,
    generator: Generator,
    optimizer: optax.GradientTransformation,
    *,
    gamma1: float,
    gamma2: float,
    pixel_loss: str,
    gamma_codes: float,
):
    """((generator_params, features_fn), state, batch) -> (state, metrics): both updates of one iteration.

    batch['image'] are real images; the generated ones are sampled inside, as many. gamma_codes weighs eq. 8 against eq. 9.
    """

    def codes_loss(params, generator_params, key, count):
        codes = generator.map(generator_params, generator.sample(key, count))
        images = generator.synthesize(generator_params, codes)
        error = jnp.square(codes - encoder.encode(params, images)).mean()
        return gamma_codes * error, error

    def image_loss(params, generator_params, features_fn, images):
        decoded = generator.synthesize(generator_params, encoder.encode(params, images))
        loss = reconstruction_loss(images, decoded, features_fn, gamma1=gamma1, gamma2=gamma2, pixel_loss=pixel_loss)
        return loss, jnp.square(images - decoded).mean()

    def update(gradients, params, opt_state):
        updates, opt_state = optimizer.update(gradients, opt_state, params)
        # the mean code is a fact, not a weight: weight decay would pull it away
        return optax.apply_updates(params, updates) | {"mean": params["mean"]}, opt_state

    def step(frozen, state: FitState, batch):
        generator_params, features_fn = frozen
        key = jax.random.fold_in(state.key, state.step)
        gradients, error = jax.grad(codes_loss, has_aux=True)(state.params, generator_params, key, len(batch["image"]))
        params, opt_state = update(gradients, state.params, state.opt_state)
        gradients, squared = jax.grad(image_loss, has_aux=True)(params, generator_params, features_fn, batch["image"])
        params, opt_state = update(gradients, params, opt_state)
        return FitState(state.step + 1, params, opt_state, state.key), {"codes_error": error, "reconstruction_error": squared}

    return step
