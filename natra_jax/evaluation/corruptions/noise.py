"""Noise in each value of each pixel.

All: (images uint8 [N, H, W, C], severity 1..5, one generator for each image) -> uint8.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from natra_jax.evaluation.corruptions.filters import normal, to_uint8, to_unit
from natra_jax.evaluation.corruptions.severities import parameters


def gaussian_noise(
    images: np.ndarray, severity: int, generators: Sequence[np.random.Generator]
) -> np.ndarray:
    """Add normal noise of one standard deviation, as in little light."""
    deviation = parameters("gaussian_noise", severity, images)
    return to_uint8(to_unit(images) + deviation * normal(images.shape[1:], generators))


def shot_noise(
    images: np.ndarray, severity: int, generators: Sequence[np.random.Generator]
) -> np.ndarray:
    """Draw a Poisson count of photons in proportion to the light."""
    photons = parameters("shot_noise", severity, images)
    pairs = zip(to_unit(images), generators, strict=True)
    return to_uint8(
        np.stack([generator.poisson(image * photons) for image, generator in pairs]) / photons
    )


def impulse_noise(
    images: np.ndarray, severity: int, generators: Sequence[np.random.Generator]
) -> np.ndarray:
    """Set a share of the values, drawn for each channel by itself, to 0 or 255: salt and pepper."""
    share = parameters("impulse_noise", severity, images)
    draws = np.stack([generator.random(images.shape[1:], np.float32) for generator in generators])
    result = images.copy()
    result[draws < share] = 255
    result[draws < share / 2] = 0
    return result
