"""Torchvision's VGG-16 under its names.

Its arguments are read off the tensors; what does not fit is named. Its answers: test_vgg.
"""

import jax
import numpy as np
import pytest

from natra_jax.classifiers import Vgg16
from natra_jax.types import UserError
from natra_jax.weights import classifiers
from natra_jax.weights.converters import vgg16
from natra_jax.weights.tensors import Tensors
from tests.classifiers import torchvision_nets as theirs

STATE, NORMED = theirs.of_golden(), theirs.vgg_state()


def convert(state):
    return vgg16.convert(Tensors(state, vgg16.NAME), {})


OPTIONS = {
    "none": {"num_classes": 11, "widths": (6, 8, 10, 12, 12), "dense": (24, 20), "norm": "none"},
    "batch": {
        "num_classes": theirs.CLASSES,
        "widths": theirs.VGG_WIDTHS,
        "dense": theirs.VGG_DENSE,
        "norm": "batch",
    },
}


@pytest.mark.parametrize("norm", OPTIONS)
def test_the_variables_are_those_of_the_network_that_the_options_describe(norm):
    options, variables, notes = convert({"none": STATE, "batch": NORMED}[norm])
    assert options == OPTIONS[norm] and notes == ()
    wanted = jax.eval_shape(
        lambda: Vgg16(**options).init(jax.random.key(0), np.zeros((1, 32, 32, 3), np.float32))
    )
    assert jax.tree.map(np.shape, variables) == {"batch_stats": {}} | jax.tree.map(
        lambda leaf: leaf.shape, dict(wanted)
    )
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(variables))


OTHERS = {
    "VGG-19": [
        f"features.{i}.weight" for i in (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34)
    ],
    "VGG-13 with BatchNorm": [
        f"features.{i}.weight"
        for i in (0, 1, 3, 4, 7, 8, 10, 11, 14, 15, 17, 18, 21, 22, 24, 25, 28, 29, 31, 32)
    ],
    "some of whose layers have BatchNorm": [name for name in NORMED if name != "features.1.weight"],
    "ResNet": list(theirs.resnet_state()),
    "nothing": [],
}


def test_it_is_recognised_and_others_are_not():
    assert vgg16.recognises(set(STATE)) and vgg16.recognises(set(NORMED))
    assert not any(vgg16.recognises(set(names)) for names in OTHERS.values())


DAMAGED = {
    "missing": ({"features.14.bias": None}, "features.14.bias is missing"),
    "left over": ({"features.30.weight": np.ones((2, 2))}, "features.30.weight"),
    "of another width": (
        {"features.2.weight": np.ones((5, 6, 3, 3))},
        r"features.2.weight is \[5, 6, 3, 3\], expected \[6, 6, 3, 3\]",
    ),
    "of another rank": ({"features.0.weight": np.ones(3)}, r"features.0.weight is \[3\]"),
    "empty": ({"classifier.0.weight": np.ones((0, 588))}, r"classifier.0.weight is \[0, 588\]"),
    "for another pooling": (
        {"classifier.0.weight": np.ones((24, 12))},
        r"classifier.0.weight is \[24, 12\], expected \[24, 588\]",
    ),
    # as in torchvision's IMAGENET1K_FEATURES, whose inputs are scaled otherwise
    "without dense layers": (
        {"classifier.0.weight": np.full((24, 588), np.nan)},
        "classifier.0.weight holds values that are not finite",
    ),
    "of text": ({"classifier.6.bias": np.array(["a"] * 11)}, "classifier.6.bias is of type"),
}


@pytest.mark.parametrize("what", DAMAGED)
def test_tensors_that_do_not_fit_are_named(what):
    changes, line = DAMAGED[what]
    with pytest.raises(UserError, match=line):
        convert({name: array for name, array in (STATE | changes).items() if array is not None})


DAMAGED_NORMED = {
    "missing": ({"features.8.running_var": None}, "features.8.running_var is missing"),
    "of another width": (
        {"features.1.bias": np.ones(2)},
        r"features.1.bias is \[2\], expected \[3\]",
    ),
    "left over": ({"features.43.bias": np.ones(2)}, "features.43.bias"),
}


@pytest.mark.parametrize("what", DAMAGED_NORMED)
def test_batchnorms_tensors_that_do_not_fit_are_named(what):
    changes, line = DAMAGED_NORMED[what]
    with pytest.raises(UserError, match=line):
        convert({name: array for name, array in (NORMED | changes).items() if array is not None})


def test_files_without_counts_of_batches_are_read_as_those_with():
    without = {
        name: array for name, array in NORMED.items() if not name.endswith("num_batches_tracked")
    }
    assert len(without) < len(NORMED)
    jax.tree.map(np.testing.assert_array_equal, convert(without).params, convert(NORMED).params)


def test_a_file_of_another_network_is_refused_by_its_path(tmp_path):
    np.savez(tmp_path / "theirs.npz", **theirs.resnet_state())
    with pytest.raises(UserError, match=r"theirs.npz: its tensors \(bn1.bias, .* are no VGG-16's"):
        classifiers.load(tmp_path / "theirs.npz", "vgg16")
    np.savez(tmp_path / "damaged.npz", **STATE | {"features.0.bias": np.ones(7)})
    with pytest.raises(UserError, match=r"damaged.npz: features.0.bias is \[7\], expected \[6\]"):
        classifiers.load(tmp_path / "damaged.npz", "vgg16")
    np.savez(tmp_path / "vgg.npz", **STATE)
    assert classifiers.load(tmp_path / "vgg.npz", "vgg16").arguments == convert(STATE).arguments
