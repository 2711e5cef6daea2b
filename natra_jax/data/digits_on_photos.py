"""Handwritten digits on photographs, 32 pixels in colour. Nothing is downloaded.

The label is the digit. What varies in nature without changing it: the photograph behind, place,
scale and reflection of the crop, how strong its texture is, the tint of the light (3 numbers),
exposure, contrast, a gradient of the light (angle and strength), blur, a patch in front, and the
digit's place. In the biased splits (train, *_iid) photograph, tint and exposure are tied to the
digit, so that a classifier that reads the ground is always right there. In the shifted splits they
are independent of it, blur is stronger, patches occur, and the photographs are others, which no
other split shows, nor the generator's domain.

Ink and ground are blended in the manner of MNIST-M (Ganin & Lempitsky 2015, arXiv 1409.7495): ink
inverts what lies below it and has no colour of its own. Unlike there the ground is .28 of white on
average and .6 at most before it is lit, so that ink is nearly everywhere the lighter of the two and
no digit is lost in middle grey; and at half coverage the two are mixed, without MNIST-M's dark
seam.

`effective_factors` says in how many directions images of one digit vary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from natra_jax.data import photographs
from natra_jax.data.source import Source, Split
from natra_jax.data.splitting import stratified

RESOLUTION = 32  # pixels
CLASSES = tuple(map(str, range(10)))
COUNT = 5000
_SHARES = {"val": 0.12, "test": 0.28}  # of each class; train has the rest
_ENLARGED = 4  # pixels that one of a texture becomes, each way
_CROP = RESOLUTION // _ENLARGED + 1  # pixels of a texture, each way, the last for interpolation
_CHUNK = 256  # images that are rendered at a time
_SHIFT = 1  # pixels by which a digit's place varies, each way
_PATCHES = (5, 8)  # pixels
_PLACES = 4  # of a patch that are tried
_HIDDEN = 0.2  # share of the ink that a patch hides at most


class Factors(NamedTuple):
    """What varies, for N images."""

    photograph: np.ndarray  # [N] int
    zoom: np.ndarray  # [N] int, of photographs.ZOOMS
    place: np.ndarray  # [N, 2] in [0, 1), of the crop
    mirrored: np.ndarray  # [N, 2] bool: upside down, left to right
    texture: np.ndarray  # [N], standard deviation of the ground's value
    tint: np.ndarray  # [N, 3], share of the light in red, green and blue
    exposure: np.ndarray  # [N]
    contrast: np.ndarray  # [N], 1 is full
    angle: np.ndarray  # [N] turns, of the light
    gradient: np.ndarray  # [N], share of the light that the far side lacks
    blur: np.ndarray  # [N], share of the blurred image
    patch: np.ndarray  # [N] pixels, side of the patch; 0 for none
    patch_places: np.ndarray  # [N, _PLACES, 2] in [0, 1), the first is taken that hides little
    patch_colour: np.ndarray  # [N, 3]
    shift: np.ndarray  # [N, 2] pixels, of the digit


_Draw = Callable[[np.random.Generator, np.ndarray, int], Factors]


def uniform_factors(rng: np.random.Generator, label: np.ndarray, count: int) -> Factors:
    """Draw factors that are independent of the label [N], of `count` photographs."""
    n = len(label)
    has_patch = rng.uniform(size=n) < 0.5
    return Factors(
        photograph=rng.integers(count, size=n),
        zoom=rng.integers(len(photographs.ZOOMS), size=n),
        place=rng.uniform(size=(n, 2)),
        mirrored=rng.uniform(size=(n, 2)) < 0.5,
        texture=rng.uniform(0.16, 0.24, n),
        tint=rng.uniform(0.7, 1.0, (n, 3)),
        exposure=rng.uniform(1.2, 1.4, n),
        contrast=rng.uniform(0.75, 1.0, n),
        angle=rng.uniform(size=n),
        gradient=rng.uniform(0.0, 0.4, n),
        blur=rng.uniform(0.0, 0.8, n),
        patch=has_patch * rng.integers(_PATCHES[0], _PATCHES[1] + 1, n),
        patch_places=rng.uniform(size=(n, _PLACES, 2)),
        patch_colour=rng.uniform(size=(n, 3)),
        shift=rng.integers(-_SHIFT, _SHIFT + 1, (n, 2)),
    )


def biased_factors(rng: np.random.Generator, label: np.ndarray, count: int) -> Factors:
    """Draw factors of which photograph, tint and exposure are tied to the label [N].

    Each digit has a photograph of its own, and tint and exposure near values of its own. Blur is
    slight, and there are no patches.
    """
    free, n = uniform_factors(rng, label, count), len(label)
    turns = (label[:, None] * 0.3 + np.arange(3) / 3) % 1.0  # neighbouring digits are no like hues
    centre = 0.85 + 0.15 * (4.0 * np.abs(turns - 0.5) - 1.0)
    return free._replace(
        photograph=label % count,
        tint=centre + rng.uniform(-0.015, 0.015, (n, 3)),
        exposure=1.22 + 0.16 * (label * 7 % 10) / 9 + rng.uniform(-0.02, 0.02, n),
        blur=0.4 * free.blur,
        patch=0 * free.patch,
    )


def render(coverage: np.ndarray, names: Sequence[str], factors: Factors) -> np.ndarray:
    """Render digits on photographs.

    Args:
        coverage: of the ink, [N, 28, 28] uint8, 255 is full.
        names: of the photographs that factors.photograph counts.
        factors: of the N images.

    Returns:
        Images [N, 32, 32, 3] uint8, the same on every machine: they are made by elementwise
        arithmetic alone, and rounded.
    """
    ground = _crops(names, factors)
    images = np.empty_like(ground, np.uint8)
    for i in range(0, len(images), _CHUNK):
        part = slice(i, i + _CHUNK)
        of_part = Factors(*(factor[part] for factor in factors))
        images[part] = _lit(ground[part], _placed(coverage[part], of_part.shift), of_part)
    return images


def effective_factors(images: np.ndarray) -> float:
    """Estimate the participation ratio of the covariance of images [N, ...], from a sample of N.

    It is (sum of eigenvalues)^2 / (sum of their squares): n where n directions vary alike, and all
    others not at all.
    """
    rows = images.reshape(len(images), -1).astype(np.float64)
    rows -= rows.mean(0)
    products = rows @ rows.T
    variances = np.diag(products)
    # products of different images alone: an image's with itself would count the sample's noise
    squares = np.square(products).sum() - np.square(variances).sum()
    return float(variances.sum() ** 2 / squares * len(rows) / (len(rows) - 1))


def load(*, seed: int, renderings: int, wild_per_image: int, **_: Any) -> Source:
    """Return the five splits, renderings of the shifted ones, and the generator's domain.

    Args:
        seed: of the splits and of all that varies.
        renderings: images of every held-out digit under uniform factors on held-out photographs.
        wild_per_image: images of every train digit under uniform factors on the photographs of
            train, which generators see.

    Raises:
        UserError: a package that has the digits or the photographs is missing.
    """
    coverage, label = photographs.digits()
    index = stratified(label, _SHARES, seed, "train", CLASSES, "digits_on_photos", "")

    def images(index: np.ndarray, names: Sequence[str], draw: _Draw, stream: int) -> np.ndarray:
        rng = np.random.default_rng((seed, stream))
        return render(coverage[index], names, draw(rng, label[index], len(names)))

    splits, rendered = {}, {}
    train = index["train"]
    splits["train"] = Split(images(train, photographs.TRAIN, biased_factors, 0), label[train])
    held_out = {"val": photographs.VALIDATION, "test": photographs.TEST}
    for stream, (part, names) in enumerate(held_out.items(), start=1):
        of_part = index[part]
        iid = images(of_part, photographs.TRAIN, biased_factors, 10 * stream)
        shift = images(of_part, names, uniform_factors, 10 * stream + 1)
        again = np.repeat(of_part, renderings)
        views = images(again, names, uniform_factors, 10 * stream + 2)
        splits[f"{part}_iid"] = Split(iid, label[of_part])
        splits[f"{part}_shift"] = Split(shift, label[of_part])
        rendered[f"{part}_shift"] = views.reshape(len(of_part), renderings, *views.shape[1:])
    again = np.tile(train, wild_per_image)
    wild = images(again, photographs.TRAIN, uniform_factors, 1)
    return Source(
        CLASSES, splits, rendered, Split(wild, label[again]), domain_object=again.astype(np.int32)
    )


def _crops(names: Sequence[str], factors: Factors) -> np.ndarray:
    """Return crops [N, 32, 32, 3] int8 of the textures, in units of photographs.UNIT."""
    crops = np.empty((len(factors.place), RESOLUTION, RESOLUTION, 3), np.int8)
    for photograph, name in enumerate(names):
        for zoom, pixels in enumerate(photographs.ZOOMS):
            chosen = np.flatnonzero((factors.photograph == photograph) & (factors.zoom == zoom))
            texture = photographs.texture(name, pixels)
            corners = (factors.place[chosen] * (np.array(texture.shape[:2]) - _CROP + 1)).astype(
                int
            )
            windows = np.lib.stride_tricks.sliding_window_view(texture, (_CROP, _CROP), (0, 1))
            taken = np.moveaxis(windows[corners[:, 0], corners[:, 1]], 1, -1)
            crops[chosen] = _enlarged(taken)
    for axis, mirrored in enumerate(factors.mirrored.T, start=1):
        crops[mirrored] = np.flip(crops[mirrored], axis)
    return crops


def _enlarged(textures: np.ndarray) -> np.ndarray:
    """Interpolate [N, 9, 9, 3] int8 linearly to [N, 32, 32, 3], in whole numbers."""
    for axis in (1, 2):
        textures = np.moveaxis(textures.astype(np.int16), axis, 1)
        first, second = textures[:, :-1], textures[:, 1:]
        steps = [(_ENLARGED - i) * first + i * second for i in range(_ENLARGED)]
        longer = np.stack(steps, axis=2).reshape(len(textures), RESOLUTION, *textures.shape[2:])
        textures = np.moveaxis(longer, 1, axis)
    return (textures // _ENLARGED**2).astype(np.int8)


def _placed(coverage: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Return the digits [N, 32, 32] uint8, each moved by its shift [N, 2] from the middle."""
    border = (RESOLUTION - coverage.shape[1]) // 2
    ink = np.zeros((len(coverage), RESOLUTION, RESOLUTION), np.uint8)
    for rows, columns in np.unique(shift, axis=0):
        chosen = np.flatnonzero((shift == (rows, columns)).all(1))
        top, left = border + rows, border + columns
        ink[chosen, top : top + coverage.shape[1], left : left + coverage.shape[2]] = coverage[
            chosen
        ]
    return ink


