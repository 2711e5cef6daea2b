"""Methods declare the config fields that they read, and no others."""

import pytest
from ml_collections import FrozenConfigDict

from natra_jax import methods
from natra_jax.config import flatten
from tests.methods import made
from tests.recorded import Recorder
from tests.training import small

DECIDING = [  # values by which other fields come to be read
    {},
    {"natra__loss": "mixed"},
    {"natra__start": "persistent"},
    {"random__kind": "normal_w"},
    {"advmix__source": "other"},
]


def reads(name, **fields):
    """The config fields that building the method reads."""
    read = set()
    config = FrozenConfigDict(made.config(**fields).to_dict())
    methods.find(name).build(Recorder(config, read), small.NUM_CLASSES, small.latent())
    return read


@pytest.mark.parametrize("name", (*methods.METHODS, "augment+advbn", "natra+advbn"))
def test_a_method_declares_the_fields_that_it_reads_and_no_others(name):
    declared = {
        field
        for field in flatten(made.config())
        for entry in methods.find(name).fields
        if field == entry or field.startswith(f"{entry}.")
    }
    assert set().union(*(reads(name, **fields) for fields in DECIDING)) == declared


@pytest.mark.parametrize("name", methods.METHODS)
def test_every_field_that_a_method_declares_is_one(name):
    known = flatten(made.config())
    for entry in methods.find(name).fields:
        assert entry in known or any(field.startswith(f"{entry}.") for field in known)
