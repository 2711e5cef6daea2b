"""Digits on photographs: which digits and photographs are where, what is tied to the label."""

import hashlib
import importlib.util
from functools import cache

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from natra_jax.data import digits_on_photos, photographs
from natra_jax.data.digits_on_photos import biased_factors, effective_factors, uniform_factors
from natra_jax.data.survey import survey
from natra_jax.experiments import digits_on_photos as experiment
from natra_jax.types import UserError

SIZES = {"train": 3000, "val_iid": 600, "val_shift": 600, "test_iid": 1400, "test_shift": 1400}
RENDERINGS, WILD = 2, 1


def load(seed=0, renderings=RENDERINGS, wild_per_image=WILD):
    return digits_on_photos.load(
        seed=seed, renderings=renderings, wild_per_image=wild_per_image, path=""
    )


source = cache(load)


@cache
def shown(seed=0, renderings=RENDERINGS, wild_per_image=WILD):
    """{part: (coverage of its digits, names of its photographs, places)} as `load` renders them."""
    seen = []

    def note(coverage, names, factors):
        photos = {names[i] for i in np.unique(factors.photograph)}
        seen.append((coverage, photos, factors.place))
        return np.zeros((len(coverage), 32, 32, 3), np.uint8)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digits_on_photos, "render", note)
        load(seed, renderings, wild_per_image)
    order = ("train", "val_iid", "val_shift", "val_views", "test_iid", "test_shift", "test_views")
    return dict(zip((*order, "wild"), seen, strict=True))


def contents(images):
    return {image.tobytes() for image in images}


def of_one_digit(names, count, index, **fixed):
    """Images of one digit, all else uniform or fixed."""
    coverage, label = photographs.digits()
    chosen = np.full(count, index)
    factors = uniform_factors(np.random.default_rng(0), label[chosen], len(names))
    factors = factors._replace(**fixed)
    return digits_on_photos.render(coverage[chosen], names, factors)


