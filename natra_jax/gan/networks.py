"""The networks beside a small generator: an encoder and a discriminator."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from natra_jax.convolution import Conv

_NARROWEST, _WIDEST = 32, 512  # channels of the first convolution, and at most


def widths_for(resolution: int) -> tuple[int, ...]:
    """Return the widths of a network whose dense layer sees 4x4 pixels."""
    count = max(1, resolution.bit_length() - 2)
    return tuple(min(_NARROWEST * 2**i, _WIDEST) for i in range(count))


class Encoder(nn.Module):
    """Map images [B, H, W, C] to [B, outputs]: convolutions, then two dense layers."""

    outputs: int
    widths: tuple[int, ...] = (32, 64, 128)
    hidden: int = 128

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        x = _pyramid(images, self.widths)
        x = nn.leaky_relu(nn.Dense(self.hidden)(x.reshape(x.shape[0], -1)), 0.2)
        # a small last layer starts every answer near zero, which an inverse encoder reads as the
        # mean code
        return nn.Dense(self.outputs, kernel_init=nn.initializers.normal(0.01))(x)


class Discriminator(nn.Module):
    """Map images [B, H, W, C] to logits [B], large for real: convolutions, then two dense layers.

    group: the number of neighbouring examples that share one more feature map, the standard
    deviation among them averaged over all features (Karras et al. 2018, section 3). It gives away a
    generator that makes the same image again and again. 0 leaves the map out. group has to divide
    B: ValueError otherwise.
    """

    widths: tuple[int, ...] = (32, 64, 128)
    hidden: int = 128
    group: int = 0

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        x = _pyramid(images, self.widths)
        if self.group:
            x = jnp.concatenate([x, _group_deviation(x, self.group)], axis=-1)
        x = nn.leaky_relu(nn.Dense(self.hidden)(x.reshape(x.shape[0], -1)), 0.2)
        return nn.Dense(1)(x)[:, 0]


def _pyramid(images: jax.Array, widths: Sequence[int]) -> jax.Array:
    """Apply 3x3 convolutions of these widths to images [B, H, W, C], halved between them.

    To be called inside a module's compact method, which owns the convolutions.
    """
    x = images
    for stage, width in enumerate(widths):
        if stage:
            x = nn.avg_pool(x, (2, 2), (2, 2))
        x = nn.leaky_relu(Conv(width)(x), 0.2)
    return x


def _group_deviation(x: jax.Array, group: int) -> jax.Array:
    """Return the mean standard deviation in each example's group, [B, H, W, C] -> [B, H, W, 1]."""
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
