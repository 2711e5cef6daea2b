"""Differentiable augmentation of what a discriminator sees (Zhao et al. 2020): real and generated images alike, so that it cannot
learn the real ones by heart, and so that the generator's gradient flows through. An autoencoder of few images is trained on such, too.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp


def color(key: jax.Array, images: jax.Array, strength: float = 1.0) -> jax.Array:
    """Brightness moved by up to 1/2, saturation scaled by 0..2, contrast by 1/2..3/2; strength times as far from no change."""
    offset, saturation, contrast = strength * jax.random.uniform(
        key, (3, images.shape[0], 1, 1, 1), minval=-0.5, maxval=0.5
    )
    x = images + offset
    grey = x.mean(axis=3, keepdims=True)
    x = grey + (1 + 2 * saturation) * (x - grey)
    mean = x.mean(axis=(1, 2, 3), keepdims=True)
    return mean + (1 + contrast) * (x - mean)


def translation(key: jax.Array, images: jax.Array, strength: float = 1.0) -> jax.Array:
    """Moved by whole pixels, up to strength/8 of the side each way; what is uncovered is 0."""

    def shifts(key, size):
        """[B, size, size] of 0 and 1: a product of matrices, whose gradient is one as well, where that of indexing is a slow scatter."""
        reach = round(strength * size / 8)
        offsets = jax.random.randint(key, (images.shape[0], 1, 1), -reach, reach + 1)
        pixels = jnp.arange(size)
        return (pixels[:, None] + offsets == pixels).astype(images.dtype)

    key_rows, key_columns = jax.random.split(key)
    moved = jnp.einsum("bij,bjwc->biwc", shifts(key_rows, images.shape[1]), images)
    return jnp.einsum("bkw,biwc->bikc", shifts(key_columns, images.shape[2]), moved)


def cutout(key: jax.Array, images: jax.Array, strength: float = 1.0) -> jax.Array:
    """A square of strength/2 of the side is 0, its middle anywhere, so that it may reach over the border."""

    def outside(key, size):
        """[B, size] bool"""
        side = round(strength * size / 2)
        first = jax.random.randint(key, (images.shape[0], 1), 0, size) - side // 2
        pixels = jnp.arange(size)
        return (pixels < first) | (pixels >= first + side)

    key_rows, key_columns = jax.random.split(key)
    kept = (
        outside(key_rows, images.shape[1])[:, :, None]
        | outside(key_columns, images.shape[2])[:, None, :]
    )
    return images * kept[..., None]


def flip(key: jax.Array, images: jax.Array, strength: float = 1.0) -> jax.Array:
    """Mirrored left to right with probability strength/2."""
    mirrored = jax.random.uniform(key, (images.shape[0], 1, 1, 1)) < strength / 2
    return jnp.where(mirrored, images[:, :, ::-1], images)


KINDS = {"color": color, "translation": translation, "cutout": cutout, "flip": flip}


def augment(
    key: jax.Array, images: jax.Array, kinds: Sequence[str], strength: float = 1.0
) -> jax.Array:
    """images [B, H, W, C] in [-1, 1], each changed by random numbers of its own; the kinds (of KINDS) one after the other.

    strength: 0 changes nothing, 1 is the paper's. Colours may leave [-1, 1]. Raises ValueError for an unknown kind.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise ValueError(f"kinds must be of {', '.join(KINDS)}, got {kind!r}")
    for kind, key_kind in zip(kinds, jax.random.split(key, max(1, len(kinds))), strict=False):
        images = KINDS[kind](key_kind, images, strength)
    return images
