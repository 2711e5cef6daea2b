"""The convolutions that encoder and discriminator begin with."""

from __future__ import annotations

from collections.abc import Sequence

import jax
from flax import linen as nn

from natra_jax.convolution import Conv


def pyramid(images: jax.Array, widths: Sequence[int]) -> jax.Array:
    """images [B, H, W, C] through a 3x3 convolution of each width, each but the first after halving. Inside a module's compact method."""
    x = images
    for stage, width in enumerate(widths):
        if stage:
            x = nn.avg_pool(x, (2, 2), (2, 2))
        x = nn.leaky_relu(Conv(width)(x), 0.2)
    return x
