"""Corruptions by name, with randomness that belongs to the example and not to its batch."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from natra_jax import interruption
from natra_jax.evaluation.corruptions import blur, digital, noise, weather

# drawn, where the original adds photographs: no figures of other work can stand beside ours
NOT_COMPARABLE = ("frost",)
SMALLEST = 8  # px; below, elastic_transform and pixelate have too few pixels to work with
CHUNK = 2**20  # values that are corrupted at once: bounds memory, and fits a processor's cache


def corrupt(
    images: np.ndarray, name: str, severity: int, seed: int, index: ArrayLike | None = None
) -> np.ndarray:
    """Corrupt images.

    An example's randomness follows from (seed, name, severity, index) alone, so a data set can be
    split in any way.

    Args:
        images: uint8 [N, H, W, C], 1 or 3 channels, sides of 8 px and more.
        name: one of CORRUPTIONS.
        severity: 1 to 5.
        seed: an integer from 0.
        index: each example's place in its data set, [N]; 0..N - 1 where left out.

    Returns:
        uint8 of the same shape.

    Raises:
        ValueError: any other name, severity, dtype, shape, seed or index.
    """
    if name not in CORRUPTIONS:
        raise ValueError(f"corrupt: name {name!r} is not one of {', '.join(CORRUPTIONS)}")
    if not isinstance(severity, int | np.integer) or not 1 <= severity <= 5:
        raise ValueError(f"corrupt: severity {severity!r}, expected a whole number from 1 to 5")
    if images.dtype != np.uint8:
        raise ValueError(f"corrupt: images of dtype {images.dtype}, expected uint8")
    if images.ndim != 4 or images.shape[3] not in (1, 3) or min(images.shape[1:3]) < SMALLEST:
        raise ValueError(
            f"corrupt: images {images.shape}, expected [N, H, W, 1 or 3] "
            f"with H and W of {SMALLEST} and more"
        )
    places = np.arange(len(images)) if index is None else np.asarray(index)
    if places.shape != images.shape[:1] or not (
        places.size == 0 or places.dtype.kind in "iu" and places.min() >= 0
    ):
        raise ValueError(
            f"corrupt: index {places.shape} {places.dtype}, "
            f"expected {images.shape[:1]} whole numbers from 0"
        )
    if seed < 0:
        raise ValueError(f"corrupt: seed {seed}, expected 0 or more")

    condition = (seed, zlib.crc32(name.encode()), severity)
    step = max(1, CHUNK // max(1, images[:1].size))
    result = np.empty_like(images)
    for start in range(0, len(images), step):
        interruption.check()
        chunk = slice(start, start + step)
        generators = [np.random.default_rng((*condition, int(place))) for place in places[chunk]]
        result[chunk] = CORRUPTIONS[name](images[chunk], severity, generators)
    return result


CORRUPTIONS: dict[str, Callable[[np.ndarray, int, Sequence[np.random.Generator]], np.ndarray]] = {
    "gaussian_noise": noise.gaussian_noise,
    "shot_noise": noise.shot_noise,
    "impulse_noise": noise.impulse_noise,
    "defocus_blur": blur.defocus_blur,
    "glass_blur": blur.glass_blur,
    "motion_blur": blur.motion_blur,
    "zoom_blur": blur.zoom_blur,
    "snow": weather.snow,
    "frost": weather.frost,
    "fog": weather.fog,
    "brightness": weather.brightness,
    "contrast": digital.contrast,
    "elastic_transform": digital.elastic_transform,
    "pixelate": digital.pixelate,
    "jpeg_compression": digital.jpeg_compression,
}
