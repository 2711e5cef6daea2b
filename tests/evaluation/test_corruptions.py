"""Corruptions against their definitions.

Moments of noise, sums of kernels, ramps and pairs of images with a known answer.
"""

import colorsys
import io

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage, stats

from natra_jax.evaluation.corruptions import (
    CORRUPTIONS,
    NOT_COMPARABLE,
    apply,
    corrupt,
    mean_corruption_error,
)
from natra_jax.evaluation.corruptions.severities import CIFAR_10_C, IMAGENET_C

SEVERITIES = (1, 2, 3, 4, 5)
NAMES = tuple(CORRUPTIONS)
TABLES = [(32, CIFAR_10_C), (64, IMAGENET_C)]  # the sizes at which the tests look at either table


def textured(count, height, width, channels=3, spread=50, smooth=1.5):
    noise = ndimage.gaussian_filter(
        np.random.default_rng(0).normal(size=(count, height, width, channels)),
        (0, smooth, smooth, 0),
        mode="wrap",
    )
    return np.clip(128 + spread * noise / noise.std(), 0, 255).astype(np.uint8)


def flat(count, size, *colour):
    return np.broadcast_to(np.array(colour, np.uint8), (count, size, size, len(colour)))


def unit(images):
    return images / 255


def test_both_tables_hold_all_fifteen_at_five_severities():
    assert len(NAMES) == 15 and set(NOT_COMPARABLE) < set(NAMES)
    for _, table in TABLES:
        assert tuple(table) == NAMES and all(len(values) == 5 for values in table.values())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(16, 16, 3), (9, 8, 1), (20, 33, 3), (64, 70, 1)])
def test_shape_and_dtype_stay_and_the_input_too(name, shape):
    images = textured(2, *shape)
    before = images.copy()
    for severity in (1, 5):
        result = corrupt(images, name, severity, seed=0)
        assert result.shape == images.shape and result.dtype == np.uint8
        assert (result != images).any()
    np.testing.assert_array_equal(images, before)
    assert corrupt(images[:0], name, 1, seed=0).shape == (0, *shape)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [16, 64])
def test_an_example_fares_the_same_in_any_batch(name, size, monkeypatch):
    images = textured(4, size, size)
    whole = corrupt(images, name, 3, seed=7)
    np.testing.assert_array_equal(corrupt(images, name, 3, seed=7), whole)
    chosen = [3, 1]
    np.testing.assert_array_equal(
        corrupt(images[chosen], name, 3, seed=7, index=chosen), whole[chosen]
    )
    monkeypatch.setattr(apply, "CHUNK", 1)
    np.testing.assert_array_equal(corrupt(images, name, 3, seed=7), whole)


RANDOM = sorted(
    set(NAMES)
    - {"defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression"}
)


@pytest.mark.parametrize("name", NAMES)
def test_seed_and_index_matter_where_there_is_chance(name):
    images = np.repeat(textured(1, 32, 32), 2, 0)
    first, second = corrupt(images, name, 5, seed=0)
    assert (first != second).any() == (name in RANDOM)
    assert (first != corrupt(images, name, 5, seed=1)[0]).any() == (name in RANDOM)


@pytest.mark.parametrize(
    "name",
    sorted(
        set(NAMES) - {"gaussian_noise", "shot_noise", "impulse_noise", "frost", "jpeg_compression"}
    ),
)
def test_grey_in_one_channel_and_in_three_fare_the_same(name):
    grey = textured(2, 32, 32, 1)
    colour = corrupt(grey.repeat(3, -1), name, 4, seed=0)
    np.testing.assert_allclose(colour, corrupt(grey, name, 4, seed=0).repeat(3, -1), atol=1)


# Where the released parameters do not all grow: glass blur trades blur for rounds, 6 and 8 px of
# motion with sigma 2 are the same
# Gaussian, and the elastic transform, fog and frost have tests of their own.
RISING = {("glass_blur", 32): (1, 5), ("glass_blur", 64): (1, 5), ("motion_blur", 32): (1, 2, 3, 5)}


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"elastic_transform", "fog", "frost"}))
@pytest.mark.parametrize(("size", "table"), TABLES)
def test_distortion_rises_with_severity(name, size, table):
    images = textured(12, size, size)
    changes = [
        np.square(unit(corrupt(images, name, s, seed=0)) - unit(images)).mean()
        for s in RISING.get((name, size), SEVERITIES)
    ]
    assert (np.diff(changes) > 0).all(), changes


