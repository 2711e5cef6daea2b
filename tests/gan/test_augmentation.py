"""Differentiable augmentation: the reach of each kind, each image by itself, and gradients."""

import jax
import numpy as np
import pytest

from natra_jax.gan.augmentation import KINDS, augment

SIZE, COUNT = 8, 200
RNG = np.random.default_rng(0)
ONE = RNG.uniform(0.1, 1.0, (SIZE, SIZE, 3)).astype(np.float32)
SAME = np.repeat(ONE[None], COUNT, axis=0)
KEY = jax.random.key(0)
MADE = {kind: np.asarray(augment(KEY, SAME, (kind,))) for kind in KINDS}


def test_no_kind_and_no_strength_change_nothing():
    np.testing.assert_array_equal(augment(KEY, SAME, ()), SAME)
    np.testing.assert_allclose(augment(KEY, SAME, tuple(KINDS), strength=0.0), SAME, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_every_image_is_changed_in_its_own_way(kind):
    ways = len(np.unique(MADE[kind].reshape(COUNT, -1).round(5), axis=0))
    # a translation of 8 pixels has 9 ways to end, and an image is mirrored or not
    assert ways == {"translation": 9, "flip": 2}.get(kind, ways) and (ways >= 9 or kind == "flip")
    np.testing.assert_array_equal(augment(KEY, SAME, (kind,)), MADE[kind])
    assert np.abs(np.asarray(augment(jax.random.key(1), SAME, (kind,))) - MADE[kind]).max() > 0.1


def test_colours_move_within_the_papers_ranges():
    made = MADE["color"].astype(np.float64)
    brightness = made.mean((1, 2, 3)) - ONE.mean()
    grey, grey_before = made.mean(3), ONE.mean(2)
    contrast = grey.std((1, 2)) / grey_before.std()
    # what is left of an image when its grey is taken away is scaled by saturation and contrast
    hue, hue_before = made - grey[..., None], ONE - grey_before[..., None]
    saturation = (hue * hue_before).sum((1, 2, 3)) / np.square(hue_before).sum() / contrast
    np.testing.assert_allclose(
        hue, (saturation * contrast)[:, None, None, None] * hue_before, atol=1e-5
    )
    for values, low, high in (
        (brightness, -0.5, 0.5),
        (contrast, 0.5, 1.5),
        (saturation, 0.0, 2.0),
    ):
        assert (
            low - 1e-4 <= values.min() < low + 0.1 * (high - low)
            and high - 0.1 * (high - low) < values.max() <= high + 1e-4
        )
    assert (
        np.abs(np.corrcoef([brightness, contrast, saturation])[np.triu_indices(3, 1)]).max() < 0.25
    )


def test_translations_are_by_an_eighth_of_the_side_at_most_over_grey():
    padded = np.pad(ONE, ((1, 1), (1, 1), (0, 0)))
    moved = [padded[i : i + SIZE, j : j + SIZE] for i in range(3) for j in range(3)]
    distance = np.abs(MADE["translation"][:, None] - np.stack(moved)).max((2, 3, 4))
    np.testing.assert_allclose(distance.min(1), 0, atol=1e-6)
    assert set(distance.argmin(1)) == set(range(9))


def test_about_half_are_mirrored_left_to_right_and_the_others_stay():
    mirrored = (MADE["flip"] == ONE[:, ::-1]).all((1, 2, 3))
    assert ((MADE["flip"] == ONE).all((1, 2, 3)) ^ mirrored).all() and 0.35 < mirrored.mean() < 0.65


def test_cutout_takes_a_square_of_half_the_side():
    gone = (MADE["cutout"] == 0).all(3)
    assert np.array_equal(gone, (MADE["cutout"] == 0).any(3))
    np.testing.assert_array_equal(MADE["cutout"], np.where(gone[..., None], 0, SAME))
    rows, columns = gone.any(2), gone.any(1)
    # a rectangle: wherever its rows and columns cross, and in one piece
    np.testing.assert_array_equal(gone, rows[:, :, None] & columns[:, None, :])
    for marked in (rows, columns):
        assert (
            np.abs(np.diff(np.pad(marked, ((0, 0), (1, 1))).astype(int), axis=1)).sum(1) == 2
        ).all()
        assert marked.sum(1).max() == SIZE // 2 and marked.sum(1).min() == SIZE // 4


@pytest.mark.parametrize("kind", ["translation", "cutout"])
def test_the_same_key_does_the_same_to_other_images(kind):
    other = RNG.normal(size=SAME.shape).astype(np.float32)
    sum_made = np.asarray(augment(KEY, SAME + other, (kind,)))
    np.testing.assert_allclose(
        sum_made, MADE[kind] + np.asarray(augment(KEY, other, (kind,))), atol=1e-5
    )


@pytest.mark.slow
@pytest.mark.parametrize("kinds", [("translation",), ("cutout",), ("color",), tuple(KINDS)])
def test_gradients_come_back_to_the_image(kinds):
    few = SAME[:8]
    gradients = np.asarray(jax.grad(lambda x: augment(KEY, x, kinds).sum())(few))
    assert np.isfinite(gradients).all() and (np.abs(gradients).sum((1, 2, 3)) > 0).all()
    if kinds == ("translation",):  # one for every pixel that is still there
        np.testing.assert_array_equal(
            gradients.sum((1, 2, 3)),
            (np.asarray(augment(KEY, np.ones_like(few), kinds)) > 0).sum((1, 2, 3)),
        )
    if kinds == ("cutout",):
        np.testing.assert_array_equal(
            gradients, (np.asarray(augment(KEY, few, kinds)) > 0).astype(np.float32)
        )


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="color, translation, cutout, flip, got 'colour'"):
        augment(KEY, SAME[:1], ("translation", "colour"))
