"""ResNet-50 under torchvision's names and under those of AdvBN's authors.

What torchvision's network answers: test_resnet.
"""

import jax
import numpy as np
import pytest

from natra_jax.classifiers import ResNet, adversarial, clean, has_auxiliary
from natra_jax.types import UserError
from natra_jax.weights.converters import resnet50
from natra_jax.weights.tensors import Tensors
from tests.classifiers import torchvision_nets as theirs

STATE = theirs.resnet_state()
PERTURBED = theirs.resnet_state(seed=1)  # whose BatchNorm are the twins
ARGUMENTS = {"num_classes": theirs.CLASSES, "widths": theirs.WIDTHS, "blocks": theirs.BLOCKS}


def convert(state):
    return resnet50.convert(Tensors(state, resnet50.NAME), {})


def as_in(state, twins, behind):
    """The state dict with the twins' BatchNorm in every stage from `behind` on."""
    of_twins = {
        name
        for name in state
        if name.startswith("layer")
        and int(name[5]) > behind
        and (".bn" in name or "downsample.1" in name)
    }
    return state | {name: twins[name] for name in of_twins}


def test_the_variables_are_those_of_the_network_that_the_options_describe():
    options, variables, notes = convert(STATE)
    assert options == ARGUMENTS and notes == () and not has_auxiliary(variables)
    wanted = jax.eval_shape(
        lambda: ResNet(**options).init(jax.random.key(0), np.zeros((1, 32, 32, 3), np.float32))
    )
    assert jax.tree.map(np.shape, variables) == jax.tree.map(lambda leaf: leaf.shape, dict(wanted))
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(variables))


@pytest.mark.parametrize("cut", [1, 2])
def test_advbns_network_is_torchvisions_with_twins_behind_its_layer(cut):
    assert resnet50.recognises(set(theirs.advbn_names(cut, STATE, PERTURBED)))
    options, variables, (note,) = convert(theirs.advbn_names(cut, STATE, PERTURBED))
    assert options == ARGUMENTS and has_auxiliary(variables) and "twins" in note
    same = lambda a, b: jax.tree.map(np.testing.assert_array_equal, a, b)  # noqa: E731
    same(clean(variables), convert(STATE).params)
    same(adversarial(variables), convert(as_in(STATE, PERTURBED, behind=1)).params)


def test_others_are_not_taken_for_it():
    assert resnet50.recognises(set(STATE))
    basic = {name for name in STATE if "conv3" not in name and "bn3" not in name}
    for names in (basic, set(theirs.of_golden()), set()):
        assert not resnet50.recognises(names)


def without(*endings):
    return {name: None for name in STATE if name.endswith(endings)}


DAMAGED = {
    "missing": ({"layer2.1.bn2.running_var": None}, "layer2.1.bn2.running_var is missing"),
    "left over": ({"layer5.0.conv1.weight": np.ones((2, 2, 1, 1))}, "layer5.0.conv1.weight"),
    "with a gap between blocks": (
        {"layer4.2.conv1.weight": np.ones((4, 16, 1, 1))},
        "layer4.2.conv1.weight",
    ),
    "with a block of an absurd number": (
        {f"layer4.{'9' * 5000}.conv1.weight": np.ones(1)},
        "tensors that ResNet-50 has no place for",
    ),
    "wide within": (
        {"layer1.0.conv2.weight": np.ones((4, 2, 3, 3))},
        r"layer1.0.conv2.weight is \[4, 2, 3, 3\], expected \[2, 2, 3, 3\]",
    ),
    "of another rank": ({"layer1.0.conv1.weight": np.ones(3)}, r"layer1.0.conv1.weight is \[3\]"),
    "empty": ({"fc.weight": np.ones((0, 16))}, r"fc.weight is \[0, 16\]"),
    "not finite": (
        {"bn1.weight": np.full(2, np.inf)},
        "bn1.weight holds values that are not finite",
    ),
    "without a shortcut": (
        without("layer2.0.downsample.0.weight"),
        "layer2.0.downsample.0.weight is missing",
    ),
}


@pytest.mark.parametrize("what", DAMAGED)
def test_tensors_that_do_not_fit_are_named(what):
    changes, line = DAMAGED[what]
    with pytest.raises(UserError, match=line):
        convert({name: array for name, array in (STATE | changes).items() if array is not None})


@pytest.mark.parametrize(
    "name",
    [
        "head.layer3_0.adv_bn1.weight",
        "head.layer2_0.downsample.adv_bn.running_mean",
        "feature_x.1.bias",
    ],
)
def test_a_twin_that_is_missing_is_named(name):
    state = theirs.advbn_names(1, STATE, PERTURBED)
    del state[name]
    with pytest.raises(UserError, match=f"{name} is missing"):
        convert(state)