@pytest.mark.parametrize(("size", "table"), TABLES)
def test_gaussian_noise_has_the_stated_deviation(size, table):
    grey = flat(12, size, 128, 128, 128)
    for severity in (1, 2):  # at which next to nothing is clipped
        noise = unit(corrupt(grey, "gaussian_noise", severity, seed=0)) - unit(grey)
        sigma = table["gaussian_noise"][severity - 1]
        assert abs(noise.mean()) < 5 * sigma / np.sqrt(noise.size)
        assert noise.std() == pytest.approx(sigma, rel=5 / np.sqrt(2 * noise.size) + 0.005)
        correlations = np.corrcoef(noise.reshape(12, -1))[np.triu_indices(12, 1)]
        assert np.abs(correlations).max() < 5 / np.sqrt(noise[0].size)


@pytest.mark.parametrize(("size", "table"), TABLES)
@pytest.mark.parametrize("level", [26, 102])
def test_shot_noise_has_the_mean_and_variance_of_counted_photons(size, table, level):
    grey = flat(12, size, level, level, level)
    photons = table["shot_noise"][0]
    noisy = corrupt(grey, "shot_noise", 1, seed=0)
    expected = level / 255 * photons
    counts = np.arange(10 * photons)
    shown, chance = (
        np.rint(np.minimum(counts / photons, 1) * 255),
        stats.poisson.pmf(counts, expected),
    )
    mean = (chance * shown).sum()
    variance = (chance * (shown - mean) ** 2).sum()
    assert variance == pytest.approx(
        255**2 * expected / photons**2, rel=0.1
    )  # Poisson's, but for 8 bits
    assert noisy.mean() == pytest.approx(mean, abs=5 * np.sqrt(variance / noisy.size))
    assert noisy.var() == pytest.approx(variance, rel=5 * np.sqrt((2 + 1 / expected) / noisy.size))


@pytest.mark.parametrize(("size", "table"), TABLES)
def test_impulse_noise_salts_and_peppers_the_stated_share(size, table):
    grey = flat(12, size, 100, 150, 200)
    for severity in SEVERITIES:
        noisy, share = (
            corrupt(grey, "impulse_noise", severity, seed=0),
            table["impulse_noise"][severity - 1],
        )
        assert set(np.unique(noisy)) == {0, 100, 150, 200, 255}
        for value in (0, 255):
            assert (noisy == value).mean() == pytest.approx(
                share / 2, abs=5 * np.sqrt(share / 2 / noisy.size)
            )


@pytest.mark.parametrize(
    "name",
    [
        "defocus_blur",
        "glass_blur",
        "motion_blur",
        "zoom_blur",
        "contrast",
        "elastic_transform",
        "pixelate",
    ],
)
@pytest.mark.parametrize("size", [16, 32, 64, 224])
def test_a_flat_image_stays_as_it_is(name, size):
    image = flat(1, size, 10, 130, 250)
    for severity in SEVERITIES if size < 224 else (1, 3):
        np.testing.assert_array_equal(corrupt(image, name, severity, seed=0), image)


def square_in_the_dark(size, side):
    image = np.zeros((1, size, size, 1), np.uint8)
    low = (size - side) // 2
    image[:, low : low + side, low : low + side] = 240
    return image


def centroid(image):
    mass = image[0, ..., 0].astype(float)
    return np.array([(mass * axis).sum() for axis in np.indices(mass.shape)]) / mass.sum()


def spread(image):
    """The variance of the light's rows, in squared pixels."""
    mass = image[0, ..., 0].sum(1).astype(float)
    rows = np.arange(len(mass))
    return (mass * rows**2).sum() / mass.sum() - ((mass * rows).sum() / mass.sum()) ** 2


