"""How far generated images are from real ones, without any network: sliced Wasserstein distances.

Karras et al. 2018, "Progressive Growing of GANs", section 5, compare small patches of the images at
each level of a pyramid by the Wasserstein distance of random projections. Unlike theirs, patches
are not normalised: colours count, and a level is the images averaged down.
"""

from __future__ import annotations

import numpy as np

_PATCH = 7  # pixels of its side
_PER_IMAGE = 16  # patches of each image at each level
_PROJECTIONS = 256


def sliced_wasserstein(a: np.ndarray, b: np.ndarray, seed: int = 0) -> float:
    """Return the distance between two sets of as many images.

    Of each image random patches of 7x7 pixels are taken, at its own resolution and at halves of it
    down to 8 pixels. Their projections on random directions of unit length are sorted and compared:
    the root mean square difference is a level's distance, in the unit of the images.

    Args:
      a: images [N, H, W, C].
      b: images [N, H, W, C].
      seed: of patches and directions; with the same one, distances from b can be compared.

    Returns:
      The mean over the levels; 0 for equal sets.

    Raises:
      ValueError: the sets differ in shape, or images are below 7 pixels.
    """
    if a.shape != b.shape or min(a.shape[1:3]) < _PATCH:
        raise ValueError(f"images of shapes {a.shape} and {b.shape}")
    rng, distances = np.random.default_rng(seed), []
    while min(a.shape[1:3]) >= _PATCH:
        directions = rng.normal(size=(_PATCH * _PATCH * a.shape[-1], _PROJECTIONS))
        directions = (directions / np.linalg.norm(directions, axis=0)).astype(np.float32)
        first, second = (
            np.sort(_patches(images, np.random.default_rng(seed)) @ directions, axis=0)
            for images in (a, b)
        )
        distances.append(np.sqrt(np.square(first - second).mean()))
        a, b = _halved(a), _halved(b)
    return float(np.mean(distances))


def _patches(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return random patches of images [N, H, W, C], flattened: [16 N, 49 C]."""
    count, height, width, _ = images.shape
    whose = np.repeat(np.arange(count), _PER_IMAGE)
    rows = rng.integers(0, height - _PATCH + 1, len(whose))[:, None, None]
    columns = rng.integers(0, width - _PATCH + 1, len(whose))[:, None, None]
    steps = np.arange(_PATCH)
    patches = images[whose[:, None, None], rows + steps[:, None], columns + steps]
    return patches.reshape(len(whose), -1).astype(np.float32)


def _halved(images: np.ndarray) -> np.ndarray:
    """Average 2x2 pixels of images [N, H, W, C]; an odd row or column at the end is left out."""
    height, width = (size // 2 * 2 for size in images.shape[1:3])
    even = images[:, :height, :width]
    return (even[:, ::2, ::2] + even[:, 1::2, ::2] + even[:, ::2, 1::2] + even[:, 1::2, 1::2]) / 4
