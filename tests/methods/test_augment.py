"""Conventional augmentation, one part at a time, against what NumPy says of each.

Windows, mirrors, factors, turned hues, grey squares.
"""

import jax
import numpy as np
import pytest
from jax.tree_util import Partial
from scipy import stats

from natra_jax.methods.augment import augment

N, SIZE, CLASSES = 400, 7, 3
NOTHING = {
    "crop": 0,
    "flip": False,
    "brightness": 0.0,
    "contrast": 0.0,
    "saturation": 0.0,
    "hue": 0.0,
    "cutout": 0,
}
LUMA = np.array([0.299, 0.587, 0.114])
YIQ = np.array([LUMA, [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])  # NTSC
RNG = np.random.default_rng(0)
# of light 0.35 to 0.55, so that no factor used here leads out of [0, 1]
IMAGES = RNG.uniform(-0.3, 0.1, (N, SIZE, SIZE, 3)).astype(np.float32)
LABELS = RNG.integers(0, CLASSES, N)
EPSILON = RNG.uniform(0, 2, N).astype(np.float32)
WEIGHTS = RNG.normal(size=(SIZE * SIZE * 3, CLASSES)).astype(np.float32)


def linear(weights, images):
    return images.reshape(len(images), -1) @ weights


def vary(images=IMAGES, **settings):
    """What augmentation with these settings alone makes of the images."""
    method = augment(num_classes=CLASSES, **(NOTHING | settings))
    weights = WEIGHTS[: images[0].size]
    keys, batch = jax.random.split(jax.random.key(1), N), {"image": images, "label": LABELS}
    made = jax.jit(lambda method, *rest: method.vary(Partial(linear, weights), *rest))(
        method, keys, batch, EPSILON
    )
    return jax.tree.map(np.asarray, made)


def light(images):
    return (images.astype(np.float64) + 1) / 2


def assert_uniform(values, low, high):
    assert stats.kstest(values, stats.uniform(low, high - low).cdf).pvalue > 0.001


def test_with_nothing_asked_for_images_stay_and_the_rest_is_as_the_examples_say():
    made = vary()
    np.testing.assert_allclose(made.inputs, IMAGES, atol=1e-6)
    np.testing.assert_array_equal(made.targets, np.eye(CLASSES)[LABELS])
    np.testing.assert_array_equal(made.epsilon, EPSILON)
    np.testing.assert_array_equal(made.failed, linear(WEIGHTS, made.inputs).argmax(1) != LABELS)


def test_a_crop_is_a_window_of_the_reflected_image_and_every_window_is_drawn():
    crop = 2
    inputs = vary(crop=crop).inputs
    padded = np.pad(IMAGES, ((0, 0), (crop, crop), (crop, crop), (0, 0)), mode="reflect")
    corners = [(y, x) for y in range(2 * crop + 1) for x in range(2 * crop + 1)]
    far = np.stack(
        [np.abs(padded[:, y : y + SIZE, x : x + SIZE] - inputs).max((1, 2, 3)) for y, x in corners]
    )
    assert far.min(0).max() < 1e-6
    assert stats.chisquare(np.bincount(far.argmin(0), minlength=len(corners))).pvalue > 0.001


def test_half_of_the_images_are_mirrored_left_to_right():
    inputs = vary(flip=True).inputs
    mirrored = np.abs(inputs - IMAGES[:, :, ::-1]).max((1, 2, 3)) < 1e-6
    same = np.abs(inputs - IMAGES).max((1, 2, 3)) < 1e-6
    assert np.all(mirrored ^ same)
    assert stats.binomtest(int(mirrored.sum()), N).pvalue > 0.001


def test_brightness_is_one_factor_for_all_of_an_image():
    factors = light(vary(brightness=0.4).inputs) / light(IMAGES)
    np.testing.assert_allclose(
        factors, np.broadcast_to(factors.mean((1, 2, 3), keepdims=True), factors.shape), rtol=1e-5
    )
    assert_uniform(factors.mean((1, 2, 3)), 0.6, 1.4)


def test_contrast_stretches_around_the_images_mean_luma():
    inputs, before = light(vary(contrast=0.5).inputs), light(IMAGES)
    grey = (before @ LUMA).mean((1, 2))[:, None, None, None]
    factors = np.sum((inputs - grey) * (before - grey), axis=(1, 2, 3)) / np.square(
        before - grey
    ).sum((1, 2, 3))
    np.testing.assert_allclose(
        inputs, grey + factors[:, None, None, None] * (before - grey), atol=1e-6
    )
    assert_uniform(factors, 0.5, 1.5)


def test_saturation_stretches_around_every_pixels_own_luma():
    inputs, before = light(vary(saturation=0.9).inputs), light(IMAGES)
    grey = (before @ LUMA)[..., None]
    factors = np.sum((inputs - grey) * (before - grey), axis=(1, 2, 3)) / np.square(
        before - grey
    ).sum((1, 2, 3))
    np.testing.assert_allclose(
        inputs, grey + factors[:, None, None, None] * (before - grey), atol=1e-6
    )
    assert_uniform(factors, 0.1, 1.9)


def test_hue_turns_the_chroma_of_all_pixels_alike_and_keeps_luma_and_chromas_length():
    turned, before = light(vary(hue=0.25).inputs) @ YIQ.T, light(IMAGES) @ YIQ.T
    np.testing.assert_allclose(turned[..., 0], before[..., 0], atol=1e-6)
    chroma, chroma_before = (
        turned[..., 1] + 1j * turned[..., 2],
        before[..., 1] + 1j * before[..., 2],
    )
    np.testing.assert_allclose(np.abs(chroma), np.abs(chroma_before), atol=1e-6)
    turns = np.angle((chroma * chroma_before.conj()).sum((1, 2))) / (2 * np.pi)
    np.testing.assert_allclose(
        chroma, chroma_before * np.exp(2j * np.pi * turns)[:, None, None], atol=1e-6
    )
    assert_uniform(turns, -0.25, 0.25)


@pytest.mark.parametrize("side", [3, 4])
def test_cutout_is_one_grey_square_that_may_stick_out(side):
    images = np.where(IMAGES == 0, 0.01, IMAGES)
    inputs = vary(images, cutout=side).inputs
    cut = np.all(inputs == 0, axis=-1)
    np.testing.assert_allclose(inputs[~cut], images[~cut], atol=1e-6)
    heights, widths = cut.any(2).sum(1), cut.any(1).sum(1)
    np.testing.assert_array_equal(cut.sum((1, 2)), heights * widths, "a rectangle without holes")
    assert (
        heights.max() == widths.max() == side and heights.min() == widths.min() == side - side // 2
    )
    # its middle is uniform over the image: a pixel in the inside is cut in side^2 / pixels of the
    # draws
    inside = cut[:, side // 2 : SIZE - side // 2, side // 2 : SIZE - side // 2].mean()
    assert abs(inside - side**2 / SIZE**2) < 0.03


def test_all_together_stay_inside_the_range_and_differ_from_example_to_example():
    settings = {
        "crop": 2,
        "flip": True,
        "brightness": 0.9,
        "contrast": 0.9,
        "saturation": 0.9,
        "hue": 0.5,
        "cutout": 2,
    }
    bright = np.broadcast_to(np.float32(IMAGES[:1] * 3), IMAGES.shape)
    inputs = vary(bright, **settings).inputs
    assert inputs.min() >= -1 and inputs.max() <= 1 and inputs.dtype == np.float32
    assert len(np.unique(np.round(inputs.reshape(N, -1), 4), axis=0)) == N


def test_images_of_one_channel_have_brightness_and_contrast():
    one = IMAGES[..., :1]
    made = vary(one, brightness=0.2, contrast=0.2, saturation=0.5, hue=0.5)
    before, after = light(one).reshape(N, -1), light(made.inputs).reshape(N, -1)
    for x, y in zip(before, after, strict=True):
        slope, offset = np.polyfit(x, y, 1)
        np.testing.assert_allclose(y, slope * x + offset, atol=1e-6)
