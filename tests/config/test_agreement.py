"""Fields that have to agree with one another, and with the generator, before anything is read."""

import pytest

from natra_jax.config import validate
from natra_jax.experiments import folder, smoke
from natra_jax.resolve import resolve
from natra_jax.types import UserError
from natra_jax.weights.generator_config import describe
from tests.data import photos
from tests.helpers import linear_generator
from tests.weights import made


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("grey")
    for name in ("cat", "dog"):
        for i in range(5):
            shade = photos.grey(9 + i, 16, 16)[..., 0]
            photos.write(place / "grey" / name / f"{i}.png", shade)
    photos.classes(place / "colour", {"cat": 5, "dog": 5})
    made.file("dcgan", place)
    return place


def config(place, kind, **fields):
    """Return the experiment folder on photos; double underscores in fields stand for dots."""
    c = folder.get_config()
    c.data.path = str(place / kind)
    if fields.get("generator__weights"):
        fields["generator__weights"] = str(place / fields["generator__weights"])
        c.generator.family = "auto"
    c.update_from_flattened_dict({name.replace("__", "."): value for name, value in fields.items()})
    return c


@pytest.mark.parametrize(
    "fields, refused",
    [
        (
            {"data__channels": 3, "generator__channels_out": 1},
            "generator.channels_out is 1: its images have 1 channels, those of folder 3: set it to "
            "0, the data's, or set data.channels=1",
        ),
        (
            {"data__channels": 1, "generator__channels_out": 3},
            "generator.channels_out is 3: its images have 3 channels, those of folder 1: set it to "
            "0, the data's, or set data.channels=3",
        ),
        (
            {"data__channels": 1, "generator__weights": "dcgan"},
            "dcgan': its images have 3 channels, those of folder 1: take a generator of 1 "
            "channels, or set data.channels=3",
        ),
        (
            {"data__resolution": 8, "generator__weights": "dcgan"},
            "dcgan': its images have 16 pixels a side, those of folder 8: take a generator of 8 "
            "pixels a side, or set data.resolution=16",
        ),
        (
            {"data__resolution": 8, "generator__resolution": 16},
            "generator.resolution is 16: its images have 16 pixels a side, those of folder 8: set "
            "it to 0, the data's, or set data.resolution=16",
        ),
    ],
)
def test_a_generator_of_other_images_than_the_data_is_refused(place, fields, refused):
    with pytest.raises(UserError) as error:
        validate(resolve(config(place, "colour", **fields)), 1)
    assert str(error.value).startswith("config field generator.") and refused in str(error.value)
    assert "\n" not in str(error.value)


def test_what_cannot_be_changed_is_not_advised():
    c = smoke.get_config()
    c.generator.channels_out = 1
    with pytest.raises(UserError, match="of digits 3: set it to 0, the data's$"):
        validate(resolve(c), 1)
    c.data.channels = 1
    with pytest.raises(UserError, match="data.channels is 1: digits are of 3 channels$"):
        resolve(c)


@pytest.mark.parametrize("kind, fields, channels", [
    ("grey", {}, 1),
    ("colour", {}, 3),
    ("grey", {"generator__channels_out": 3}, 3),
    ("colour", {"generator__channels_out": 1}, 1),
    ("grey", {"generator__weights": "dcgan"}, 3),
    ("grey", {"data__channels": 3}, 3),
])  # fmt: skip
def test_channels_that_are_left_open_are_the_generators(place, kind, fields, channels):
    c = resolve(config(place, kind, **fields))
    assert c.data.channels == channels == describe(c.generator).channels
    assert validate(c, 1).channels == channels


def test_channels_that_are_left_open_are_those_of_a_grey_checkpoint(place, monkeypatch):
    grey = linear_generator(1, 2, resolution=16, channels=1)
    monkeypatch.setattr("natra_jax.inputs.Inputs.generator", lambda self, c: grey)
    assert resolve(config(place, "colour", generator__weights="dcgan")).data.channels == 1


@pytest.mark.parametrize("choice", ["3", "0, 7", "hue,99999999999", "9" * 5000, "\u0669"])
def test_a_number_beyond_the_directions_that_are_sought_is_refused(choice):
    c = smoke.get_config()
    c.directions.num, c.screening.choose = 3, choice
    with pytest.raises(UserError, match="screening.choose is .*numbers below 3, .*num=3") as error:
        validate(resolve(c), 1)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("choice", ["", "0,2", "hue", "pca7_layers0-1,1", "-1"])
def test_names_and_numbers_that_may_be_found_are_taken(choice):
    c = smoke.get_config()
    c.directions.num, c.screening.choose = 3, choice
    validate(resolve(c), 1)


def test_each_range_of_layers_has_its_own_directions():
    c = smoke.get_config()
    c.directions.update(num=3, layers=((0, 1), (1, 2)))
    c.screening.choose = "5"
    validate(resolve(c), 1)
    c.screening.choose = "6"
    with pytest.raises(UserError, match="numbers below 6"):
        validate(resolve(c), 1)
