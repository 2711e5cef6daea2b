"""Differentiable augmentation of the images that a discriminator sees (Zhao et al. 2020).

Real and generated images are changed alike, so that the discriminator cannot learn the real ones
by heart, and so that the generator's gradient flows through. An autoencoder of few images is
trained on augmented images, too.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp


def color(key: jax.Array, images: jax.Array, strength: float = 1.0) -> jax.Array:
    """Move brightness by up to 1/2, scale saturation by 0..2 and contrast by 1/2..3/2.

    Every change is strength times as far from none.
    """
    offset, saturation, contrast = strength * jax.random.uniform(
        key, (3, images.shape[0], 1, 1, 1), minval=-0.5, maxval=0.5
    )
    x = images + offset
    grey = x.mean(axis=3, keepdims=True)
    x = grey + (1 + 2 * saturation) * (x - grey)
    mean = x.mean(axis=(1, 2, 3), keepdims=True)
    return mean + (1 + contrast) * (x - mean)


def translation(key: jax.Array, images: jax.Array, strength: float = 1.0) -> jax.Array:
    """Move by whole pixels, up to strength/8 of the side each way; uncovered pixels are 0."""

    def shifts(key: jax.Array, size: int) -> jax.Array:
        """Return [B, size, size] of 0 and 1, the matrix of each example's shift.

        The gradient of a matrix product is one as well, that of indexing a slow scatter.
        """
        reach = round(strength * size / 8)
        offsets = jax.random.randint(key, (images.shape[0], 1, 1), -reach, reach + 1)
        pixels = jnp.arange(size)
        return (pixels[:, None] + offsets == pixels).astype(images.dtype)

    key_rows, key_columns = jax.random.split(key)
    moved = jnp.einsum("bij,bjwc->biwc", shifts(key_rows, images.shape[1]), images)
    return jnp.einsum("bkw,biwc->bikc", shifts(key_columns, images.shape[2]), moved)


def cutout(key: jax.Array, images: jax.Array, strength: float = 1.0) -> jax.Array:
    """Set a square of strength/2 of the side to 0.

    Its middle is anywhere, so that it may reach over the border.
    """

    def outside(key: jax.Array, size: int) -> jax.Array:
        """Tell which pixels of an axis the square leaves, [B, size] bool."""
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
    """Mirror left to right with probability strength/2."""
    mirrored = jax.random.uniform(key, (images.shape[0], 1, 1, 1)) < strength / 2
    return jnp.where(mirrored, images[:, :, ::-1], images)


KINDS = {"color": color, "translation": translation, "cutout": cutout, "flip": flip}


def augment(
    key: jax.Array, images: jax.Array, kinds: Sequence[str], strength: float = 1.0
) -> jax.Array:
    """Change each image by random numbers of its own, one kind of change after the other.

    Args:
      key: of all random numbers.
      images: [B, H, W, C] in [-1, 1].
      kinds: names in KINDS.
      strength: 0 changes nothing, 1 is the paper's.

    Returns:
      Images [B, H, W, C]; colours may leave [-1, 1].

    Raises:
      ValueError: for an unknown kind.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise ValueError(f"kinds must be of {', '.join(KINDS)}, got {kind!r}")
    for kind, key_kind in zip(kinds, jax.random.split(key, max(1, len(kinds))), strict=False):
        images = KINDS[kind](key_kind, images, strength)
    return images
