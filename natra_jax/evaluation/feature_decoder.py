"""A decoder of a classifier's features, to see what a perturbation of them looks like.

So AdvBN's authors explore their perturbations (Shu et al. 2021, "Encoding Robustness to Image Style
via Adversarial Feature Perturbations"): a network learns to reconstruct images from the features at
the classifier's AdvBN layer, the trunk before it frozen, and is then shown perturbed features.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from natra_jax.convolution import Conv
from natra_jax.gan.fit_state import FitState
from natra_jax.types import Batch, Params

FeaturesFn = Callable[[Any, jax.Array], jax.Array]
"""(variables of the classifier, images [B, H, W, C]) -> features [B, ...]"""


class FeatureDecoder(nn.Module):
    """Map features [B, h, w, F] to images [B, *image_shape]: convolutions, doubled between them.

    Features of another rank, which have no place in the image, pass one dense layer.

    image_shape: [H, W, C].
    width: channels of the convolutions.
    """

    image_shape: tuple[int, int, int]
    width: int = 32

    @nn.compact
    def __call__(self, features: jax.Array) -> jax.Array:
        height, width, channels = self.image_shape
        x = features.astype(jnp.float32)
        if x.ndim != 4:
            x = nn.Dense(math.prod(self.image_shape))(x.reshape(x.shape[0], -1))
            return x.reshape(-1, *self.image_shape)
        # no layer normalises: that would undo a change of means and spreads
        x = nn.leaky_relu(Conv(self.width)(x), 0.2)
        while x.shape[1:3] != (height, width):
            size = min(2 * x.shape[1], height), min(2 * x.shape[2], width)
            x = jax.image.resize(x, (x.shape[0], *size, x.shape[3]), "nearest")
            x = nn.leaky_relu(Conv(self.width)(x), 0.2)
        x = nn.leaky_relu(Conv(self.width)(x), 0.2)
        return Conv(channels)(x)


def decode(decoder: nn.Module, params: Params, features: jax.Array) -> jax.Array:
    """Decode features [B, ...] as images [B, H, W, C]."""
    images: Any = decoder.apply({"params": params}, features)
    return images


def make_step(
    decoder: nn.Module, features_fn: FeaturesFn, optimizer: optax.GradientTransformation
) -> Callable[[Any, FitState, Batch], tuple[FitState, dict[str, jax.Array]]]:
    """Make the training step, one update on the mean squared error of the reconstruction.

    Args:
        decoder: a module from features [B, ...] to images [B, H, W, C].
        features_fn: the classifier's trunk, frozen.
        optimizer: of the decoder.

    Returns:
        (variables of the classifier, state, batch) -> (state, metrics), where state.params are the
        decoder's.
    """

    def step(
        variables: Any, state: FitState, batch: Batch
    ) -> tuple[FitState, dict[str, jax.Array]]:
        features = features_fn(variables, batch["image"])

        def error(params: Params) -> jax.Array:
            return jnp.square(decode(decoder, params, features) - batch["image"]).mean()

        squared, gradients = jax.value_and_grad(error)(state.params)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return FitState(state.step + 1, params, opt_state, state.key), {
            "reconstruction_error": squared
        }

    return step


def recoloured_share(before: np.ndarray, after: np.ndarray) -> float:
    """Return the share of a change of images that is a change of their colours.

    That is how much of the squared change the best affine map of each image's colours explains, one
    map for all its pixels: tint, brightness and contrast, and no shape.

    Args:
        before: images [N, H, W, C].
        after: what they became, [N, H, W, C].

    Returns:
        From 0, or 1 where nothing changed, to 1.
    """
    changed, unexplained = 0.0, 0.0
    for old, new in zip(before, after, strict=True):
        colours = old.reshape(-1, old.shape[-1]).astype(np.float64)
        change = new.reshape(colours.shape).astype(np.float64) - colours
        affine = np.column_stack([colours, np.ones(len(colours))])
        fitted = affine @ np.linalg.lstsq(affine, change, rcond=None)[0]
        changed += float(np.square(change).sum())
        unexplained += float(np.square(change - fitted).sum())
    return 1.0 - unexplained / changed if changed else 1.0
