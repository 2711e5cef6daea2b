"""LPIPS (Zhang et al. 2018): how different two images look.

By the features of VGG-16, and weights that were learnt from people's judgements.

heads = natra_jax.weights.converters.lpips.convert(Tensors(state_dict, "LPIPS"), {}).params
features_fn = partial(vgg16.apply, variables, method="features")
far = lpips.distance(features_fn, heads, images, others)     # [B]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from natra_jax.latents.reconstruction import FeaturesFn

_EPSILON = 1e-10  # added to the length of a pixel's features


def distance(
    features_fn: FeaturesFn, heads: Sequence[jax.Array], images: jax.Array, others: jax.Array
) -> jax.Array:
    """Return the distance [B] between images and others.

    Args:
      features_fn: relu1_2, relu2_2, relu3_3, relu4_3, relu5_3 of VGG-16, whose standardisation is
        LPIPS's own scaling.
      heads: for each of these the weights [channels].
      images: [B, H, W, C] in [-1, 1].
      others: [B, H, W, C] in [-1, 1].

    Raises:
      ValueError: unless there are as many layers of features as heads, each with as many channels
        as its head has weights.
    """
    layers = list(zip(features_fn(images), features_fn(others), heads, strict=True))
    for number, (features, _, head) in enumerate(layers):
        if head.shape != features.shape[-1:]:
            raise ValueError(
                f"lpips: head {number} has {list(head.shape)} weights, but its features "
                f"{features.shape[-1]} channels: the heads are of another network"
            )
    total: Any = sum((jnp.square(_unit(a) - _unit(b)) @ head).mean((1, 2)) for a, b, head in layers)
    return total


def _unit(features: jax.Array) -> jax.Array:
    """Divide each pixel's features [B, H, W, C] by their length."""
    squared = jnp.square(features).sum(-1, keepdims=True)
    # the length of all zeros has no gradient
    length = jnp.where(squared > 0, jnp.sqrt(jnp.where(squared > 0, squared, 1.0)), 0.0)
    return features / (length + _EPSILON)
