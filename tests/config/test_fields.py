"""The table of config fields: complete, with defaults that pass their own checks."""

import pytest
from ml_collections import ConfigDict

from natra_jax import config as experiment
from natra_jax.classifiers.norm import GroupNorm
from natra_jax.config import help as field_help
from natra_jax.config.field import Field, by_name
from natra_jax.config.fields import FIELDS
from natra_jax.experiments import base
from natra_jax.types import UserError

TABLE = by_name(FIELDS)


@pytest.mark.parametrize("name", TABLE)
def test_every_field_has_help_and_a_default_that_its_check_accepts(name):
    field = TABLE[name]
    assert field.help and field.help == field.help.strip() and "\n" not in field.help
    field.valid.require(name, field.default)
    is_number = isinstance(field.default, int | float) and not isinstance(field.default, bool)
    assert field.valid.words or not is_number, "a number has a range"


def test_defaults_are_those_of_the_table_in_its_order():
    def names(config: ConfigDict, prefix=""):
        for name, value in config.to_dict().items():
            if isinstance(value, dict):
                yield from names(config[name], f"{prefix}{name}.")
            else:
                yield prefix + name

    config = base.get_config()
    assert sorted(names(config)) == sorted(TABLE)
    for name, value in experiment.flatten(config).items():
        assert (type(value), value) == (type(TABLE[name].default), TABLE[name].default)
    config.name = "changed"
    assert base.get_config().name == "", "every call makes a config of its own"


def test_help_shows_every_field_once_with_the_value_of_the_experiment():
    config = base.get_config()
    config.train.steps = 7
    rows = [row for section in field_help.sections(config) for row in section]
    assert sorted(name.partition("=")[0] for name, _ in rows) == sorted(TABLE)
    shown = dict(rows)
    assert "train.steps=7" in shown and shown["generator.resolution=0"].endswith(
        "[pixels; at least 0]"
    )
    assert shown["data.fit=crop"].endswith("[crop | pad | stretch]")


def test_help_says_which_widths_group_normalisation_takes():
    rows = [row for section in field_help.sections(base.get_config()) for row in section]
    (meaning,) = (text for name, text in rows if name.startswith("classifier.widths="))
    assert f"multiples of {GroupNorm.groups} where norm is group" in meaning


REFUSED = {
    "parallel": ("pmpa", "did you mean pmap?"),
    "data.validation_share": (1.0, "above 0 and below 1"),
    "data.held_out": (-1, "at least 0"),
    "data.covers": (("cat", "cat"), "names of classes"),
    "data.channels": (2, "3 for RGB, 1 for grey, or 0 for what suits"),
    "data.resolution": (4, "at least 8 pixels, or 0 for what suits"),
    "data.name": ("digit", "one of digits, digits_on_photos, folder, tfds:NAME, arrays"),
    "generator.augment": (("blur",), "a tuple of color, translation, cutout, flip, or empty"),
    "generator.adversarial.ema": (1.0, "at least 0 and below 1"),
    "directions.neighbors": (1, "at least 2"),
    "classifier.vgg16.dense": ((0,), "up to 64 whole numbers from 1 to 65536, or empty"),
    "classifier.resnet18.blocks": ((2, 2), "4 whole numbers from 1 to 200"),
    "screening.multiples": ((2.0, 1.0), "numbers that rise from above 0"),
    "train.clean_ratio": (float("nan"), "from 0 to 1"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_value_out_of_range_is_one_line_that_says_the_range(name):
    value, wanted = REFUSED[name]
    with pytest.raises(UserError) as error:
        TABLE[name].valid.require(name, value)
    line = str(error.value)
    assert line.startswith(f"config field {name} is {value!r}") and line.rstrip(")").endswith(
        wanted
    )


def test_names_of_fields_are_unique_and_sections_hold_fields_alone():
    def entries(section):
        for entry in section.values():
            if isinstance(entry, Field):
                yield entry
            else:
                yield from entries(entry)

    assert len(list(entries(FIELDS))) == len(TABLE)
