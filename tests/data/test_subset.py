"""Views of arrays: they answer as the arrays would, and read no more than they are asked for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from natra_jax.data import Concat, Subset
from tests.helpers import few_examples


class Watched:
    """An array that keeps which of its rows were read."""

    def __init__(self, array):
        self.array, self.shape, self.dtype, self.read = array, array.shape, array.dtype, []

    def __len__(self):
        return len(self.array)

    def __getitem__(self, rows):
        self.read += np.arange(len(self))[rows].tolist()
        return self.array[rows]


def numbers(count, first=0):
    return np.arange(first, first + 2 * count).reshape(count, 2)


def slices(count):
    ends = st.none() | st.integers(-count - 2, count + 2)
    return st.builds(slice, ends, ends, st.none() | st.sampled_from([1, 2, 3, -1, -2]))


def rows_of(count):
    return slices(count) | st.lists(st.integers(0, count - 1), max_size=9).map(
        lambda rows: np.array(rows, np.int64)
    )


@few_examples
@given(data=st.data(), count=st.integers(1, 12))
def test_rows_are_the_array_at_their_index(data, count):
    index = data.draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=9).map(np.array))
    array = numbers(count)
    view = Subset(array, index)
    rows = data.draw(rows_of(len(index)))
    assert len(view) == len(index) and view.shape == (len(index), 2) and view.dtype == array.dtype
    np.testing.assert_array_equal(view[rows], array[index][rows])


@few_examples
@given(data=st.data(), counts=st.lists(st.integers(1, 6), min_size=1, max_size=4))
def test_joined_arrays_are_their_concatenation(data, counts):
    arrays = [numbers(count, 100 * i) for i, count in enumerate(counts)]
    whole, joined = np.concatenate(arrays), Concat(arrays)
    rows = data.draw(rows_of(len(whole)))
    assert len(joined) == len(whole) and joined.shape == whole.shape and joined.dtype == whole.dtype
    np.testing.assert_array_equal(joined[rows], whole[rows])


def test_only_what_is_asked_for_is_read():
    first, second = Watched(numbers(10)), Watched(numbers(10, 50))
    view = Concat([Subset(first, np.array([7, 2, 5])), second])
    assert not first.read and not second.read
    view[np.array([1, 4])]
    assert first.read == [2] and second.read == [1]


def test_arrays_of_other_shapes_or_types_are_not_joined():
    for other in (np.zeros((3, 3), int), np.zeros((3, 2), np.float32)):
        with pytest.raises(ValueError, match="cannot be one"):
            Concat([numbers(3), other])
