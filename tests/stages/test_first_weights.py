"""Classifiers of others as a training's first weights.

VGG-16, ResNet-18 and -50 with torchvision's names, and with AdvBN's.
"""

import jax
import numpy as np
import pytest

import natra_jax
from natra_jax.classifiers import clean, has_auxiliary
from natra_jax.inputs import Inputs
from natra_jax.stages import classifier, data, train, user_weights
from natra_jax.types import UserError
from natra_jax.weights import classifiers as foreign
from tests.classifiers import torchvision_nets as theirs
from tests.stages import small

STILL = 1e-30  # a learning rate that moves no float32 weight: a training ends where it started
OPTIONS = {
    "vgg16.widths": (6, 8, 10, 12, 12),
    "vgg16.dense": (24, 20),
    "resnet18.widths": theirs.WIDTHS,
    "resnet18.blocks": theirs.BLOCKS,
    "resnet50.widths": (2, 2, 3, 3),
    "resnet50.blocks": (1, 1, 1, 1),
}
SIZES = (OPTIONS["resnet50.widths"], OPTIONS["resnet50.blocks"], small.CLASSES)
RESNET50, AUXILIARY = (theirs.resnet_state(*SIZES, seed=seed) for seed in (0, 1))
STATES = {
    "vgg16": theirs.of_golden(),
    "vgg16_bn": theirs.vgg_state(),
    "resnet18": theirs.resnet_state(basic=True),
    "resnet50": RESNET50,
    "advbn": theirs.advbn_names(1, RESNET50, AUXILIARY),
}
NORMED = {
    "classifier.vgg16.widths": theirs.VGG_WIDTHS,
    "classifier.vgg16.dense": theirs.VGG_DENSE,
    "classifier.vgg16.norm": "batch",
}


@pytest.fixture
def prepared(tmp_path):
    """Return (classifier.name, name of STATES, **fields) -> (path of that file, context, lines)."""

    def prepare(name, state, **fields):
        path, said = tmp_path / f"{state}.npz", []
        np.savez(path, **STATES[state])
        c = small.config(factory="plain", train__init_from=str(path))
        c.classifier.update(name=name, factory="")
        options = {f"classifier.{option}": value for option, value in OPTIONS.items()}
        c.update_from_flattened_dict(options | fields)
        return path, small.context(tmp_path / "work", c)._replace(log=said.append), said

    return prepare


def run(context, method):
    train.check(context)
    directory = context.workdir / "train" / f"{method}-0"
    directory.mkdir(parents=True)
    train.run(context, directory, method, 0)
    return train.load(context, method, 0).variables


def same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize("steps", [0, pytest.param(3, marks=pytest.mark.slow)])
def test_a_training_starts_from_torchvisions_file_with_a_fresh_last_layer_where_the_classes_differ(
    prepared, steps
):
    path, context, said = prepared(
        "vgg16", "vgg16", **{"train.steps": steps, "train.learning_rate": STILL}
    )
    kept, published = run(context, "original"), foreign.load(path, "vgg16").params
    last, theirs_ = kept["params"].pop("head"), published["params"].pop("head")
    same(kept, published)
    assert last["kernel"].shape == (20, small.CLASSES) and np.std(last["kernel"]) > 0.1
    assert theirs_["kernel"].shape == (20, 11)
    fresh = f"the last layer is fresh, for {small.CLASSES} classes in place of 11"
    assert [text for text in said if "fresh" in text] == [f"train/original-0: {path}: {fresh}"]
    # what was kept is loaded again as the network that it is
    logits_fn = natra_jax.load_classifier(context.workdir, "original", 0)
    same(logits_fn.args[0]["params"], kept["params"] | {"head": last})
    logits = jax.eval_shape(logits_fn, np.zeros((2, *small.SHAPE), np.float32))
    assert logits.shape == (2, small.CLASSES)


