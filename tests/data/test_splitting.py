"""Drawn splits: disjoint, complete, by class, the same for the same seed.

Classes too rare are left out of all of them.
"""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from natra_jax.data import Split, from_arrays
from natra_jax.data.splitting import at_most, complete, select, stratified, without_rare
from natra_jax.types import UserError
from tests.helpers import few_examples

SHARES = {"val": 0.1, "test": 0.2}
NAMES = [f"class {i}" for i in range(50)]


def draw(label, seed=0, shares=SHARES):
    return stratified(np.asarray(label), shares, seed, "train", NAMES, "here")


labels = st.lists(st.integers(3, 40), min_size=1, max_size=6).flatmap(
    lambda counts: st.permutations(
        [value for value, count in enumerate(counts) for _ in range(count)]
    )
)


@few_examples
@given(label=labels, seed=st.integers(0, 2**31 - 1))
def test_every_example_is_in_one_split_and_every_class_in_every_split_by_its_share(label, seed):
    parts, label = draw(label, seed), np.array(label)
    assert list(parts) == ["train", "val", "test"]
    np.testing.assert_array_equal(
        np.sort(np.concatenate(list(parts.values()))), np.arange(len(label))
    )
    counts = np.bincount(label)
    for name, share in SHARES.items():
        assert (np.diff(parts[name]) > 0).all()
        of_class = np.bincount(label[parts[name]], minlength=len(counts))
        assert (of_class >= 1).all() and (np.abs(of_class - share * counts) <= 1).all()
    assert (np.bincount(label[parts["train"]], minlength=len(counts)) >= 1).all()


@few_examples
@given(label=labels, seed=st.integers(0, 2**31 - 1), more=st.integers(3, 9))
def test_the_draw_of_a_class_does_not_depend_on_the_others(label, seed, more):
    label = np.array(label)
    with_more = np.concatenate([label, np.full(more, label.max() + 1)])
    for name, index in draw(label, seed).items():
        again = draw(with_more, seed)[name]
        np.testing.assert_array_equal(again[again < len(label)], index)


def test_seeds_decide_and_orders_differ():
    label = np.repeat([0, 1], 50)
    first, again, other = draw(label, 1), draw(label, 1), draw(label, 2)
    np.testing.assert_array_equal(first["test"], again["test"])
    assert set(first["test"]) != set(other["test"])
    assert set(first["test"][first["test"] < 50]) != set(first["test"][first["test"] >= 50] - 50)


def test_large_shares_leave_something_to_train_on():
    parts = draw([0] * 3 + [1] * 4, shares={"val": 0.45, "test": 0.5})
    assert [len(parts[name]) for name in ("train", "val", "test")] == [1 + 2, 1 + 1, 1 + 1]


@pytest.mark.parametrize("count,said", [(1, "1 image"), (2, "2 images")])
def test_a_class_that_cannot_be_in_every_split_is_named(count, said):
    with pytest.raises(
        UserError, match=f"^here: class 'class 1' has {said}, but train, val, test need one each: "
    ):
        draw([0] * 5 + [1] * count)


def test_only_what_is_missing_is_drawn():
    train, test = (
        Split(np.arange(20), np.repeat([0, 1], 10)),
        Split(np.arange(3), np.zeros(3, np.int32)),
    )
    given_splits = {"train": train, "test": test}
    splits = complete(given_splits, NAMES, SHARES, 0, "here")
    assert splits["test"] is test and set(splits) == {"train", "val", "test"}
    assert (
        sorted([*splits["train"].image[:], *splits["val"].image[:]]) == list(range(20))
        and len(splits["val"].label) == 2
    )
    assert complete(splits, NAMES, SHARES, 0, "here") is splits


@few_examples
@given(label=st.lists(st.integers(0, 5), min_size=12, max_size=60), least=st.integers(1, 8))
def test_classes_of_fewer_examples_are_left_out_and_the_others_numbered_in_order(label, least):
    label = np.array(label, np.int32)
    counts = np.bincount(label, minlength=6)
    kept = [value for value in range(6) if counts[value] >= least]
    splits = {
        "train": Split(100 + np.arange(len(label)), label),
        "test": Split(np.arange(6), np.arange(6, dtype=np.int32)),
    }
    if len(kept) < 2:
        with pytest.raises(
            UserError, match=f"^here: fewer than two classes have the {least} images each "
        ):
            without_rare(splits, NAMES[:6], least, "here", {})
        return
    left, names = without_rare(splits, NAMES[:6], least, "here", {})
    assert names == tuple(NAMES[value] for value in kept)
    assert left["test"].image[:].tolist() == kept and left["test"].label.tolist() == list(
        range(len(kept))
    )
    expected = [(100 + i, kept.index(value)) for i, value in enumerate(label) if value in kept]
    assert (
        list(zip(left["train"].image[:].tolist(), left["train"].label.tolist(), strict=True))
        == expected
    )
    assert left["train"].label.dtype == np.int32


