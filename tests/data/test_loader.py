"""Batches by step: each example at most once an epoch, a new order every epoch.

They are the same for the same seed, whatever came before.
"""

import grain
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from natra_jax.data import batches, to_float
from natra_jax.data.loader import labelled
from natra_jax.types import Partners, UserError
from tests.helpers import few_examples


def arrays(count, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "image": rng.integers(0, 256, (count, 2, 2, 3), np.uint8),
        "label": rng.integers(0, 10, count).astype(np.int32),
        "codes": rng.normal(size=(count, 3, 4)).astype(np.float32),
    }


sizes = st.integers(1, 30).flatmap(lambda count: st.tuples(st.just(count), st.integers(1, count)))


@few_examples
@given(sizes=sizes, seed=st.integers(0, 2**31 - 1))
def test_an_epoch_shows_every_example_at_most_once(sizes, seed):
    count, size = sizes
    batch_at, epoch = batches(arrays(count), size, seed), count // size
    for first in (0, epoch, 5 * epoch):
        shown = np.concatenate([batch_at(first + i)["index"] for i in range(epoch)])
        assert len(shown) == epoch * size == len(np.unique(shown))
        assert shown.min() >= 0 and shown.max() < count


def test_epochs_differ_in_order_and_in_what_they_leave_out():
    batch_at = batches(arrays(23), 5, 0)
    epochs = [np.concatenate([batch_at(4 * e + i)["index"] for i in range(4)]) for e in range(6)]
    assert len({tuple(epoch) for epoch in epochs}) == 6
    assert len({tuple(sorted(epoch)) for epoch in epochs}) > 1
    assert set(np.concatenate(epochs)) == set(range(23))


@few_examples
@given(
    sizes=sizes,
    seed=st.integers(0, 2**31 - 1),
    steps=st.lists(st.integers(0, 30), min_size=1, max_size=4),
)
def test_a_batch_depends_on_seed_and_step_alone(sizes, seed, steps):
    count, size = sizes
    data = arrays(count)
    sequential, random_access = batches(data, size, seed), batches(data, size, seed)
    in_order = {step: sequential(step) for step in range(max(steps) + 1)}
    for step in steps:
        batch = random_access(step)
        for name, values in in_order[step].items():
            np.testing.assert_array_equal(batch[name], values)


def test_other_seeds_give_other_orders():
    orders = {tuple(batches(arrays(30), 30, seed)(0)["index"]) for seed in range(5)}
    assert len(orders) == 5


def test_every_array_is_read_at_the_batchs_index_even_from_a_memory_map(tmp_path):
    data = arrays(12)
    for name, array in data.items():
        np.save(tmp_path / name, array)
    mapped = {name: np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in data}
    batch = batches(mapped, 4, 3)(7)
    index = batch["index"]
    assert index.dtype == np.int32 and set(batch) == {"image", "label", "codes", "index"}
    np.testing.assert_array_equal(batch["label"], data["label"][index])
    np.testing.assert_array_equal(batch["codes"], data["codes"][index])
    np.testing.assert_array_equal(batch["image"], data["image"][index])
    assert [batch[name].dtype for name in ("image", "label", "codes")] == [
        np.uint8,
        np.int32,
        np.float32,
    ]
    assert not any(isinstance(value, np.memmap) for value in batch.values())


def test_to_float_spans_minus_one_to_one_and_inverts():
    every = np.arange(256, dtype=np.uint8)
    floats = to_float(every)
    assert floats.dtype == np.float32 and floats[0] == -1 and floats[255] == 1
    np.testing.assert_allclose(floats, every / 127.5 - 1, atol=1e-6)
    np.testing.assert_array_equal(np.rint((floats + 1) * 127.5), every)


def test_a_batch_larger_than_the_data_is_refused():
    with pytest.raises(UserError, match="train.batch_size is 5, but there are only 4 examples"):
        batches(arrays(4), 5, 0, "train.batch_size")


PARTNERS = Partners(("image", "label", "codes"), 2)


def tagged(count):
    """Arrays that all tell the example's index."""
    index = np.arange(count)
    return {
        "image": np.ones((count, 2, 2, 3), np.float32) * index[:, None, None, None],
        "label": index,
        "codes": index[:, None],
    }


