"""The reconstruction loss of NaTra eq. 9 and eq. 10, between an image and its decoded codes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

FeaturesFn = Callable[[jax.Array], tuple[jax.Array, ...]]
"""images [B, H, W, C] -> V_l(images), the perceptual features of each layer, [B, ...]"""


class Reconstruction(NamedTuple):
    """The terms of NaTra eq. 9 and eq. 10: gamma1 |x - x'|^2 + gamma2 sum_l |V_l(x) - V_l(x')|_1.

    Every norm is a mean over its entries.
    """

    gamma1: float = 1.0
    gamma2: float = 0.0  # 0 leaves the perceptual term out
    pixel_loss: str = "l2"  # 'l2' as the equation prints, 'l1' as the text says

    def errors(
        self, features_fn: FeaturesFn | None, images: jax.Array, decoded: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Return the pixel and the perceptual error of each image, [B] and [B], not weighted.

        images, decoded: [B, H, W, C] in [-1, 1]. features_fn None: the perceptual error is 0.
        """
        difference = images - decoded
        pixels = _mean(jnp.square(difference) if self.pixel_loss == "l2" else jnp.abs(difference))
        if features_fn is None:
            return pixels, jnp.zeros_like(pixels)
        layers = zip(features_fn(images), features_fn(decoded), strict=True)
        perceptual: Any = sum(_mean(jnp.abs(a - b)) for a, b in layers)
        return pixels, perceptual

    def loss(
        self, features_fn: FeaturesFn | None, images: jax.Array, decoded: jax.Array
    ) -> jax.Array:
        """Return the weighted loss of each image, [B]."""
        pixels, perceptual = self.errors(features_fn if self.gamma2 else None, images, decoded)
        return self.gamma1 * pixels + self.gamma2 * perceptual


def _mean(x: jax.Array) -> jax.Array:
    """Return the mean over all entries of each example, [B, ...] -> [B]."""
    return x.mean(axis=tuple(range(1, x.ndim)))