@pytest.mark.parametrize(
    ("name", "state", "fields"), [("resnet18", "resnet18", {}), ("vgg16", "vgg16_bn", NORMED)]
)
def test_all_but_the_last_layer_is_taken_with_the_statistics_whatever_the_dtype(
    prepared, name, state, fields
):
    path, context, _ = prepared(name, state, **fields, **{"classifier.dtype": "bfloat16"})
    variables, notes = user_weights.first_weights(
        context.config, data.info(context), str(path), seed=0, inputs=Inputs()
    )
    published = foreign.load(path, name).params
    same(variables["batch_stats"], published["batch_stats"])
    same(
        {k: v for k, v in variables["params"].items() if k != "head"},
        {k: v for k, v in published["params"].items() if k != "head"},
    )
    assert notes == (
        f"the last layer is fresh, for {small.CLASSES} classes in place of {theirs.CLASSES}",
    )
    like = classifier.variables_like(context.config, data.info(context))
    found, wanted = (jax.tree.map(lambda x: (x.shape, x.dtype), tree) for tree in (variables, like))
    assert found == wanted


def test_where_the_classes_agree_all_is_taken(prepared):
    path, context, _ = prepared("resnet50", "resnet50")
    info = data.info(context)
    variables, notes = user_weights.first_weights(
        context.config, info, str(path), seed=0, inputs=Inputs()
    )
    same(variables, foreign.load(path, "resnet50").params)
    same(user_weights.read_weights(context.config, info, str(path), Inputs()), variables)
    assert notes == ()
    images = np.random.default_rng(0).uniform(-1, 1, (2, *small.SHAPE)).astype(np.float32)
    logits = jax.jit(lambda f, x: f(x))(
        classifier.logits_fn(context.config, info.num_classes, variables), images
    )
    np.testing.assert_allclose(
        logits, theirs.resnet(RESNET50, images, SIZES[1])[1], rtol=1e-3, atol=1e-3
    )


def test_what_is_not_to_be_trained_needs_the_datas_classes(prepared):
    path, context, _ = prepared("vgg16", "vgg16")
    with pytest.raises(
        UserError, match=f"vgg16.npz: tells 11 classes apart, the data have {small.CLASSES}"
    ):
        user_weights.read_weights(context.config, data.info(context), str(path), Inputs())


@pytest.mark.parametrize("method", ["advbn", "original"])
def test_auxiliary_batch_norm_stays_in_methods_that_perturb_features_alone(prepared, method):
    steps = {"advbn.steps": 0, "train.steps": 0, "advbn.group_size": 4}
    path, context, said = prepared("resnet50", "advbn", methods=("original", "advbn"), **steps)
    started, published = run(context, method), foreign.load(path, "resnet50").params
    assert has_auxiliary(started) == (method == "advbn") and any("twins" in line for line in said)
    same(started, published if method == "advbn" else clean(published))


UNFIT = {
    "of other widths": (
        "vgg16",
        "vgg16",
        {"classifier.vgg16.widths": (8,) * 5},
        r"widths \(6, 8, 10, 12, 12\): set config field classifier.vgg16",
    ),
    "with BatchNorm": (
        "vgg16",
        "vgg16_bn",
        {**NORMED, "classifier.vgg16.norm": "none"},
        "norm batch: set config field classifier.vgg16.norm",
    ),
    "with dense layers": (
        "vgg16",
        "vgg16",
        {"classifier.vgg16.dense": ()},
        r"dense \(24, 20\): set config field classifier.vgg16.dense",
    ),
    "of other blocks": (
        "resnet50",
        "advbn",
        {"classifier.resnet50.blocks": (3, 4, 6, 3)},
        "set config field classifier.resnet50.blocks",
    ),
    "of another network": ("resnet50", "vgg16", {}, "are no ResNet-50's"),
}


@pytest.mark.parametrize("unfit", UNFIT)
def test_a_file_that_does_not_fit_is_refused_before_anything_is_trained(prepared, unfit):
    name, state, fields, line = UNFIT[unfit]
    path, context, _ = prepared(name, state, **fields)
    with pytest.raises(UserError, match=f"{state}.npz: .*{line}"):
        train.check(context)


def test_our_own_weights_start_a_training_of_these_classifiers_as_of_ours(prepared):
    path, context, _ = prepared("vgg16", "vgg16")
    info = data.info(context)
    own = context.workdir / "own"
    like = classifier.variables_like(context.config, info)
    ours = jax.tree.map(lambda leaf: np.full(leaf.shape, 0.5, leaf.dtype), like)
    natra_jax.trees.save(own, ours)
    variables, _ = user_weights.first_weights(
        context.config, info, str(own), seed=0, inputs=Inputs()
    )
    same(variables, ours)
