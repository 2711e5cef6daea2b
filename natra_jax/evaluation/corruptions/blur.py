"""Blurs.

All: (images uint8 [N, H, W, C], severity 1..5, one generator for each image) -> uint8.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from natra_jax.evaluation.corruptions.filters import (
    correlate,
    gaussian,
    kernel,
    line,
    to_uint8,
    to_unit,
    zoom,
)
from natra_jax.evaluation.corruptions.severities import parameters, scale


def defocus_blur(
    images: np.ndarray, severity: int, generators: Sequence[np.random.Generator]
) -> np.ndarray:
    """Blur with a disk with a soft edge, as of a lens out of focus."""
    radius, edge = parameters("defocus_blur", severity, images)
    square, _ = gaussian(1, math.floor(radius))
    disk = square[(square**2).sum(1) <= radius**2]
    soft, weights = gaussian(edge, 1 if radius <= 8 else 2)
    points = (disk[:, None] + soft).reshape(-1, 2)
    blur = kernel(scale(images) * points, np.tile(weights / len(disk), len(disk)))
    return to_uint8(correlate(to_unit(images), blur, "reflect"))


def glass_blur(
    images: np.ndarray, severity: int, generators: Sequence[np.random.Generator]
) -> np.ndarray:
    """Move pixels to places near them between two Gaussian blurs, as through frosted glass.

    Pixel by pixel and from the last to the first, each takes what then stands at a random place
    near it. (The released program reads as if the two were exchanged, but computes this.)
    """
    sigma, reach, rounds = parameters("glass_blur", severity, images)
    size, (n, height, width, channels) = scale(images), images.shape
    points, weights = gaussian(sigma, int(4 * sigma + 0.5))
    blur = kernel(size * points, weights)
    blurred = correlate(to_unit(images), blur, "edge")
    border = math.ceil(size * reach)
    rows, columns = np.meshgrid(
        np.arange(height - border, border, -1), np.arange(width - border, border, -1), indexing="ij"
    )
    targets = (rows * width + columns).ravel().tolist()
    strayed = np.empty((n, height * width, channels), np.float32)
    for i, generator in enumerate(generators):
        content = list(range(height * width))
        for _ in range(rounds):
            moves = size * generator.integers(-reach, reach, (2, *rows.shape))
            # rounded up or down by chance: moves of less than a pixel are rare, not absent
            moves = np.floor(moves + generator.random(moves.shape)).astype(int)
            sources = np.minimum(rows + moves[0], height - 1) * width + np.minimum(
                columns + moves[1], width - 1
            )
            for target, source in zip(targets, sources.ravel().tolist(), strict=True):
                content[target] = content[source]
        strayed[i] = blurred[i].reshape(-1, channels)[content]
    return to_uint8(correlate(strayed.reshape(images.shape), blur, "edge"))


def motion_blur(
    images: np.ndarray, severity: int, generators: Sequence[np.random.Generator]
) -> np.ndarray:
    """Blur along a fading trail in one direction, within 45 degrees of the horizontal."""
    radius, sigma = parameters("motion_blur", severity, images)
    result = np.empty(images.shape, np.float32)
    for i, generator in enumerate(generators):
        points, weights = line(radius, sigma, generator.uniform(-45, 45))
        result[i] = correlate(
            to_unit(images[i : i + 1]), kernel(scale(images) * points, weights), "edge"
        )[0]
    return to_uint8(result)


def zoom_blur(
    images: np.ndarray, severity: int, generators: Sequence[np.random.Generator]
) -> np.ndarray:
    """Average the image and growing enlargements of it, as of a camera that nears fast.

    The plain image counts twice.
    """
    count, step = parameters("zoom_blur", severity, images)
    unit = to_unit(images)
    total = unit.copy()
    for k in range(count):
        total += zoom(unit, 1 + k * step)
    return to_uint8(total / (count + 1))
