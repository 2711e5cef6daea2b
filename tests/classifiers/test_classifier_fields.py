"""The config fields of classifiers: a value that cannot work is one line that names the field and
says what it must be.
"""

import pytest

from natra_jax import config as experiment
from natra_jax.experiments import smoke
from natra_jax.stages import classifier
from natra_jax.types import UserError

WRONG = {
    "classifier.dtype": ("half", "float32, bfloat16"),
    "classifier.vgg16.norm": ("group", "none, batch"),
    "classifier.vgg16.dense": ((8, 0), "up to 64 whole numbers from 1 to 65536, or empty"),
    "classifier.vgg16.widths": ((8,) * 4, "5 whole numbers from 1 to 65536"),
    "classifier.resnet18.widths": ((8, 8, 8, 0.5), "4 whole numbers from 1 to 65536"),
    "classifier.resnet18.blocks": ((2, 2, 2), "4 whole numbers from 1 to 200"),
    "classifier.wide_resnet.depth": (28, "6 n + 2 for a whole n from 1 to 200, such as 32"),
    "classifier.wide_resnet.width": (0, "at least 1"),
    "classifier.wide_resnet.norm": ("layer", "batch, group"),
    "classifier.widths": ((), "up to 64 whole numbers from 1 to 65536"),
}


def config(**fields):
    c = smoke.get_config()
    c.update_from_flattened_dict(fields)
    return c


@pytest.mark.parametrize("field", WRONG)
def test_a_value_that_cannot_work_is_named_with_what_would(field):
    value, wanted = WRONG[field]
    with pytest.raises(UserError) as error:
        experiment.validate(config(**{field: value}), device_count=1)
    line = str(error.value)
    assert (
        line.startswith(f"config field {field} is {value!r}")
        and wanted in line
        and "\n" not in line
    )


@pytest.mark.parametrize("depth", [2, -4, 31])
def test_depths_that_have_no_units_or_parts_of_one_are_refused(depth):
    with pytest.raises(UserError, match=f"classifier.wide_resnet.depth is {depth}"):
        experiment.validate(config(**{"classifier.wide_resnet.depth": depth}), device_count=1)


FIELDS = {
    "vgg16": {
        "classifier.vgg16.dense": (),
        "classifier.vgg16.norm": "batch",
        "classifier.vgg16.widths": (2, 3, 4, 5, 6),
    },
    "resnet18": {
        "classifier.resnet18.widths": (2, 3, 4, 5),
        "classifier.resnet18.blocks": (1, 2, 1, 2),
    },
    "wide_resnet": {
        "classifier.wide_resnet.depth": 8,
        "classifier.wide_resnet.width": 3,
        "classifier.wide_resnet.norm": "group",
    },
}


@pytest.mark.parametrize("name", FIELDS)
def test_the_network_is_the_one_that_the_fields_describe(name):
    c = config(**{"classifier.name": name, "classifier.dtype": "bfloat16"} | FIELDS[name])
    experiment.validate(c, device_count=1)
    network = classifier.builder(c, 3)(None)
    for field, value in FIELDS[name].items():
        assert getattr(network, field.rpartition(".")[2]) == value
    assert network.dtype == "bfloat16" and network.num_classes == 3
    described = {"classifier.name", "classifier.dtype", *FIELDS[name]}
    assert set(classifier.named_fields(c)) == described
    assert classifier.builder(c, 3) == classifier.builder(c, 3), "so that nothing is traced twice"