@few_examples
@given(
    sizes=sizes, seed=st.integers(0, 2**31 - 1), step=st.integers(0, 100), draws=st.integers(1, 3)
)
def test_partners_are_other_examples_with_all_of_their_arrays(sizes, seed, step, draws):
    count, size = sizes
    batch = batches(
        tagged(count), size, seed, partners=Partners(("image", "label", "codes"), draws)
    )(step)
    partners = batch["partner_label"]
    assert partners.shape == (size, draws) and batch["partner_image"].shape == (
        size,
        draws,
        2,
        2,
        3,
    )
    assert partners.min() >= 0 and partners.max() < count
    if count > 1:
        assert np.all(partners != batch["index"][:, None])
    else:
        np.testing.assert_array_equal(
            partners, np.zeros((1, draws)), "alone, an example is its own partner"
        )
    np.testing.assert_array_equal(
        batch["partner_image"],
        np.broadcast_to(partners[..., None, None, None], batch["partner_image"].shape),
    )
    np.testing.assert_array_equal(batch["partner_codes"], partners[..., None])


def test_partners_are_examples_too():
    data = arrays(6)
    batch = batches(data, 3, 0, partners=PARTNERS)(0)
    assert batch["partner_image"].dtype == np.uint8 and batch["partner_image"].shape == (
        3,
        2,
        2,
        2,
        3,
    )
    assert all(
        np.any(np.all(data["image"] == image, axis=(1, 2, 3)))
        for image in batch["partner_image"].reshape(-1, 2, 2, 3)
    )


def test_only_the_arrays_asked_for_have_partners_and_the_order_of_the_data_stays():
    data = arrays(11)
    plain, mixed = batches(data, 4, 5), batches(data, 4, 5, partners=Partners(("label",), 1))
    for step in (0, 1, 7):
        batch = mixed(step)
        assert set(batch) == {*plain(step), "partner_label"}
        for name, values in plain(step).items():
            np.testing.assert_array_equal(batch[name], values)


def partners_of(seed, size, steps, count):
    """{(step, example): its partners}."""
    batch_at = batches(tagged(count), size, seed, partners=Partners(("label",), 2))
    made = ((step, batch_at(step)) for step in steps)
    return {
        (step, i): tuple(p)
        for step, b in made
        for i, p in zip(b["index"].tolist(), b["partner_label"].tolist(), strict=True)
    }


def test_partners_depend_on_seed_step_and_example_alone_and_not_on_the_batch():
    few, many, others = (
        partners_of(3, 10, range(30), 60),
        partners_of(3, 20, range(30), 60),
        partners_of(4, 20, range(30), 60),
    )
    shared = few.keys() & many.keys()
    assert len(shared) > 50 and all(few[key] == many[key] for key in shared)
    shared = many.keys() & others.keys()
    assert len(shared) > 100 and sum(many[key] == others[key] for key in shared) < 3, (
        "another seed, other partners"
    )
    later = [(many[0, i], many[step, i]) for step, i in many if step and (0, i) in many]
    assert len(later) > 100 and sum(a == b for a, b in later) < 3, "and in another step"


def test_partners_are_uniform_over_all_other_examples():
    count = 300
    drawn = partners_of(0, 30, range(100), count)
    pairs = np.array(list(drawn.values()))
    offsets = (pairs - np.array([i for _, i in drawn])[:, None]) % count
    for values, cells in ((offsets.ravel() - 1, count - 1), (pairs.ravel(), count)):
        seen = np.bincount(values, minlength=cells)
        assert len(seen) == cells
        expected = len(values) / cells
        assert (
            stats.chi2.ppf(0.001, cells - 1)
            < np.square(seen - expected).sum() / expected
            < stats.chi2.ppf(0.999, cells - 1)
        )
    # the two of one example are drawn apart from one another
    assert (pairs[:, 0] == pairs[:, 1]).sum() < 40 and abs(
        np.corrcoef(offsets.T)[0, 1]
    ) < 4 / np.sqrt(len(pairs))


def test_the_order_is_that_of_grains_own_batches():
    count, size, seed = 1000, 300, 3
    expected = (
        grain.MapDataset.range(count).seed(seed).shuffle().batch(size, drop_remainder=True).repeat()
    )
    batch_at = batches(tagged(count), size, seed)
    for step in (0, 1, 2, 3, 10):
        np.testing.assert_array_equal(batch_at(step)["index"], expected[step])


