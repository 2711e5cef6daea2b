"""Weather.

All: (images uint8 [N, H, W, C], severity 1..5, one generator for each image) -> uint8. Snow, ice
and fog are drawn at the size that the table's parameters are meant for and then resized to the
image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from natra_jax.evaluation.corruptions.filters import (
    correlate,
    kernel,
    line,
    to_uint8,
    to_unit,
    zoom,
)
from natra_jax.evaluation.corruptions.severities import parameters, scale

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
# the tint of the original's photographs; the mean is 1
ICE = np.array([0.89, 1.02, 1.09], np.float32)


def snow(
    images: np.ndarray, severity: int, generators: Sequence[np.random.Generator]
) -> np.ndarray:
    """Whiten the image and add flakes: noise over a threshold, enlarged, blurred along the fall."""
    mean, deviation, size, threshold, radius, sigma, kept = parameters("snow", severity, images)

    def flakes(shape: tuple[int, int], generator: np.random.Generator) -> np.ndarray:
        layer = mean + deviation * generator.standard_normal((1, *shape, 1), np.float32)
        layer = zoom(layer, size)
        layer = np.where(layer < threshold, 0, np.minimum(layer, 1))
        return correlate(layer, kernel(*line(radius, sigma, generator.uniform(-135, -45))), "edge")[
            0, ..., 0
        ]

    unit, layers = to_unit(images), _layers(flakes, images, generators)
    grey = (unit * LUMA).sum(-1, keepdims=True) if unit.shape[-1] == 3 else unit
    whitened = kept * unit + (1 - kept) * np.maximum(unit, 1.5 * grey + 0.5)
    return to_uint8(whitened + layers + layers[:, ::-1, ::-1])


def frost(
    images: np.ndarray, severity: int, generators: Sequence[np.random.Generator]
) -> np.ndarray:
    """Lay ice over the image: NOT_COMPARABLE.

    The original adds photographs of frosted windows; this ice is drawn from noise. Needles grow
    from random seeds in directions 60 degrees apart, turned by 30 where a fractal veil is thin. The
    weights of image and ice are the original's, and so, about, are the ice's mean, contrast and
    tint.
    """
    image_weight, ice_weight, length = parameters("frost", severity, images)

    def ice(shape: tuple[int, int], generator: np.random.Generator) -> np.ndarray:
        veil = _fractal(shape, 1.5, generator)
        turn, crystals = generator.uniform(0, 60), np.zeros(shape)
        for degrees, grove in ((turn, veil), (turn + 30, 1 - veil)):
            seeds = np.maximum(generator.standard_normal((1, *shape, 1), np.float32) - 2.5, 0)
            for k in range(6):
                needles = correlate(
                    seeds, kernel(*line(3 * length, 2 * length, degrees + 60 * k)), "wrap"
                )[0, ..., 0]
                crystals = np.maximum(crystals, length * needles * grove)
        return 0.38 + 0.3 * veil + np.minimum(0.4, 2.5 * crystals)

    layers = _layers(ice, images, generators)
    tint = ICE if images.shape[-1] == 3 else np.float32(1)
    return to_uint8(image_weight * to_unit(images) + ice_weight * np.minimum(1, layers * tint))


def fog(images: np.ndarray, severity: int, generators: Sequence[np.random.Generator]) -> np.ndarray:
    """Add a fractal, and scale the sum back to where the image was brightest."""
    thickness, decay = parameters("fog", severity, images)
    unit = to_unit(images)
    brightest = unit.max((1, 2, 3), keepdims=True)
    layers = _layers(lambda shape, generator: _fractal(shape, decay, generator), images, generators)
    return to_uint8((unit + thickness * layers) * brightest / (brightest + thickness))


def brightness(
    images: np.ndarray, severity: int, generators: Sequence[np.random.Generator]
) -> np.ndarray:
    """Raise HSV's value; hue and saturation stay. A grey image's value is the grey."""
    added = parameters("brightness", severity, images)
    unit = to_unit(images)
    value = unit.max(-1, keepdims=True)
    raised = np.minimum(value + added, 1)
    # With hue and saturation fixed the channels keep their ratios; black has none, becomes grey.
    return to_uint8(np.where(value > 0, unit * (raised / np.where(value > 0, value, 1)), raised))


def _layers(
    draw: Callable[[tuple[int, int], np.random.Generator], np.ndarray],
    images: np.ndarray,
    generators: Sequence[np.random.Generator],
) -> np.ndarray:
    """Draw a layer for each image at the table's size, resized to the image.

    draw: (shape [2], generator) -> layer. The layers are [N, H, W, 1] float32.
    """
    from PIL import Image

    height, width = images.shape[1:3]
    shape = (round(height / scale(images)), round(width / scale(images)))
    drawn = (Image.fromarray(draw(shape, generator).astype(np.float32)) for generator in generators)
    # Pillow's bilinear filter widens as it shrinks an image, and so takes means.
    return np.stack(
        [np.asarray(layer.resize((width, height), Image.Resampling.BILINEAR)) for layer in drawn]
    )[..., None]


def _fractal(shape: tuple[int, int], decay: float, generator: np.random.Generator) -> np.ndarray:
    """Draw plasma by the diamond-square algorithm on a torus (Fournier, Fussell & Carpenter 1982).

    It is from 0 to 1 before it is cut to shape. From level to level the noise shrinks by decay^2,
    as in the released fog.
    """
    plasma, amplitude = np.zeros((1, 1)), 1.0
    while len(plasma) < max(shape):
        size = len(plasma)
        noise = generator.uniform(-amplitude, amplitude, (3, size, size))
        below, right = np.roll(plasma, -1, 0), np.roll(plasma, -1, 1)
        middle = (plasma + below + right + np.roll(below, -1, 1)) / 4 + noise[0]
        finer = np.empty((2 * size, 2 * size))
        finer[::2, ::2] = plasma
        finer[1::2, 1::2] = middle
        finer[::2, 1::2] = (plasma + right + middle + np.roll(middle, 1, 0)) / 4 + noise[1]
        finer[1::2, ::2] = (plasma + below + middle + np.roll(middle, 1, 1)) / 4 + noise[2]
        plasma, amplitude = finer, amplitude / decay**2
    low, high = plasma.min(), plasma.max()
    return ((plasma - low) / (high - low))[: shape[0], : shape[1]]
