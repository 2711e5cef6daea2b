"""The family of a state dict, and what is said where it is of none, of several, or does not fit."""

import json

import jax
import numpy as np
import pytest

from natra_jax import weights
from natra_jax.generators import GENERATORS
from natra_jax.types import UserError
from natra_jax.weights.families import FAMILIES
from tests.classifiers import torchvision_nets
from tests.weights import made


def test_every_family_has_its_generator():
    stylegans = {"stylegan1", "stylegan2_nv", "stylegan2_rosinality"}
    biggans = {"biggan", "biggan_deep", "biggan_deep_hf"}
    assert set(FAMILIES) == {"dcgan", "progan"} | stylegans | biggans
    assert {family.generator for family in FAMILIES.values()} == set(GENERATORS) - {"style_small"}


def test_a_state_dict_becomes_a_generator_and_its_parameters():
    generator, params = weights.from_state_dict(made.dcgan())
    assert (generator.family, generator.resolution, generator.num_layers) == ("dcgan", 16, 1)
    images = generator.synthesize(params, np.zeros((2, 1, 5), np.float32))
    assert images.shape == (2, 16, 16, 3)
    assert weights.from_state_dict(made.dcgan(), family="dcgan")[0] is generator


@pytest.mark.parametrize("prefix", ["", "p/"])
def test_an_npz_of_a_familys_names_may_carry_the_constructors_arguments(prefix, tmp_path):
    tensors = {prefix + name: array for name, array in made.dcgan().items()}
    path = tmp_path / "dcgan.npz"
    np.savez(path, **tensors, config=json.dumps({"nz": 5}))
    assert weights.load(path)[0] is weights.from_state_dict(made.dcgan())[0]
    np.savez(path, **tensors, config=json.dumps({"nz": 6}))
    with pytest.raises(UserError, match="nz"):
        weights.load(path)


@pytest.mark.parametrize(
    "tensors", [{}, {"a": np.zeros(3)}, {"conv1.weight": np.zeros((3, 3)), "fc.bias": np.zeros(3)}]
)
def test_names_that_no_family_has_are_refused(tensors):
    with pytest.raises(UserError, match="of no generator known here: there are stylegan2_nv, "):
        weights.from_state_dict(tensors)


def test_a_classifier_is_told_where_it_belongs():
    with pytest.raises(
        UserError, match="are a VGG-16's, no generator's: config fields train.init_from and "
    ):
        weights.from_state_dict(torchvision_nets.of_golden())


SMALL = {"dcgan": made.dcgan, "rosinality": made.rosinality, "hugging_face": made.hugging_face}


@pytest.mark.parametrize(("value", "dtype"), [(1e300, "f8"), (3e38, "f4"), (1e-44, "f4")])
@pytest.mark.parametrize("family", SMALL)
def test_numbers_at_the_edges_are_read_or_refused_without_a_warning(family, value, dtype):
    found = SMALL[family]()
    tensors, config = found if isinstance(found, tuple) else (found, None)
    names = sorted(name for name, array in tensors.items() if array.dtype.kind == "f")
    for name in names[:: max(1, len(names) // 12)]:
        changed = tensors | {name: np.full(tensors[name].shape, value, dtype)}
        try:
            _, params = weights.from_state_dict(changed, config)
        except UserError as error:
            assert "\n" not in str(error)
        else:
            assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params)), name
            assert value != 1e300, name


def test_an_unknown_family_is_refused():
    with pytest.raises(UserError, match="--family=dcgam: must be one of auto, "):
        weights.from_state_dict(made.dcgan(), family="dcgam")


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_checkpoint_of_another_family_is_refused_by_name(family):
    if family != "dcgan":
        with pytest.raises(UserError, match=f"as {family}: "):
            weights.from_state_dict(made.dcgan(), family=family)