def test_splits_have_the_documented_sizes_shapes_and_types_and_are_stratified():
    assert source().classes == tuple("0123456789")
    assert {name: len(split.label) for name, split in source().splits.items()} == SIZES
    for split in [*source().splits.values(), source().domain]:
        assert split.image.dtype == np.uint8 and split.label.dtype == np.int32
        assert split.image.shape == (len(split.label), 32, 32, 3)
        assert set(np.bincount(split.label)) == {len(split.label) // 10}
        values = np.concatenate([split.image.min((1, 2, 3)), split.image.max((1, 2, 3))])
        assert values.min() == 0 and values.max() == 255, "the whole range is used"
    assert len(source().domain.label) == WILD * SIZES["train"]
    objects = source().domain_object
    assert np.unique(objects, return_counts=True)[1].tolist() == [WILD] * SIZES["train"]
    assert len({*zip(objects, source().domain.label, strict=True)}) == SIZES["train"]
    assert {name: views.shape for name, views in source().renderings.items()} == {
        name: (SIZES[name], RENDERINGS, 32, 32, 3) for name in ("val_shift", "test_shift")
    }


def test_no_digit_is_in_two_of_train_validation_and_test_and_all_digits_are_in_one():
    parts = {name: contents(coverage) for name, (coverage, *_) in shown().items()}
    assert parts["val_iid"] == parts["val_shift"] == parts["val_views"]
    assert parts["test_iid"] == parts["test_shift"] == parts["test_views"]
    assert parts["wild"] == parts["train"]
    train, val, test = (parts[name] for name in ("train", "val_iid", "test_iid"))
    assert not train & val and not train & test and not val & test
    assert len(train | val | test) == 5000


def test_photographs_of_the_shifted_splits_are_in_no_other_split():
    names = {name: photos for name, (_, photos, _) in shown().items()}
    assert names["train"] == names["val_iid"] == names["test_iid"] == names["wild"]
    assert names["train"] == set(photographs.TRAIN) and len(names["train"]) == 10
    assert names["val_shift"] == names["val_views"] == set(photographs.VALIDATION)
    assert names["test_shift"] == names["test_views"] == set(photographs.TEST)
    assert not names["train"] & (names["val_shift"] | names["test_shift"])
    assert not names["val_shift"] & names["test_shift"]


def of_mean_colour(fitted, measured):
    """Accuracy of the linear classifier of mean colours that is fitted on one of two splits."""
    judge = LinearDiscriminantAnalysis()
    judge.fit(fitted.image.mean((1, 2)), fitted.label)
    return judge.score(measured.image.mean((1, 2)), measured.label)


def test_the_mean_colour_tells_the_digit_exactly_in_the_biased_splits():
    splits = source().splits
    assert of_mean_colour(splits["train"], splits["test_iid"]) > 0.9
    assert of_mean_colour(splits["train"], splits["test_shift"]) < 0.2
    assert of_mean_colour(splits["test_shift"], splits["val_shift"]) < 0.2
    assert of_mean_colour(source().domain, source().domain) < 0.2


def test_biased_factors_have_a_photograph_for_each_digit_and_neither_patch_nor_much_blur():
    label = np.repeat(np.arange(10), 50)
    biased = biased_factors(np.random.default_rng(0), label, 10)
    free = uniform_factors(np.random.default_rng(0), label, 10)
    np.testing.assert_array_equal(biased.photograph, label)
    assert not biased.patch.any() and biased.blur.max() < 0.4 < free.blur.max()
    assert set(free.photograph) == set(range(10)) and 0 < np.mean(free.patch > 0) < 1
    for of_both in ("tint", "exposure"):
        tied, whole = getattr(biased, of_both), getattr(free, of_both)
        within = np.mean([tied[label == digit].std(0) for digit in range(10)], axis=0)
        assert np.all(within < 0.4 * whole.std(0))
        assert np.all(whole.min(0) - 0.05 < tied) and np.all(tied < whole.max(0) + 0.05)


@pytest.mark.parametrize("names", [photographs.TRAIN, photographs.TEST], ids=["train", "test"])
def test_images_of_one_digit_vary_in_thirty_directions_at_least(names):
    ratios = [effective_factors(of_one_digit(names, 200, index)) for index in range(0, 5000, 1000)]
    assert np.mean(ratios) >= 30


def test_the_participation_ratio_counts_directions():
    rng = np.random.default_rng(0)
    images = np.zeros((400, 8, 8))
    images[:, 0, :5] = rng.normal(size=(400, 5))
    np.testing.assert_allclose(effective_factors(images), 5, rtol=0.03)
    images[:, 0, 0] *= 1000
    np.testing.assert_allclose(effective_factors(images), 1, rtol=0.03)
    many = rng.normal(size=(200, 3000))
    np.testing.assert_allclose(effective_factors(many), 3000, rtol=0.1)


@pytest.mark.parametrize("index", [3, 700, 4100])
def test_renderings_keep_the_ink(index):
    coverage, _ = photographs.digits()
    views = of_one_digit(photographs.TEST, 200, index, shift=np.zeros((200, 2), int))
    mask = np.pad(coverage[index], 2).astype(float).ravel()
    brightness = views.mean(-1).reshape(len(views), -1)
    correlation = np.array([np.corrcoef(view, mask)[0, 1] for view in brightness])
    assert np.mean(correlation > 0.15) > 0.95 and np.median(correlation) > 0.4
    assert np.corrcoef(brightness.mean(0), mask)[0, 1] > 0.9
    assert len(contents(views)) == len(views)


def test_a_patch_hides_a_fifth_of_the_ink_at_most():
    coverage, label = photographs.digits()
    names = photographs.TRAIN
    factors = uniform_factors(np.random.default_rng(0), label[:300], len(names))
    factors = factors._replace(patch=np.full(300, 8), shift=np.zeros((300, 2), int))
    ink = np.pad(coverage[:300], ((0, 0), (2, 2), (2, 2)))
    with_patch = digits_on_photos.render(coverage[:300], names, factors)
    without = digits_on_photos.render(
        coverage[:300], names, factors._replace(patch=np.zeros(300, int))
    )
    hidden = np.any(with_patch != without, axis=-1)
    assert np.all((hidden * ink).sum((1, 2)) <= 0.2 * ink.sum((1, 2)))
    assert np.mean(hidden.any((1, 2))) > 0.9


def test_ink_inverts_the_ground_and_is_mostly_lighter():
    """Without blur, light and contrast an image is the ground, or one minus it."""
    coverage = np.zeros((4, 28, 28), np.uint8)
    coverage[1::2, 10:18] = 255
    plain = uniform_factors(np.random.default_rng(0), np.zeros(4, int), 10)
    first = [0, 0, 2, 2]
    same = digits_on_photos.Factors(*(factor[first] for factor in plain))._replace(
        tint=np.ones((4, 3)), exposure=np.ones(4), contrast=np.ones(4), gradient=np.zeros(4),
        blur=np.zeros(4), patch=np.zeros(4, int), shift=np.zeros((4, 2), int),
    )  # fmt: skip
    images = digits_on_photos.render(coverage, photographs.TRAIN, same).astype(int)
    ground, inked = images[::2, 12:20, 2:30], images[1::2, 12:20, 2:30]
    assert np.abs(ground + inked - 255).max() <= 1
    assert np.mean(inked > ground) > 0.8 and ground.max() <= 153


def test_the_same_seed_gives_the_same_bytes_on_every_machine_and_another_one_other_splits():
    digest = hashlib.sha256()
    for name, split in source().splits.items():
        digest.update(name.encode() + split.image[:50].tobytes() + split.label.tobytes())
    digest.update(source().domain.image[:50].tobytes())
    digest.update(source().renderings["test_shift"][:50].tobytes())
    assert digest.hexdigest()[:16] == GOLDEN
    more = shown(renderings=3, wild_per_image=2)
    for name in SIZES:
        np.testing.assert_array_equal(more[name][2], shown()[name][2])
    assert contents(shown(1)["test_iid"][0]) != contents(shown(0)["test_iid"][0])


GOLDEN = "a5c035aa9423ca73"


def test_the_survey_says_what_the_source_delivers():
    found = survey(experiment.get_config().data)
    assert found.count == sum(SIZES[name] for name in ("train", "val_iid", "test_iid"))
    assert found.resolution == found.typical_side() == 32 and not found.is_grey()
    assert found.identity == {"files": photographs.identity()}


@pytest.mark.parametrize("package", ["mlxtend", "skimage"])
def test_a_missing_package_is_one_line_that_says_what_to_install(package, monkeypatch):
    there = importlib.util.find_spec
    monkeypatch.setattr(
        photographs, "find_spec", lambda name: None if name == package else there(name)
    )
    photographs.texture.cache_clear()
    with pytest.raises(UserError) as error:
        load()
    assert "\n" not in str(error.value) and f"{package}/" in str(error.value)
    assert "pip install 'natra_jax[photos]'" in str(error.value)
