"""Colour digits: who is in which split, what is tied to the label where, how they are painted."""

import colorsys
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from natra_jax.data import digits
from tests.helpers import few_examples

SIZES = {"train": 960, "val_iid": 240, "val_shift": 240, "test_iid": 597, "test_shift": 597}
RENDERINGS, WILD = 2, 3


def load(seed=0):
    return digits.load(seed=seed, renderings=RENDERINGS, wild_per_image=WILD, name="digits")


source = cache(load)


@pytest.fixture
def painted_grey(monkeypatch):
    """The source with the grey digit where its painting would be."""

    def grey(gray, factors):
        images = np.repeat(np.rint(255 * gray)[..., None], 3, axis=3)
        return images.astype(np.uint8)

    monkeypatch.setattr(digits, "paint", grey)
    return load()


def contents(images):
    return {image.tobytes() for image in images}


def test_splits_have_the_documented_sizes_shapes_and_types():
    assert source().num_classes == 10 and source().classes == tuple("0123456789")
    assert {name: len(split.label) for name, split in source().splits.items()} == SIZES
    for split in [*source().splits.values(), source().domain]:
        assert (
            split.image.dtype == np.uint8
            and split.image.shape == (len(split.label), 16, 16, 3)
            and split.label.dtype == np.int32
        )
    assert len(source().domain.label) == WILD * SIZES["train"]
    assert {name: views.shape for name, views in source().renderings.items()} == {
        name: (count, RENDERINGS, 16, 16, 3) for name, count in SIZES.items() if name != "train"
    }


def test_splits_are_stratified():
    shares = (
        np.bincount(
            np.concatenate(
                [source().splits[name].label for name in ("train", "val_iid", "test_iid")]
            )
        )
        / 1797
    )
    for split in source().splits.values():
        np.testing.assert_allclose(np.bincount(split.label), shares * len(split.label), atol=1.5)


def test_no_digit_is_in_two_of_train_validation_and_test_and_all_digits_are_in_one(painted_grey):
    train, val, test = (
        contents(painted_grey.splits[name].image) for name in ("train", "val_iid", "test_iid")
    )
    assert not train & val and not train & test and not val & test
    assert len(train | val | test) > 1790  # of 1797, a few of which may look the same at 8 bits


def test_both_kinds_of_a_split_and_its_renderings_show_the_same_digits(painted_grey):
    for part in ("val", "test"):
        iid, shift = painted_grey.splits[f"{part}_iid"], painted_grey.splits[f"{part}_shift"]
        np.testing.assert_array_equal(iid.image, shift.image)
        np.testing.assert_array_equal(iid.label, shift.label)
        for kind in ("iid", "shift"):
            for view in range(RENDERINGS):
                np.testing.assert_array_equal(
                    painted_grey.renderings[f"{part}_{kind}"][:, view], iid.image
                )


def test_the_generators_domain_is_made_of_every_training_digit_and_no_other(painted_grey):
    train = painted_grey.splits["train"]
    assert contents(painted_grey.domain.image) == contents(train.image)
    label_of = {
        image.tobytes(): label for image, label in zip(train.image, train.label, strict=True)
    }
    assert all(
        label_of[image.tobytes()] == label
        for image, label in zip(painted_grey.domain.image, painted_grey.domain.label, strict=True)
    )


def test_an_object_of_the_generators_domain_is_a_digit_and_each_is_shown_as_often(painted_grey):
    objects = painted_grey.domain_object
    shown = {
        (one, image.tobytes())
        for one, image in zip(objects.tolist(), painted_grey.domain.image, strict=True)
    }
    assert len(shown) == SIZES["train"]
    assert np.unique(objects, return_counts=True)[1].tolist() == [WILD] * SIZES["train"]


def test_renderings_of_an_example_differ():
    for views in source().renderings.values():
        assert np.all(np.any(views[:, 0] != views[:, 1], axis=(1, 2, 3)))


def test_more_renderings_change_neither_the_splits_nor_the_first_ones(monkeypatch):
    monkeypatch.setattr(digits, "_RENDERINGS_BETWEEN", RENDERINGS)
    more = digits.load(seed=0, renderings=RENDERINGS + 2, wild_per_image=WILD)
    for name, split in source().splits.items():
        np.testing.assert_array_equal(more.splits[name].image, split.image)
    np.testing.assert_array_equal(more.domain.image, source().domain.image)
    for name, views in more.renderings.items():
        np.testing.assert_array_equal(views[:, :RENDERINGS], source().renderings[name])
        later = views[:, RENDERINGS:]
        assert np.all(np.any(later[:, 0] != later[:, 1], axis=(1, 2, 3)))
        assert np.all(np.any(later[:, 0] != views[:, 0], axis=(1, 2, 3)))


