"""A discriminator of small images and what it is trained on: the non-saturating logistic losses of Goodfellow et al. (2014) and the
R1 gradient penalty of Mescheder et al. (2018, eq. 9).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn

from natra_jax.gan.pyramid import pyramid
from natra_jax.types import Params


class Discriminator(nn.Module):
    """Images [B, H, W, C] -> logits [B], large for real: convolutions, each but the first after halving, then two dense layers.

    group: so many neighbouring examples share one more feature map, the standard deviation among them averaged over all features
    (Karras et al. 2018, section 3), by which a generator that makes the same image again and again is found out; 0 for none. It has
    to divide B: ValueError otherwise.
    """

    widths: tuple[int, ...] = (32, 64, 128)
    hidden: int = 128
    group: int = 0

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        x = pyramid(images, self.widths)
        if self.group:
            x = jnp.concatenate([x, _deviation(x, self.group)], axis=-1)
        x = nn.leaky_relu(nn.Dense(self.hidden)(x.reshape(x.shape[0], -1)), 0.2)
        return nn.Dense(1)(x)[:, 0]


def _deviation(x: jax.Array, group: int) -> jax.Array:
    """[B, H, W, C] -> [B, H, W, 1]"""
    batch, height, width, _ = x.shape
    if batch % group:
        raise ValueError(f"group must divide the batch of {batch} images, got {group}")
    # the square root has no gradient at 0
    deviation = jnp.sqrt(x.reshape(batch // group, group, *x.shape[1:]).var(axis=1) + 1e-8).mean(
        axis=(1, 2, 3)
    )
    return jnp.broadcast_to(
        jnp.repeat(deviation, group)[:, None, None, None], (batch, height, width, 1)
    )


def init_params(network: nn.Module, image_shape: tuple[int, ...], key: jax.Array) -> Params:
    """Parameters for images of image_shape [H, W, C]."""
    count = getattr(network, "group", 0) or 1
    return jax.jit(network.init)(key, jnp.zeros((count, *image_shape)))["params"]


def warm_started(params: Params, trained: Params) -> Params:
    """params with a copy of every array that `trained` has under the same name in the same shape.

    `natra_jax.latents.encoder.Encoder` of the same widths and hidden has all but the last layer: features of the real images.
    """

    def chosen(path, fresh):
        found = there.get(path)
        return jnp.array(found) if found is not None and found.shape == fresh.shape else fresh

    there = dict(jax.tree.leaves_with_path(trained))
    return jax.tree.map_with_path(chosen, params)


def logits(network: nn.Module, params: Params, images: jax.Array) -> jax.Array:
    """[B] of images [B, H, W, C]."""
    return network.apply({"params": params}, images)


def discriminator_loss(
    network: nn.Module, params: Params, real: jax.Array, fake: jax.Array
) -> jax.Array:
    """-log sigmoid D(x) of real images - log(1 - sigmoid D(x')) of generated ones, each a mean over its images; a scalar."""
    return (
        jax.nn.softplus(-logits(network, params, real)).mean()
        + jax.nn.softplus(logits(network, params, fake)).mean()
    )


def generator_loss(network: nn.Module, params: Params, fake: jax.Array) -> jax.Array:
    """-log sigmoid D(x') of generated images, the loss that does not saturate while the discriminator wins; a scalar."""
    return jax.nn.softplus(-logits(network, params, fake)).mean()


def gradient_penalty(network: nn.Module, params: Params, images: jax.Array) -> jax.Array:
    """The mean over images of |dD(x)/dx|^2; R1 is half the penalty's weight times this on real images. A scalar."""
    gradients = jax.grad(lambda x: logits(network, params, x).sum())(images)
    return jnp.square(gradients).sum(axis=(1, 2, 3)).mean()
