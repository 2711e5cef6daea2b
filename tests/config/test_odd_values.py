"""Every field takes every odd value: it is valid, or refused in one line."""

from functools import cache
from math import inf, nan

import pytest
from ml_collections import ConfigDict

from natra_jax import methods
from natra_jax.config import check_names, flatten, validate
from natra_jax.config.field import by_name
from natra_jax.config.fields import FIELDS
from natra_jax.data.survey import survey
from natra_jax.experiments import smoke
from natra_jax.inputs import Inputs
from natra_jax.resolve import resolve
from natra_jax.types import UserError

NUMBERS = (inf, -inf, nan, -1, 0, 0.5, 1, 1e308, 5e-324, 10**30, -(10**30), 10**400, 2**31, 1j)
VALUES = (
    *(*NUMBERS, True, "", "x", " ", b"x", None),
    *((), [], [0, 1], {}, {"x": 1}),
    *((value,) for value in (*NUMBERS[:8], 10**30, True, "", "x", None, (), [], {})),
)


@cache
def base():
    c = smoke.get_config()
    c.methods = (*methods.METHODS, "natra+advbn")
    return flatten(c)


def nested(fields):
    c = {}
    for name, value in fields.items():
        *sections, last = name.split(".")
        inner = c
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[last] = value
    return ConfigDict(c)


@pytest.fixture(scope="module")
def accepted():
    """Return (config) -> whether it is valid; data and generators are looked at once."""
    digits, inputs, described = survey(nested(base()).data), Inputs(), {}

    def describe(c):
        key = repr(sorted(flatten(c).items()))
        if key not in described:
            described[key] = inputs.generator(c)
        return described[key]

    def check(config):
        try:
            check_names(config)
            found = digits if config.data.name == "digits" else survey(config.data)
            validate(resolve(config, found, inputs), 1, describe)
        except UserError as error:
            line = str(error)
            assert "\n" not in line and len(line) < 1000, line
            return False
        return True

    return check


@pytest.mark.parametrize("name", by_name(FIELDS))
def test_a_field_takes_no_value_that_ends_in_a_traceback(accepted, name):
    found = {repr(value): accepted(nested({**base(), name: value})) for value in VALUES}
    for number in (inf, -inf, nan, 1e308, 10**30, -(10**30), 10**400):
        assert not found[repr(number)] and not found.get(repr((number,)))
    assert not any(found[repr(value)] for value in (None, [], [0, 1], b"x", 1j, (None,), ([],)))


def test_an_empty_judge_is_not_the_directory_that_one_is_in(accepted):
    assert accepted(nested(base()))
    assert not accepted(nested(base() | {"screening.judge": ""}))
