"""The figure of what is reached against its cost: where dots and names stand, what is left out."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from natra_jax.report import build, cost
from natra_jax.types import Record
from tests.helpers import few_examples

PLACES = st.dictionaries(st.text("abcdefgh", min_size=1, max_size=3), st.floats(0, 900), min_size=1)


def table(**values):
    records = [
        Record(method, seed, "test_shift", "worst64", value, 597, None, None, "")
        for method, of_seeds in values.items()
        for seed, value in enumerate(of_seeds)
    ]
    return build(records, list(values))


def test_a_dot_for_each_method_with_passes():
    shown = table(original=(0.0, 0.01), random=(0.6, 0.7), natra=(0.9, 0.91), judge=(1.0,))
    passes = {"original": 0.14, "random": 0.32, "natra": 1.0, "another": 3.0}
    png = cost.cost_dots(shown, "test_shift", "worst64", passes, "natra = 1")
    pixels = Image.open(io.BytesIO(png)).convert("RGB")
    colours = {colour for _, colour in pixels.getcolors(1 << 20)}
    assert (0x00, 0x72, 0xB2) in colours and (0x66, 0x73, 0x82) in colours
    assert png == cost.cost_dots(shown, "test_shift", "worst64", passes, "natra = 1")


@pytest.mark.parametrize("passes", [{}, {"natra": 0.0}])
def test_nothing_to_draw_is_an_error(passes):
    with pytest.raises(ValueError, match="no method has both"):
        cost.cost_dots(table(natra=(0.9, 0.91)), "test_shift", "worst64", passes, "")
    with pytest.raises(ValueError, match="no worst16"):
        cost.cost_dots(table(natra=(0.9, 0.91)), "test_shift", "worst16", {"natra": 1.0}, "")


def test_one_method_alone_is_drawn():
    assert cost.cost_dots(table(natra=(0.9,)), "test_shift", "worst64", {"natra": 7.0}, "")


def test_dots_of_one_cost_stand_side_by_side_around_it():
    (group,) = cost._groups({"a": 500.0, "b": 500.0, "c": 500.0})
    assert sum(group.values()) / 3 == 500 and len(set(group.values())) == 3
    assert [[*group] for group in cost._groups({"a": 800.0, "b": 100.0, "c": 180.0})] == [
        ["b", "c"],
        ["a"],
    ]


@few_examples
@given(PLACES)
def test_names_are_a_line_apart_in_the_order_of_their_dots(wanted):
    heights = cost._spread(wanted, 0, 900)
    assert [*heights] == sorted(wanted, key=lambda name: wanted[name])
    places = [*heights.values()]
    assert all(b - a >= cost._LINE - 1e-6 for a, b in zip(places, places[1:], strict=False))
    if len(wanted) * cost._LINE < 900:
        assert places[0] >= -1e-6 and places[-1] <= 900 + 1e-6
