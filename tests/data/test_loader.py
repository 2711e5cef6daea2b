"""Batches by step: each example at most once an epoch, a new order every epoch, the same for the same seed, whatever came before."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from natra_jax.data import batches, to_float
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
@given(sizes=sizes, seed=st.integers(0, 2**31 - 1), steps=st.lists(st.integers(0, 30), min_size=1, max_size=4))
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
    np.testing.assert_array_equal(batch["image"], to_float(data["image"][index]))
    assert [batch[name].dtype for name in ("image", "label", "codes")] == [np.float32, np.int32, np.float32]
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
    return {"image": np.ones((count, 2, 2, 3), np.float32) * index[:, None, None, None], "label": index, "codes": index[:, None]}


@few_examples
@given(sizes=sizes, seed=st.integers(0, 2**31 - 1), step=st.integers(0, 100), draws=st.integers(1, 3))
def test_partners_are_other_examples_with_all_of_their_arrays(sizes, seed, step, draws):
    count, size = sizes
    batch = batches(tagged(count), size, seed, partners=Partners(("image", "label", "codes"), draws))(step)
    partners = batch["partner_label"]
    assert partners.shape == (size, draws) and batch["partner_image"].shape == (size, draws, 2, 2, 3)
    assert partners.min() >= 0 and partners.max() < count
    if count > 1:
        assert np.all(partners != batch["index"][:, None])
    else:
        np.testing.assert_array_equal(partners, np.zeros((1, draws)), "alone, an example is its own partner")
    np.testing.assert_array_equal(batch["partner_image"], np.broadcast_to(partners[..., None, None, None], batch["partner_image"].shape))
    np.testing.assert_array_equal(batch["partner_codes"], partners[..., None])


def test_partners_are_converted_as_the_examples_are():
    data = arrays(6)
    batch = batches(data, 3, 0, partners=PARTNERS)(0)
    assert batch["partner_image"].dtype == np.float32 and batch["partner_image"].shape == (3, 2, 2, 2, 3)
    every = to_float(data["image"])
    assert all(np.any(np.all(every == image, axis=(1, 2, 3))) for image in batch["partner_image"].reshape(-1, 2, 2, 3))


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
    return {(step, i): tuple(p) for step, b in made for i, p in zip(b["index"].tolist(), b["partner_label"].tolist(), strict=True)}


def test_partners_depend_on_seed_step_and_example_alone_and_not_on_the_batch():
    few, many, others = partners_of(3, 10, range(30), 60), partners_of(3, 20, range(30), 60), partners_of(4, 20, range(30), 60)
    shared = few.keys() & many.keys()
    assert len(shared) > 50 and all(few[key] == many[key] for key in shared)
    shared = many.keys() & others.keys()
    assert len(shared) > 100 and sum(many[key] == others[key] for key in shared) < 3, "another seed, other partners"
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
        assert stats.chi2.ppf(0.001, cells - 1) < np.square(seen - expected).sum() / expected < stats.chi2.ppf(0.999, cells - 1)
    # the two of one example are drawn apart from one another
    assert (pairs[:, 0] == pairs[:, 1]).sum() < 40 and abs(np.corrcoef(offsets.T)[0, 1]) < 4 / np.sqrt(len(pairs))
