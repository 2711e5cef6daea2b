"""Faults of cameras and files.

All: (images uint8 [N, H, W, C], severity 1..5, one generator for each image) -> uint8.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np

from natra_jax.evaluation.corruptions.filters import to_uint8, to_unit
from natra_jax.evaluation.corruptions.severities import parameters, scale


def contrast(
    images: np.ndarray, severity: int, generators: Sequence[np.random.Generator]
) -> np.ndarray:
    """Draw each channel towards its mean over the image."""
    factor = parameters("contrast", severity, images)
    # The sum of integers is exact, so the mean does not depend on the batch.
    mean = images.sum((1, 2), keepdims=True, dtype=np.int64) / (
        255 * images.shape[1] * images.shape[2]
    )
    return to_uint8(mean + factor * (to_unit(images) - mean))


def elastic_transform(
    images: np.ndarray, severity: int, generators: Sequence[np.random.Generator]
) -> np.ndarray:
    """Apply a random affine map, then smooth random shifts.

    Severities trade the one for the other: a higher one need not move pixels farther.
    """
    from scipy import ndimage

    strength, smoothness, jitter = parameters("elastic_transform", severity, images)
    size, (height, width) = scale(images), images.shape[1:3]
    middle, arm = np.array([height // 2, width // 2]), min(height, width) // 3
    corners = middle + arm * np.array([[1, 1], [-1, 1], [-1, -1]])
    grid = np.stack(np.meshgrid(np.arange(height), np.arange(width), indexing="ij")).astype(
        np.float64
    )
    result = np.empty(images.shape, np.float32)
    for i, generator in enumerate(generators):
        moved = corners + generator.uniform(-size * jitter, size * jitter, corners.shape)
        # [3, 2]: where a moved point came from
        back = np.linalg.solve(np.column_stack([moved, np.ones(3)]), corners)
        affine = np.einsum("khw,kc->chw", grid, back[:2]) + back[2][:, None, None]
        noise = generator.uniform(-1, 1, (2, height, width))
        # Smoothing over fewer pixels leaves 1 / size more of the noise: with size once more the
        # shifts themselves scale as lengths.
        shifts = (
            size**2
            * strength
            * ndimage.gaussian_filter(
                noise, size * smoothness, mode="reflect", truncate=3, axes=(1, 2)
            )
        )
        for channel in range(images.shape[3]):
            straight = ndimage.map_coordinates(
                to_unit(images[i, ..., channel]), affine, order=1, mode="mirror"
            )
            result[i, ..., channel] = ndimage.map_coordinates(
                straight, grid + shifts, order=1, mode="reflect"
            )
    return to_uint8(result)


def pixelate(
    images: np.ndarray, severity: int, generators: Sequence[np.random.Generator]
) -> np.ndarray:
    """Shrink to a share of the size by the mean over boxes, and enlarge again."""
    from PIL import Image

    share, (height, width) = parameters("pixelate", severity, images), images.shape[1:3]
    small = (int(width * share), int(height * share))
    shrunk = (image.resize(small, Image.Resampling.BOX) for image in _pictures(images))
    return _arrays([image.resize((width, height), Image.Resampling.BOX) for image in shrunk])


def jpeg_compression(
    images: np.ndarray, severity: int, generators: Sequence[np.random.Generator]
) -> np.ndarray:
    """Send the image through a JPEG file of low quality."""
    from PIL import Image

    quality = parameters("jpeg_compression", severity, images)
    decoded = []
    for image in _pictures(images):
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=quality)
        decoded.append(Image.open(stream))
    return _arrays(decoded)


def _pictures(images: np.ndarray) -> list:
    from PIL import Image

    return [Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image) for image in images]


def _arrays(pictures: list) -> np.ndarray:
    arrays = np.stack([np.asarray(picture) for picture in pictures])
    return arrays[..., None] if arrays.ndim == 3 else arrays