def test_a_class_without_examples_is_a_mistake_where_none_is_left_out():
    splits = {"train": Split(np.arange(4), np.array([0, 0, 2, 2]))}
    with pytest.raises(
        UserError, match="^here: class 'class 1' has no image to train on: .*data.min_per_class=1"
    ):
        without_rare(splits, NAMES[:3], 0, "here", {})


def test_a_split_that_loses_all_is_named():
    splits = {
        "train": Split(np.arange(5), np.array([0, 0, 1, 1, 2])),
        "test": Split(np.arange(2), np.array([2, 2])),
    }
    with pytest.raises(
        UserError, match="^here: no image of test is of a class that is trained on: "
    ):
        without_rare(splits, NAMES[:3], 2, "here", {})


@few_examples
@given(
    counts=st.lists(st.integers(0, 6), min_size=2, max_size=6),
    drawn=st.sets(st.sampled_from(sorted(SHARES))),
    least=st.integers(0, 8),
)
def test_advice_that_is_followed_ends_in_splits_or_in_the_need_of_images(counts, drawn, least):
    label = np.repeat(np.arange(len(counts)), counts).astype(np.int32)
    shares = {name: SHARES[name] for name in drawn}
    for _ in range(2):
        try:
            splits = {"train": Split(np.zeros((len(label), 1, 1, 1), np.uint8), label)}
            left, names = without_rare(splits, NAMES[: len(counts)], least, "here", shares)
            assert set(complete(left, names, shares, 0, "here")) == {"train", *drawn}
            return
        except UserError as error:
            said = str(error)
        advice = re.search(r"min_per_class=(\d+)$|lower it to (\d+) or less$", said)
        if advice is None:
            needed = 1 + len(drawn)
            assert said.endswith(f"give each class {needed} image{'s' * (needed > 1)} at least")
            assert sum(count >= needed for count in counts) < 2
            return
        least = int(advice[1] or advice[2])
    raise AssertionError(f"advice leads to no end: {said}")


def test_arrays_are_not_told_of_a_field_that_they_do_not_have():
    label = np.array([0] * 5 + [1] * 5 + [2])
    with pytest.raises(
        UserError, match="^from_arrays: train: class '2' has 1 image, .* add images$"
    ):
        from_arrays((np.zeros((11, 4, 4, 3), np.uint8), label))


def test_arrays_on_disk_stay_there_when_examples_are_chosen(tmp_path):
    np.save(tmp_path / "images.npy", np.arange(24).reshape(6, 4))
    images = np.load(tmp_path / "images.npy", mmap_mode="r")
    chosen = select(Split(images, np.arange(6)), np.array([4, 1]))
    assert not isinstance(chosen.image, np.ndarray) and chosen.label.tolist() == [4, 1]
    np.testing.assert_array_equal(chosen.image[np.array([1, 0])], images[[1, 4]])


@few_examples
@given(
    counts=st.lists(st.integers(1, 9), min_size=2, max_size=4),
    most=st.integers(1, 9),
    seed=st.integers(0, 5),
)
def test_no_class_has_more_than_the_most_and_none_loses_what_it_need_not(counts, most, seed):
    label = np.repeat(np.arange(len(counts)), counts).astype(np.int32)
    whole = Split(np.arange(len(label), dtype=np.uint8).reshape(-1, 1, 1, 1), label)
    some = at_most(whole, most, seed)
    assert np.bincount(some.label).tolist() == [min(count, most) for count in counts]
    numbers = some.image[:].ravel()
    assert (np.diff(numbers) > 0).all() and (label[numbers] == some.label).all()
    np.testing.assert_array_equal(at_most(whole, most, seed).image[:], some.image[:])


def test_all_examples_are_kept_where_nothing_bounds_them():
    whole = Split(np.zeros((4, 1, 1, 1), np.uint8), np.array([0, 0, 0, 1], np.int32))
    assert at_most(whole, 0, 0) is whole and at_most(whole, 3, 0) is whole
