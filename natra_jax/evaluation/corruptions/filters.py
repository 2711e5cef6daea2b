"""Parts of several corruptions: unit floats, kernels with lengths between pixels, a linear zoom.

Results for one image do not depend on the others of its batch, to the last bit: no matrix products
and no FFT over a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np


def to_unit(images: np.ndarray) -> np.ndarray:
    """Convert uint8 to float32 in [0, 1]."""
    return images.astype(np.float32) / 255


def to_uint8(images: np.ndarray) -> np.ndarray:
    """Convert floats, of which 1 is white, to uint8, clipped and rounded.

    The published files are cut off, which darkens them by half a level.
    """
    return np.rint(np.clip(images, 0, 1) * 255).astype(np.uint8)


def normal(shape: Sequence[int], generators: Sequence[np.random.Generator]) -> np.ndarray:
    """Draw standard normal noise [N, *shape] float32, each example's from its own generator."""
    return np.stack([generator.standard_normal(shape, np.float32) for generator in generators])


def gaussian(sigma: float, radius: int) -> tuple[np.ndarray, np.ndarray]:
    """Return points [(2 * radius + 1)^2, 2] around the origin and their weights, which sum to one.

    sigma and radius are in pixels.
    """
    axis = np.arange(-radius, radius + 1)
    points = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    weights = np.exp(-(points**2).sum(1) / (2 * sigma**2))
    return points, weights / weights.sum()


def line(radius: int, sigma: float, degrees: float) -> tuple[np.ndarray, np.ndarray]:
    """Return points from the origin outwards in one direction, and their half Gaussian weights.

    There are [2 * radius + 1, 2] of them (ImageMagick's motion blur).
    """
    steps = np.arange(2 * radius + 1)
    angle = np.deg2rad(degrees)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    return steps[:, None] * np.array([np.sin(angle), np.cos(angle)]), weights / weights.sum()


def kernel(points: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Collect weights at points [K, 2] in a kernel [2 R + 1, 2 R + 1] of the same sum.

    Points are (row, column), any real numbers. Each weight is shared by the four pixels around its
    point as in bilinear interpolation. Scaling the points so scales a kernel smoothly, also below
    one pixel, and leaves one on whole pixels as it is.
    """
    points, weights = (
        points[weights > 1e-6],
        weights[weights > 1e-6] / weights[weights > 1e-6].sum(),
    )
    low = np.floor(points).astype(int)
    fraction = points - low
    radius = int(np.abs(low).max()) + 1
    result = np.zeros((2 * radius + 1, 2 * radius + 1))
    for corner in ((0, 0), (0, 1), (1, 0), (1, 1)):
        share = np.where(corner, fraction, 1 - fraction).prod(1)
        np.add.at(result, tuple((low + corner + radius).T), share * weights)
    return result.astype(np.float32)


def correlate(
    images: np.ndarray, kernel: np.ndarray, border: Literal["reflect", "edge", "wrap"]
) -> np.ndarray:
    """Correlate images [N, H, W, C] with kernel [2 R + 1, 2 R + 1]. border: a mode of numpy.pad."""
    height, width = images.shape[1:3]
    radius = len(kernel) // 2
    padded = np.pad(images, ((0, 0), (radius, radius), (radius, radius), (0, 0)), mode=border)
    result = np.zeros_like(images)
    for i, j in np.argwhere(kernel):
        result += kernel[i, j] * padded[:, i : i + height, j : j + width]
    return result


def zoom(images: np.ndarray, factor: float) -> np.ndarray:
    """Enlarge the middle of images [N, H, W, C] to their size by bilinear interpolation.

    factor: 1 or more.
    """
    for axis in (1, 2):
        size = images.shape[axis]
        middle = (size - 1) / 2
        positions = middle + (np.arange(size) - middle) / factor
        low = np.minimum(positions.astype(int), size - 2)
        fraction = np.expand_dims(positions - low, tuple(range(1, images.ndim - axis))).astype(
            np.float32
        )
        images = (
            np.take(images, low, axis) * (1 - fraction) + np.take(images, low + 1, axis) * fraction
        )
    return images
