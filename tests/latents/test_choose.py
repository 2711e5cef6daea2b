"""A person's choice of directions: by names, by numbers, by a file that they edited."""

import json

import numpy as np
import pytest
from etils import epath

from natra_jax.latents.choose import select
from natra_jax.latents.saved import save
from natra_jax.types import UserError
from tests.helpers import linear_generator, oblique_directions

FOUND = oblique_directions(linear_generator(4, 5), count=4)._replace(
    names=("hue", "light", "tilt", "size"), method="umap"
)


def assert_chosen(chosen, numbers, names):
    assert chosen.names == names
    for field in ("vectors", "sigma", "mask", "useful"):
        np.testing.assert_array_equal(getattr(chosen, field), getattr(FOUND, field)[numbers])
    np.testing.assert_array_equal(chosen.mean, FOUND.mean)
    assert (chosen.generator_fingerprint, chosen.method) == ("linear", "umap")


@pytest.mark.parametrize("choice", ["tilt,0", " 2 , hue ", "tilt,hue,"])
def test_names_and_numbers_choose_in_their_order(choice):
    assert_chosen(select(FOUND, choice), [2, 0], ("tilt", "hue"))


@pytest.mark.parametrize(
    "choice, complaint",
    [
        ("ligth", r"no direction 'ligth' \(did you mean light\?\)"),
        ("hue,4", r"no direction '4' \(valid: 0 hue, 1 light, 2 tilt, 3 size\)"),
        ("-1", "no direction '-1'"),
        ("9" * 5000, "no direction '9+"),
        ("hue,1,0", "direction 0, hue, is chosen twice"),
        (" , ", "chooses no direction: name some of 0 hue, 1 light"),
        (
            "nowhere/mine.json",
            "nowhere/mine.json: cannot be read .No such file",
        ),
    ],
)
def test_a_choice_that_is_not_there_is_a_users_error_of_one_line(choice, complaint):
    with pytest.raises(UserError, match=complaint) as error:
        select(FOUND, choice)
    assert "\n" not in str(error.value)


@pytest.fixture
def copy(tmp_path):
    """What of directions.json an edit makes, as a file of the user's own: a function of the edit
    that returns its path.
    """
    save(FOUND, epath.Path(tmp_path))

    def edited(edit):
        readable = json.loads((tmp_path / "directions.json").read_text())
        path = tmp_path / "mine.json"
        path.write_text(json.dumps(edit(readable)))
        return str(path)

    return edited


def test_a_file_sets_useful_ranges_and_leaves_those_that_it_does_not_give(copy):
    def edit(readable):
        readable["directions"][1]["useful"] = 2.5
        return readable

    measured = FOUND._replace(useful=np.array([np.inf, 1.0, 3.0, np.inf]))
    np.testing.assert_array_equal(select(measured, copy(edit)).useful, [np.inf, 2.5, 3.0, np.inf])
    for wrong in (-1, 1e300, "far", True):
        with pytest.raises(UserError, match=r"direction 0 has a useful|directions\[0\].useful: "):
            select(
                measured,
                copy(
                    lambda readable, wrong=wrong: {"directions": [{"number": 0, "useful": wrong}]}
                ),
            )


def test_a_file_chooses_orders_and_renames_by_number(copy):
    def edit(readable):
        hue, _, tilt, size = readable["directions"]
        tilt["name"] = " slant "
        return readable | {"directions": [size, tilt, hue]}

    assert_chosen(select(FOUND, copy(edit)), [3, 2, 0], ("size", "slant", "hue"))
    # the least that a file may say; a name may be that of a direction which is not chosen
    assert_chosen(
        select(
            FOUND, copy(lambda _: {"directions": [{"number": 1, "name": "hue"}, {"number": 3}]})
        ),
        [1, 3],
        ("hue", "size"),
    )


def with_first(**changes):
    """An edit that changes the first entry."""
    return lambda readable: (
        readable
        | {"directions": [readable["directions"][0] | changes, *readable["directions"][1:]]}
    )


@pytest.mark.parametrize(
    "edit, complaint",
    [
        (
            lambda readable: readable | {"generator_fingerprint": "other"},
            r"made for another generator \(other, not linear\)",
        ),
        (lambda readable: readable | {"directions": []}, "chooses no direction"),
        (lambda readable: {"named": []}, "Object missing required field directions"),
        (lambda readable: [1], "Expected object, got array"),
        (lambda readable: {"directions": [3]}, r"directions\[0\]: Expected object, got int"),
        (lambda readable: {"directions": [{"name": "hue"}]}, "missing required field number"),
        (with_first(number=4), "no direction has the number 4: valid are 0 hue, 1 light"),
        (with_first(number=1, sigma=None), "direction 1, light, or its name, is there twice"),
        (with_first(name="tilt"), "direction 2, tilt, or its name, is there twice"),
        (
            with_first(number=1),
            "direction 1 has a sigma of .* there and .* here: it belongs to other directions",
        ),
        (with_first(sigma="wide"), r"directions\[0\].sigma: Expected float"),
        (with_first(useful=1e300), r"direction 0 has a useful range of 1e\+300: it is null"),
        (with_first(name="\x1b[2J\u202e,"), r"is named '\\x1b\[2J\\u202e,': a name is"),
        (
            with_first(name="a,b"),
            "is named 'a,b': a name is a text that is no number and has no comma",
        ),
        (with_first(name="3"), "is named '3'"),
        (with_first(name=" "), "is named ' '"),
    ],
)
def test_files_that_say_what_cannot_be_are_a_users_error_of_one_line(edit, complaint, copy):
    path = copy(edit)
    with pytest.raises(UserError, match=complaint) as error:
        select(FOUND, path)
    assert path in str(error.value) and "\n" not in str(error.value)


def test_a_file_that_was_cut_off_is_a_users_error(copy, tmp_path):
    path = copy(lambda readable: readable)
    (tmp_path / "mine.json").write_text((tmp_path / "mine.json").read_text()[:-9])
    with pytest.raises(
        UserError, match=r"mine.json: cannot be read \(it is no JSON: .*like directions/directions"
    ):
        select(FOUND, path)
