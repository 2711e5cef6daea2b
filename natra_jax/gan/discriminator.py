"""The losses that a discriminator gives, and how it begins.

Non-saturating logistic losses (Goodfellow et al. 2014) and the R1 gradient penalty (Mescheder et
al. 2018, eq. 9). A discriminator is any Flax module from images [B, H, W, C] to logits [B], large
for real images, such as `natra_jax.gan.networks.Discriminator`.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from natra_jax.types import Params


def init_params(network: nn.Module, image_shape: tuple[int, ...], key: jax.Array) -> Params:
    """Return parameters for images of image_shape [H, W, C]."""
    count = getattr(network, "group", 0) or 1
    return jax.jit(network.init)(key, jnp.zeros((count, *image_shape)))["params"]


def warm_started(params: Params, trained: Params) -> Params:
    """Return params with a copy of every array that `trained` has at the same path and shape.

    `natra_jax.gan.networks.Encoder` of the same widths and hidden has all but the last layer:
    features of the real images.
    """
    known = dict(jax.tree.leaves_with_path(trained))

    def choose(path: tuple[Any, ...], fresh: jax.Array) -> jax.Array:
        found = known.get(path)
        return jnp.array(found) if found is not None and found.shape == fresh.shape else fresh

    return jax.tree.map_with_path(choose, params)


def logits(network: nn.Module, params: Params, images: jax.Array) -> jax.Array:
    """Return the logits [B] of images [B, H, W, C]."""
    answer: Any = network.apply({"params": params}, images)
    return answer


def discriminator_loss(
    network: nn.Module, params: Params, real: jax.Array, fake: jax.Array
) -> jax.Array:
    """Return mean -log sigmoid(D(real)) + mean -log(1 - sigmoid(D(fake))), a scalar.

    Args:
      network: the discriminator.
      params: its parameters.
      real: images [B, H, W, C].
      fake: generated images [B, H, W, C].
    """
    return (
        jax.nn.softplus(-logits(network, params, real)).mean()
        + jax.nn.softplus(logits(network, params, fake)).mean()
    )


def generator_loss(network: nn.Module, params: Params, fake: jax.Array) -> jax.Array:
    """Return mean -log sigmoid(D(fake)) of images [B, H, W, C], a scalar.

    Unlike log(1 - sigmoid(D(fake))) it does not saturate while the discriminator wins.
    """
    return jax.nn.softplus(-logits(network, params, fake)).mean()


def gradient_penalty(network: nn.Module, params: Params, images: jax.Array) -> jax.Array:
    """Return the mean over images [B, H, W, C] of |dD(x)/dx|^2, a scalar.

    R1 is half the penalty's weight times this on real images.
    """
    gradients = jax.grad(lambda x: logits(network, params, x).sum())(images)
    return jnp.square(gradients).sum(axis=(1, 2, 3)).mean()