@pytest.mark.parametrize("size", [16, 32, 48, 64, 100, 224])
def test_defocus_blur_moves_light_without_adding_any(size):
    image = square_in_the_dark(size, size // 4)
    for severity in (1, 5):
        blurred = corrupt(image, "defocus_blur", severity, seed=0)
        assert blurred.mean() == pytest.approx(image.mean(), rel=0.01)
        np.testing.assert_allclose(centroid(blurred), centroid(image), atol=0.05)
        assert blurred.max() <= 240


@pytest.mark.parametrize(
    ("size", "scale", "radius", "severity"),
    [(16, 0.5, 1, 4), (48, 1.5, 1, 4), (112, 0.5, 6, 3), (112, 0.5, 10, 5), (300, 1, 10, 5)],
)
def test_defocus_blur_spreads_light_as_a_disk_of_the_scaled_radius_does(
    size, scale, radius, severity
):
    image = square_in_the_dark(size, size // 4)
    rows, columns = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disk = (scale * rows[rows**2 + columns**2 <= radius**2]).var()
    grown = spread(corrupt(image, "defocus_blur", severity, seed=0)) - spread(image)
    # The soft edge, and the sharing of points among pixels, add at most a quarter of a squared
    # pixel or so.
    assert disk - 0.02 <= grown <= disk + 0.27


@pytest.mark.parametrize(("severity", "radius"), [(1, 3), (2, 4)])
def test_defocus_blur_at_224_is_the_mean_over_a_disk(severity, radius):
    image = textured(1, 224, 224, 1, smooth=4)
    axis = np.arange(-radius, radius + 1)
    disk = (axis[:, None] ** 2 + axis**2 <= radius**2).astype(float)
    if severity == 2:
        disk = np.pad(disk, 1)  # sigma 0.5, in a window of three pixels
        soft = np.exp(-np.array([1, 0, 1]) / (2 * 0.5**2))
        disk = ndimage.convolve(disk, np.outer(soft, soft), mode="constant")
    expected = ndimage.convolve(image[0, ..., 0].astype(float), disk / disk.sum(), mode="mirror")
    np.testing.assert_allclose(
        corrupt(image, "defocus_blur", severity, seed=0)[0, ..., 0], expected, atol=0.51
    )


@pytest.mark.parametrize(
    ("size", "scale", "table"),
    [
        (16, 16 / 32, CIFAR_10_C),
        (48, 48 / 32, CIFAR_10_C),
        (112, 0.5, IMAGENET_C),
        (300, 1, IMAGENET_C),
    ],
)
def test_motion_blur_moves_light_by_the_mean_of_a_half_gaussian(size, scale, table):
    image = square_in_the_dark(size, size // 4)
    for severity in (1, 4):
        radius, sigma = table["motion_blur"][severity - 1]
        steps = np.arange(2 * radius + 1)
        weights = np.exp(-(steps**2) / (2 * sigma**2))
        expected = scale * (steps * weights).sum() / weights.sum()
        if expected > size / 16:  # the trail would leave the image
            continue
        blurred = corrupt(image, "motion_blur", severity, seed=severity)
        assert blurred.mean() == pytest.approx(image.mean(), rel=0.01)
        down, right = centroid(blurred) - centroid(image)
        assert np.hypot(down, right) == pytest.approx(expected, rel=0.05)
        assert abs(down) <= abs(right) + 0.05


def test_glass_blur_without_blur_takes_each_pixel_from_above_or_left():
    # At severity 1 sigma is 0.05 px, so that nothing is blurred, and a pixel comes from at most
    # one row above and one column left.
    for size in (32, 16):
        rows, columns = np.indices((size, size))
        images = np.broadcast_to(
            np.stack([rows, columns, 0 * rows], -1).astype(np.uint8), (50, size, size, 3)
        )
        strayed = corrupt(images, "glass_blur", 1, seed=0).astype(int)
        moves = (strayed - images)[..., :2]
        inner = moves[:, 2:-1, 2:-1]
        assert set(np.unique(moves)) == {-1, 0}
        assert not moves[:, :2].any() and not moves[:, :, :2].any()
        # half a pixel on average at 32 px; half as much at 16 px
        share = 0.5 * size / 32
        assert (inner == -1).mean() == pytest.approx(
            share, abs=5 * np.sqrt(share * (1 - share) / inner.size)
        )


@pytest.mark.parametrize(("size", "table"), [(33, CIFAR_10_C), (65, IMAGENET_C)])
def test_zoom_blur_flattens_a_ramp_by_the_mean_of_the_inverse_zooms(size, table):
    middle = size // 2
    ramp = np.broadcast_to(
        (128 + 3 * (np.arange(size) - middle))[:, None, None], (1, size, size, 1)
    ).astype(np.uint8)
    for severity in SEVERITIES:
        count, step = table["zoom_blur"][severity - 1]
        zooms = np.append(1 + step * np.arange(count), 1)
        for image in (ramp, ramp.transpose(0, 2, 1, 3)):
            expected = 128 + (image - 128.0) * (1 / zooms).mean()
            np.testing.assert_allclose(
                corrupt(image, "zoom_blur", severity, seed=0), expected, atol=0.51
            )


@pytest.mark.parametrize(("size", "table"), TABLES)
def test_fog_shrinks_what_lies_behind_it(size, table):
    """Two images in the same fog keep max / (max + thickness) of their difference.

    Their brightest values are the same.
    """
    images = np.minimum(textured(2, size, size), 250)
    images[:, 0, 0] = 250
    for severity in SEVERITIES:
        foggy = corrupt(images, "fog", severity, seed=0, index=[3, 3]).astype(float)
        thickness = table["fog"][severity - 1][0]
        kept = 250 / (250 + 255 * thickness)
        np.testing.assert_allclose(
            foggy[0] - foggy[1], kept * (images[0].astype(float) - images[1]), atol=1.01
        )
        layer = (foggy[0] / kept - images[0]) / 255 / thickness
        assert layer.std() > 0.05 and layer.min() > -0.1 and layer.max() < 1.1
    assert kept < 0.42


def test_fog_grows_rougher_with_distance_by_the_square_of_its_decay():
    """A fractal's bends over twice the distance are decay^2 as large.

    Where neither pixels nor the image's size show (decay < 1.5).
    """
    fog = corrupt(flat(30, 224, 250), "fog", 5, seed=0)[..., 0].astype(float)
    near, far = (
        (fog[:, 2 * lag :] - 2 * fog[:, lag:-lag] + fog[:, : -2 * lag]).std() for lag in (16, 32)
    )
    assert IMAGENET_C["fog"][4][1] == 1.4
    assert far / near == pytest.approx(1.4**2, rel=0.08)


@pytest.mark.parametrize(("size", "table"), TABLES)
def test_frost_keeps_the_stated_share_of_the_image(size, table):
    images = textured(2, size, size, spread=3)[..., ::-1] - np.uint8(
        105
    )  # dark, so that nothing is clipped
    for severity in SEVERITIES:
        weight, ice, _ = table["frost"][severity - 1]
        frosted = corrupt(images, "frost", severity, seed=0, index=[3, 3]).astype(float)
        assert frosted.max() < 255
        np.testing.assert_allclose(
            frosted[0] - frosted[1], weight * (images[0].astype(float) - images[1]), atol=1.01
        )
        layer = (frosted[0] - weight * images[0]) / 255 / ice
        assert (
            0.4 < layer.mean() < 0.8 and 0.03 < layer.std() < 0.25
        )  # five photographs of the original: 0.64 and 0.06 to 0.17
        assert layer[..., 2].mean() > layer[..., 0].mean()


@pytest.mark.parametrize(("size", "table"), TABLES)
def test_snow_falls_from_two_sides_on_a_whitened_image(size, table):
    black, white = flat(2, size, 0, 0, 0), flat(2, size, 255, 255, 255)
    for severity in SEVERITIES:
        kept = table["snow"][severity - 1][-1]
        snowy = corrupt(black, "snow", severity, seed=0)
        np.testing.assert_array_equal(
            snowy, snowy[:, ::-1, ::-1]
        )  # one layer and the same turned by 180 degrees
        assert snowy.min() >= np.floor(255 * 0.5 * (1 - kept)) and snowy.std() > 1
        np.testing.assert_array_equal(snowy[..., 0], snowy[..., 2])
        np.testing.assert_array_equal(corrupt(white, "snow", severity, seed=0), white)


@pytest.mark.parametrize(("size", "table"), TABLES)
def test_brightness_raises_the_value_and_keeps_hue_and_saturation(size, table):
    images = textured(1, size, size, spread=20) - np.uint8(30)
    for severity, added in enumerate(table["brightness"], 1):
        bright = corrupt(images, "brightness", severity, seed=0)
        low = images.max(-1) < 255 * (1 - added)
        assert low.mean() > 0.3
        rise = unit(bright.max(-1)[low]) - unit(images.max(-1)[low])
        assert rise.mean() == pytest.approx(added, abs=0.5 / 255 + 1e-6)
        for before, after in zip(images[low][:20], bright[low][:20], strict=True):
            h, s, v = colorsys.rgb_to_hsv(*unit(before))
            np.testing.assert_allclose(
                after, 255 * np.array(colorsys.hsv_to_rgb(h, s, v + added)), atol=0.51
            )
        assert (bright[~low].max(-1) == 255).all()
        assert (
            corrupt(flat(1, size, 0, 0, 0), "brightness", severity, seed=0)
            == np.rint(np.float32(added) * 255)
        ).all()


@pytest.mark.parametrize(("size", "table"), TABLES)
def test_contrast_keeps_the_mean_and_shrinks_the_spread_of_each_channel(size, table):
    images = textured(3, size, size) // np.array([1, 2, 3], np.uint8)
    for severity, factor in enumerate(table["contrast"], 1):
        dull = corrupt(images, "contrast", severity, seed=0)
        np.testing.assert_allclose(dull.mean((1, 2)), images.mean((1, 2)), atol=0.3)
        np.testing.assert_allclose(
            dull.std((1, 2)), factor * images.std((1, 2)), rtol=0.05, atol=0.1
        )


def bend(image, lag):
    """The second difference of columns lag apart: zero for what is affine."""
    columns = image[0, ..., 0].astype(float)[60:-60, 60:-60]
    return columns[:, 2 * lag :] - 2 * columns[:, lag:-lag] + columns[:, : -2 * lag]


def test_elastic_transform_bends_a_ramp_in_proportion_to_its_strength():
    ramp = np.broadcast_to(np.arange(16, 240, dtype=np.uint8)[None, :, None], (1, 224, 224, 1))
    bends = [
        bend(corrupt(ramp, "elastic_transform", severity, seed=0), lag=9).std()
        for severity in (3, 4, 5)
    ]
    # White noise of variance 1/3, smoothed to 1 / (4 pi sigma^2) of it, times the strength;
    # shifts 9 px apart are independent.
    expected = [np.sqrt(6 / 3 / (4 * np.pi)) * strength / 2.44 for strength in (12.2, 17.08, 29.28)]
    np.testing.assert_allclose(bends, expected, rtol=0.15)
    half = np.broadcast_to(2 * np.arange(16, 128, dtype=np.uint8)[None, :, None], (1, 112, 112, 1))
    bent = bend(
        np.pad(
            corrupt(half, "elastic_transform", 5, seed=0)[:, 10:-10, 10:-10],
            ((0, 0), (50, 50), (50, 50), (0, 0)),
        ),
        lag=5,
    )
    assert bent.std() == pytest.approx(
        expected[2], rel=0.15
    )  # half the size, half the shift, twice the slope


def test_elastic_transform_of_small_images_is_affine_at_severity_one():
    ramp = np.broadcast_to(
        3 * np.arange(40, dtype=np.uint8)[None, :, None] + np.uint8(20), (1, 40, 40, 1)
    )
    moved = corrupt(ramp, "elastic_transform", 1, seed=0)[0, 10:30, 10:30, 0].astype(float)
    rows, columns = np.indices(moved.shape)
    design = np.column_stack([rows.ravel(), columns.ravel(), np.ones(moved.size)])
    slope, *_ = np.linalg.lstsq(design, moved.ravel(), rcond=None)
    np.testing.assert_allclose(moved.ravel(), design @ slope, atol=0.75)
    assert np.abs(moved - ramp[0, 10:30, 10:30, 0]).max() > 2


@pytest.mark.parametrize(("severity", "block"), [(3, None), (5, 4)])
def test_pixelate_makes_blocks_of_their_mean(severity, block):
    images = textured(2, 64, 96)
    result = corrupt(images, "pixelate", severity, seed=0)
    if (
        block is None
    ):  # 0.4 of 64 and 96: no whole blocks, yet no more values than pixels in the small image
        assert all(len(np.unique(image.reshape(-1, 3), axis=0)) <= 25 * 38 for image in result)
    else:
        means = images.reshape(2, 64 // block, block, 96 // block, block, 3).mean((2, 4))
        np.testing.assert_allclose(result, means.repeat(block, 1).repeat(block, 2), atol=1)


@pytest.mark.parametrize(("size", "table"), TABLES)
@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_compression_is_pillows(size, table, channels):
    images = textured(1, size, size, channels)
    for severity, quality in enumerate(table["jpeg_compression"], 1):
        stream = io.BytesIO()
        Image.fromarray(images[0].squeeze()).save(stream, "JPEG", quality=quality)
        decoded = np.asarray(Image.open(stream)).reshape(images.shape)
        np.testing.assert_array_equal(
            corrupt(images, "jpeg_compression", severity, seed=0), decoded
        )


def test_mean_corruption_error_is_the_mean_of_ratios_of_sums():
    errors = {("fog", 1): 0.1, ("fog", 2): 0.3, ("snow", 1): 0.5, ("snow", 2): 0.7}
    baseline = {("snow", 1): 0.6, ("snow", 2): 0.9, ("fog", 1): 0.2, ("fog", 2): 0.8}
    assert mean_corruption_error(errors, baseline) == pytest.approx(
        100 * (0.4 / 1.0 + 1.2 / 1.5) / 2
    )
    assert mean_corruption_error(baseline, baseline) == pytest.approx(100)
    perfect = dict.fromkeys(baseline, 0.0)
    assert mean_corruption_error(perfect, baseline) == 0
    assert mean_corruption_error(perfect, perfect) == 100
    assert mean_corruption_error(errors, perfect) == np.inf


def test_mistakes_are_named():
    images = textured(2, 16, 16)
    calls = {
        "'rain' is not one of": lambda: corrupt(images, "rain", 1, 0),
        "severity 0": lambda: corrupt(images, "fog", 0, 0),
        "severity 6": lambda: corrupt(images, "fog", 6, 0),
        "severity 2.0": lambda: corrupt(images, "fog", 2.0, 0),
        "dtype float64": lambda: corrupt(unit(images), "fog", 1, 0),
        r"images \(16, 16, 3\)": lambda: corrupt(images[0], "fog", 1, 0),
        r"images \(2, 16, 16, 2\)": lambda: corrupt(images[..., :2], "fog", 1, 0),
        r"images \(2, 7, 16, 3\)": lambda: corrupt(images[:, :7], "fog", 1, 0),
        r"index \(3,\)": lambda: corrupt(images, "fog", 1, 0, index=[0, 1, 2]),
        r"index \(2,\) int64": lambda: corrupt(images, "fog", 1, 0, index=[0, -1]),
        r"index \(2,\) float64": lambda: corrupt(images, "fog", 1, 0, index=[0.0, 1.0]),
        "seed -1": lambda: corrupt(images, "fog", 1, -1),
        "missing": lambda: mean_corruption_error({}, {}),
        "in one only": lambda: mean_corruption_error({("fog", 1): 0.1}, {("fog", 2): 0.1}),
        "finite": lambda: mean_corruption_error({("fog", 1): np.nan}, {("fog", 1): 0.1}),
        r"baseline\[": lambda: mean_corruption_error({("fog", 1): 0.1}, {("fog", 1): -0.1}),
    }
    for message, call in calls.items():
        with pytest.raises(ValueError, match=message):
            call()