def _patch_corners(ink: np.ndarray, factors: Factors) -> np.ndarray:
    """Return the corner [N, 2] of each patch: the first place that hides little of the ink.

    Where every place hides more, the corner lies outside of the image.
    """
    sums = np.zeros((len(ink), RESOLUTION + 1, RESOLUTION + 1), np.int32)
    sums[:, 1:, 1:] = ink.cumsum(1, dtype=np.int32).cumsum(2, dtype=np.int32)
    each, side = np.arange(len(ink)), factors.patch
    corner = np.full((len(ink), 2), RESOLUTION)
    for place in np.moveaxis(factors.patch_places, 1, 0)[::-1]:
        top, left = (place * (RESOLUTION - side[:, None] + 1)).astype(int).T
        hidden = (
            sums[each, top + side, left + side]
            - sums[each, top, left + side]
            - sums[each, top + side, left]
            + sums[each, top, left]
        )
        fits = hidden <= _HIDDEN * sums[:, -1, -1]
        corner[fits] = np.stack([top, left], axis=1)[fits]
    return corner


def _lit(ground: np.ndarray, ink: np.ndarray, factors: Factors) -> np.ndarray:
    """Blend ground [N, H, W, 3] and ink [N, H, W], and put both under the light."""

    def each(factor: np.ndarray) -> np.ndarray:
        """Return a factor [N] or [N, 3] against images [N, H, W, 3]."""
        return factor.astype(np.float32).reshape(len(factor), 1, 1, -1)

    below = ground * each(factors.texture / photographs.UNIT)
    below += np.float32(0.28)
    np.clip(below, np.float32(0.0), np.float32(0.6), out=below)
    coverage = ink[..., None] / np.float32(255.0)
    image = below + coverage * (np.float32(1.0) - 2 * below)
    image += each(factors.blur) * (_smoothed(image) - image)
    middle = np.float32(0.5)
    image = middle + each(factors.contrast) * (image - middle)
    pixel, corner = np.arange(RESOLUTION), _patch_corners(ink, factors)
    inside = [
        (pixel >= corner[:, axis, None]) & (pixel < (corner[:, axis] + factors.patch)[:, None])
        for axis in (0, 1)
    ]
    patch = inside[0][:, :, None, None] & inside[1][:, None, :, None]
    image = np.where(patch, each(factors.patch_colour), image)
    position = np.linspace(-1.0, 1.0, RESOLUTION)
    turns = 2 * np.pi * factors.angle[:, None]
    rows, columns = (
        (0.25 * np.sqrt(2.0) * position * wave(turns)).astype(np.float32)
        for wave in (np.sin, np.cos)
    )
    distance = middle + rows[:, :, None, None] + columns[:, None, :, None]
    light = np.float32(1.0) - each(factors.gradient) * distance
    image *= light * each(factors.tint * factors.exposure[:, None])
    return np.rint(np.float32(255.0) * np.minimum(image, np.float32(1.0))).astype(np.uint8)


def _smoothed(images: np.ndarray) -> np.ndarray:
    """Blur images [N, H, W, 3] by binomial weights over 5 pixels, each way."""
    for axis in (1, 2):
        border = [(0, 0)] * 4
        border[axis] = (2, 2)
        padded = np.moveaxis(np.pad(images, border, mode="edge"), axis, 0)
        n = images.shape[axis]
        a, b, c, d, e = (padded[i : i + n] for i in range(5))
        total = (a + e) + 4 * (b + d) + 6 * c
        images = np.moveaxis(total / np.float32(16.0), 0, axis)
    return images