def hues(images):
    """Return (hue of the stroke, hue of the ground) of each image [N, H, W, 3].

    They are read off its brightest pixel and its upper left corner.
    """
    brightest = images.reshape(len(images), -1, 3)[
        np.arange(len(images)), images.reshape(len(images), -1, 3).max(2).argmax(1)
    ]
    return np.array(
        [
            [colorsys.rgb_to_hsv(*(pixel / 255))[0] for pixel in pixels]
            for pixels in (brightest, images[:, 0, 0])
        ]
    )


def concentration(turns, label):
    """Return the mean over the classes of the resultant length of their hues.

    It is 1 where the class fixes the hue, near 0 where it tells nothing.
    """
    return np.mean([np.abs(np.exp(2j * np.pi * turns[label == c]).mean()) for c in range(10)])


@pytest.mark.parametrize("name", [*SIZES, "wild"])
def test_colours_are_tied_to_the_label_exactly_in_the_biased_splits(name):
    split = source().domain if name == "wild" else source().splits[name]
    for turns in hues(split.image):
        tied = concentration(turns, split.label)
        if name in ("wild", "val_shift", "test_shift"):
            assert tied < 0.4
            counts = np.histogram(turns, bins=6, range=(0, 1))[0]
            assert counts.min() > 0.4 * counts.mean(), "all hues occur"
        else:
            assert tied > 0.9


@pytest.mark.parametrize("name", ["val_iid", "test_shift"])
def test_renderings_are_tied_as_their_split_is(name):
    views, label = source().renderings[name], source().splits[name].label
    tied = concentration(hues(views[:, 1])[0], label)
    assert tied > 0.9 if name == "val_iid" else tied < 0.4


def test_biased_factors_lie_in_the_promised_ranges_and_uniform_ones_are_independent():
    label = np.repeat(np.arange(10), 200)
    biased = digits.biased_factors(np.random.default_rng(0), label)
    centres = np.stack([label / 10, 3 * label / 10 + 0.05, 7 * label / 10], axis=1)
    away = (biased[:, :3] - centres + 0.5) % 1 - 0.5
    assert np.abs(away).max() <= 0.05 + 1e-9 and np.abs(away).max() > 0.045
    assert (
        biased.min() >= 0
        and biased[:, :3].max() < 1
        and biased[:, 3].min() >= 0.25
        and biased[:, 3].max() <= 0.75
    )
    free = digits.uniform_factors(np.random.default_rng(0), label)
    assert free.shape == (2000, 4) and free.min() >= 0 and free.max() < 1
    for factor in free.T:
        assert concentration(factor, label) < 0.15
        np.testing.assert_allclose(np.histogram(factor, bins=5, range=(0, 1))[0], 400, atol=80)


def test_the_same_seed_gives_the_same_bytes_and_another_one_another_split():
    again, other = load(), load(seed=1)
    for name, split in source().splits.items():
        np.testing.assert_array_equal(again.splits[name].image, split.image)
        np.testing.assert_array_equal(again.splits[name].label, split.label)
    np.testing.assert_array_equal(again.domain.image, source().domain.image)
    np.testing.assert_array_equal(again.renderings["test_shift"], source().renderings["test_shift"])
    assert np.any(other.splits["test_iid"].label != source().splits["test_iid"].label)


@few_examples
@given(hue=st.floats(0, 1, exclude_max=True), saturation=st.floats(0, 1), value=st.floats(0, 1))
def test_hsv_to_rgb_is_colorsys(hue, saturation, value):
    np.testing.assert_allclose(
        digits.hsv_to_rgb(np.array([hue]), saturation, value)[0],
        colorsys.hsv_to_rgb(hue, saturation, value),
        atol=1e-12,
    )


def test_paint_mixes_ink_and_ground_by_coverage_under_the_light():
    gray = np.zeros((1, 16, 16))
    gray[0, :, 8:] = 1.0
    gray[0, 8, 8] = 0.5
    unlit = digits.paint(gray, np.array([[0.3, 0.7, 0.0, 0.0]]))[0]
    ink, ground = (
        255 * np.array(colorsys.hsv_to_rgb(h, 0.85, v)) for h, v in ((0.3, 0.95), (0.7, 0.40))
    )
    np.testing.assert_allclose(unlit[0, 0], ground, atol=0.51)
    np.testing.assert_allclose(unlit[15, 15], ink, atol=0.51)
    np.testing.assert_allclose(unlit[8, 8], (ink + ground) / 2, atol=0.51)
    # from the left to the right at an angle of 0: the right side stays, the left receives less,
    # and a side at most 60 % less
    lit = digits.paint(np.ones((1, 16, 16)), np.array([[0.3, 0.7, 0.0, 1.0]]))[0] / 255
    brightness = lit.max(2)
    assert np.all(np.diff(brightness, axis=1) >= 0) and brightness[0, 0] < brightness[0, -1] <= 0.95
    diagonal = digits.paint(np.ones((1, 16, 16)), np.array([[0.3, 0.7, 0.125, 1.0]]))[0].max(2)
    np.testing.assert_allclose(diagonal[0, 0] / diagonal[-1, -1], 0.4, atol=0.01)