shared = st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(0, 9)).map(
    lambda s: (s[0], s[0] * s[1], s[0] * s[1] + s[2])
)


@few_examples
@given(shared=shared, seed=st.integers(0, 2**31 - 1), step=st.integers(0, 20))
def test_any_number_of_hosts_reads_the_same_batch_a_share_each(shared, seed, step):
    hosts, size, count = shared
    partners = Partners(("image", "label"), 2)
    whole = batches(tagged(count), size, seed, partners=partners)(step)
    shares = [
        batches(tagged(count), size, seed, partners=partners, host=(host, hosts))(step)
        for host in range(hosts)
    ]
    assert all(len(share["index"]) == size // hosts for share in shares)
    for name, values in whole.items():
        np.testing.assert_array_equal(np.concatenate([share[name] for share in shares]), values)


class Read:
    """An array that remembers which rows were read."""

    def __init__(self, array):
        self.array, self.shape, self.dtype, self.rows = array, array.shape, array.dtype, []

    def __len__(self):
        return len(self.array)

    def __getitem__(self, rows):
        self.rows.extend(rows.tolist())
        return self.array[rows]


def test_in_an_epoch_two_hosts_read_all_examples_and_none_twice():
    images = [Read(np.zeros((60, 2, 2, 3), np.uint8)) for _ in range(2)]
    for host, image in enumerate(images):
        batch_at = batches({"image": image}, 20, 1, host=(host, 2))
        for step in range(3):
            batch_at(step)
    assert [len(image.rows) for image in images] == [30, 30]
    assert sorted(images[0].rows + images[1].rows) == list(range(60))


def test_hosts_that_cannot_share_a_batch_are_refused():
    with pytest.raises(
        UserError,
        match="train.batch_size is 8, which 3 hosts cannot share equally: make it a multiple of 3",
    ):
        batches(arrays(20), 8, 0, "train.batch_size", host=(0, 3))
    for host in ((2, 2), (-1, 2), (0, 0)):
        with pytest.raises(ValueError, match="there is no host"):
            batches(arrays(20), 8, 0, host=host)


@few_examples
@given(
    count=st.integers(2, 20),
    share=st.floats(0, 1),
    seed=st.integers(0, 2**31 - 1),
    step=st.integers(0, 20),
)
def test_partners_are_labelled_where_some_examples_are_not(count, share, seed, step):
    labelled = 1 + round(share * (count - 1))
    batch = batches(
        tagged(count), count, seed, partners=Partners(("label",), 3), partners_of=labelled
    )(step)
    partners, index = batch["partner_label"], batch["index"][:, None]
    assert partners.min() >= 0 and partners.max() < labelled
    assert np.all((partners != index) | (labelled == 1))


def test_an_example_without_a_label_meets_every_labelled_one():
    batch_at = batches(tagged(40), 40, 0, partners=Partners(("label",), 2), partners_of=5)
    met = np.zeros((40, 5), int)
    for step in range(30):
        batch = batch_at(step)
        np.add.at(met, (batch["index"][:, None], batch["partner_label"]), 1)
    assert met[5:].min() > 0 and np.all(met.sum(1) == 60)
    of_unlabelled = met[5:].sum(0)
    assert np.abs(of_unlabelled / of_unlabelled.mean() - 1).max() < 0.15


def test_where_all_are_labelled_the_draws_are_the_same_as_without_saying_so():
    partners = Partners(("label",), 2)
    plain, said = (
        batches(tagged(50), 20, 4, partners=partners),
        batches(tagged(50), 20, 4, partners=partners, partners_of=50),
    )
    for step in (0, 3):
        np.testing.assert_array_equal(plain(step)["partner_label"], said(step)["partner_label"])


@pytest.mark.parametrize("candidates", [0, 51])
def test_partners_among_none_or_more_than_there_are_is_a_mistake(candidates):
    with pytest.raises(ValueError, match=f"the first {candidates} of 50 examples"):
        batches(tagged(50), 20, 4, partners=PARTNERS, partners_of=candidates)


def test_labelled_examples_are_counted_and_have_to_stand_in_front():
    assert [labelled(np.array(label)) for label in ([], [-1, -1], [0, 3, -1], [2, 0])] == [
        0,
        0,
        2,
        2,
    ]
    with pytest.raises(ValueError, match="must stand behind"):
        labelled(np.array([0, -1, 1]))
