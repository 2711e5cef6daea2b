"""ResNet-18 under torchvision's names. What torchvision's network answers: test_resnet."""

import jax
import numpy as np
import pytest

from natra_jax.classifiers import build
from natra_jax.types import UserError
from natra_jax.weights import classifiers
from natra_jax.weights.converters import resnet18, resnet50
from natra_jax.weights.tensors import Tensors
from tests.classifiers import torchvision_nets as theirs

STATE = theirs.resnet_state(basic=True)


def convert(state):
    return resnet18.convert(Tensors(state, resnet18.NAME), {})


def test_the_variables_are_those_of_the_network_that_the_options_describe():
    options, variables, notes = convert(STATE)
    assert (
        options == {"num_classes": theirs.CLASSES, "widths": theirs.WIDTHS, "blocks": theirs.BLOCKS}
        and notes == ()
    )
    wanted = jax.eval_shape(
        lambda: build("resnet18", **options).init(
            jax.random.key(0), np.zeros((1, 32, 32, 3), np.float32)
        )
    )
    assert jax.tree.map(np.shape, variables) == jax.tree.map(lambda leaf: leaf.shape, dict(wanted))
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(variables))


def test_bottlenecks_are_not_taken_for_it_nor_it_for_them():
    bottlenecks = theirs.resnet_state()
    assert resnet18.recognises(set(STATE)) and resnet50.recognises(set(bottlenecks))
    assert not resnet50.recognises(set(STATE))
    for names in (
        bottlenecks,
        theirs.advbn_names(1, bottlenecks, bottlenecks),
        theirs.of_golden(),
        {},
    ):
        assert not resnet18.recognises(set(names))


DAMAGED = {
    "missing": ({"layer2.1.bn2.running_var": None}, "layer2.1.bn2.running_var is missing"),
    "left over": (
        {"layer1.0.downsample.0.weight": np.ones((2, 2, 1, 1))},
        "layer1.0.downsample.0.weight",
    ),
    "wide within": (
        {"layer2.0.conv2.weight": np.ones((4, 3, 3, 3))},
        r"layer2.0.conv2.weight is \[4, 3, 3, 3\], expected \[3, 3, 3, 3\]",
    ),
    "without a shortcut": (
        {"layer3.0.downsample.0.weight": None},
        "layer3.0.downsample.0.weight is missing",
    ),
}


@pytest.mark.parametrize("what", DAMAGED)
def test_tensors_that_do_not_fit_are_named(what):
    changes, line = DAMAGED[what]
    with pytest.raises(UserError, match=line):
        convert({name: array for name, array in (STATE | changes).items() if array is not None})


def test_a_file_of_the_other_depth_is_refused_by_its_path(tmp_path):
    np.savez(tmp_path / "18.npz", **STATE)
    assert classifiers.load(tmp_path / "18.npz", "resnet18").arguments == convert(STATE).arguments
    with pytest.raises(UserError, match=r"18.npz: its tensors \(bn1.bias, .* are no ResNet-50's"):
        classifiers.load(tmp_path / "18.npz", "resnet50")
    np.savez(tmp_path / "50.npz", **theirs.resnet_state())
    with pytest.raises(UserError, match=r"50.npz: its tensors \(bn1.bias, .* are no ResNet-18's"):
        classifiers.load(tmp_path / "50.npz", "resnet18")
