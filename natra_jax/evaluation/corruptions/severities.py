"""The strength of each corruption: the parameters of ImageNet-C and CIFAR-10-C, and scale."""

from __future__ import annotations

from typing import Any

import numpy as np

# Both tables: name -> the parameters at severities 1 to 5, as in the code released with Hendrycks &
# Dietterich (2019). px: a length.
IMAGENET_C = {  # px at 224 x 224
    "gaussian_noise": (0.08, 0.12, 0.18, 0.26, 0.38),  # standard deviation; white is 1
    "shot_noise": (60, 25, 12, 5, 3),  # photons in a white pixel
    "impulse_noise": (0.03, 0.06, 0.09, 0.17, 0.27),  # share of the values
    # radius px, sigma of its soft edge px
    "defocus_blur": ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
    # sigma px, farthest move px, rounds
    "glass_blur": ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
    "motion_blur": ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),  # radius px, sigma px
    # number of zooms, step between them; the first is 1
    "zoom_blur": ((12, 0.01), (16, 0.01), (11, 0.02), (13, 0.02), (11, 0.03)),
    # mean and deviation of the noise, zoom, threshold, radius px and sigma px of the fall, share of
    # the image kept
    "snow": (
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    ),
    # weights of image and ice; needles px (ours)
    "frost": ((1, 0.4, 10), (0.8, 0.6, 10), (0.7, 0.7, 10), (0.65, 0.7, 10), (0.6, 0.75, 10)),
    "fog": ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),  # thickness, decay of the fractal
    "brightness": (0.1, 0.2, 0.3, 0.4, 0.5),  # added to HSV's value
    "contrast": (0.4, 0.3, 0.2, 0.1, 0.05),  # factor
    "elastic_transform": (  # strength px, smoothness px, jitter of the affine map's corners px
        (488, 170.8, 24.4),
        (488, 19.52, 48.8),
        (12.2, 2.44, 4.88),
        (17.08, 2.44, 4.88),
        (29.28, 2.44, 4.88),
    ),
    "pixelate": (0.6, 0.5, 0.4, 0.3, 0.25),  # size of the small image, as a share
    "jpeg_compression": (25, 18, 15, 10, 7),  # quality
}
CIFAR_10_C = {  # px at 32 x 32
    "gaussian_noise": (0.04, 0.06, 0.08, 0.09, 0.1),
    "shot_noise": (500, 250, 100, 75, 50),
    "impulse_noise": (0.01, 0.02, 0.03, 0.05, 0.07),
    "defocus_blur": ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    "glass_blur": ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    "motion_blur": ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
    "zoom_blur": ((7, 0.01), (12, 0.01), (16, 0.01), (21, 0.01), (26, 0.01)),
    "snow": (
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ),
    "frost": ((1, 0.2, 2), (1, 0.3, 2), (0.9, 0.4, 2), (0.85, 0.4, 2), (0.75, 0.45, 2)),
    "fog": ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
    "brightness": (0.05, 0.1, 0.15, 0.2, 0.3),
    "contrast": (0.75, 0.5, 0.4, 0.3, 0.15),
    "elastic_transform": (
        (0, 0, 2.56),
        (1.6, 6.4, 2.24),
        (2.56, 1.92, 1.92),
        (3.2, 1.28, 1.6),
        (3.2, 0.96, 0.96),
    ),
    "pixelate": (0.95, 0.9, 0.85, 0.75, 0.65),
    "jpeg_compression": (80, 65, 58, 50, 40),
}


def parameters(name: str, severity: int, images: np.ndarray) -> Any:
    """Return a corruption's parameters, one number or a tuple of them, for images [N, H, W, C].

    The shorter side decides on the table: below 64 px CIFAR-10-C, otherwise ImageNet-C.
    """
    table = CIFAR_10_C if _side(images) < 64 else IMAGENET_C
    return table[name][severity - 1]


def scale(images: np.ndarray) -> float:
    """Return the factor of the table's lengths for images [N, H, W, C].

    It is the shorter side / 32 below 64 px; / 224 from 64 to 224 px; 1 above, where ImageNet-C's
    lengths are used as they are (its authors made a variant at 299 px, with stronger parameters
    that are not here). Only lengths are scaled: JPEG's blocks have 8 pixels at every size,
    zoom_blur's and pixelate's parameters are shares of the image.
    """
    side = _side(images)
    return side / 32 if side < 64 else min(side, 224) / 224


def _side(images: np.ndarray) -> int:
    return min(images.shape[1:3])
