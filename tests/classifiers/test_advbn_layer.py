"""The AdvBN layer and the cut at it, on classifiers that are not ours: the halves are the whole,
and know which weights are theirs.
"""

from functools import cache

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.tree_util import Partial

from natra_jax import attacks, classifiers
from natra_jax.attacks.spaces.features import Statistics
from natra_jax.classifiers.advbn import AdvBN, Cut
from tests.classifiers import own
from tests.helpers import example_keys

B, SHAPE, CLASSES = 4, (6, 6, 3), 5
IMAGES = np.random.default_rng(0).uniform(-1, 1, (B, *SHAPE)).astype(np.float32)


def module(name):
    if name.startswith("cnn"):
        return classifiers.build("cnn", CLASSES, widths=(16, 16), norm=name.removeprefix("cnn, "))
    return classifiers.from_factory(f"tests.classifiers.own:{name}", CLASSES)


# {classifier: the paths of the weights before the layer}
TRUNKS = {
    "Nested": {("early",)},
    "Deep": {("backbone", "stem")},
    "StillTrunk": {("Conv_0",)},
    "sequence_with_advbn": {("layers_0",)},
    "cnn, batch": {("Conv_0",), ("Conv_1",), ("Conv_2",), ("BatchNorm_0",), ("BatchNorm_1",)},
    "cnn, group": {("Conv_0",), ("Conv_1",), ("Conv_2",), ("GroupNorm_0",), ("GroupNorm_1",)},
}


@cache
def variables(name):
    """Drawn by NumPy, statistics away from where they start."""
    rng = np.random.default_rng(1)
    shapes = jax.eval_shape(lambda: module(name).init(jax.random.key(0), IMAGES, train=False))
    drawn = jax.tree.map(lambda s: rng.uniform(0.2, 1.0, s.shape).astype(np.float32), shapes)
    drawn["params"] = jax.tree.map(
        lambda s: rng.normal(size=s.shape).astype(np.float32), shapes["params"]
    )
    return {"params": drawn["params"], "batch_stats": drawn.get("batch_stats", {})}


@cache
def cut(name):
    return Cut.of(module(name), variables(name), IMAGES.shape)


@pytest.mark.parametrize("name", TRUNKS)
def test_the_trunk_is_what_is_called_before_the_layer(name):
    found = cut(name)
    weights = [path for collection in variables(name).values() for path in flatten_dict(collection)]
    in_trunk = {
        path for path in weights if any(path[: len(start)] == start for start in TRUNKS[name])
    }
    assert 0 < len(in_trunk) < len(weights)
    for path in weights:
        assert found.in_trunk(path) == (path in in_trunk), path


@pytest.mark.parametrize("name", TRUNKS)
def test_trunk_and_head_are_the_whole_and_the_layer_given_m_and_s_is_what_the_search_moves(name):
    rng = np.random.default_rng(2)
    found, space = cut(name), attacks.feature_stats(2, relu="cnn" not in name)

    @jax.jit
    def run(variables, m, s):
        features = found.trunk(variables, IMAGES)
        center = space.anchor(example_keys(B), features)
        moved = found.head(variables, space.decode(center, Statistics(m - 1, s - 1)))
        given = variables | {
            "advbn": unflatten_dict({(*found.layer, "m"): m, (*found.layer, "s"): s})
        }
        whole = [found.module.apply(v, IMAGES, train=False) for v in (variables, given)]
        return found.head(variables, features), moved, whole, features

    channels = jax.eval_shape(found.trunk, variables(name), IMAGES).shape[-1]
    m, s = rng.uniform(0, 2, (2, 2, channels)).astype(np.float32)
    head, moved, (plain, perturbed), features = run(variables(name), m, s)
    np.testing.assert_allclose(head, plain, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(moved, perturbed, rtol=1e-4, atol=1e-4)
    assert np.abs(np.asarray(moved) - head).max() > 1e-2 and np.asarray(features).std() > 0
    assert plain.shape == (B, CLASSES)


def test_in_training_the_head_is_the_wholes_where_the_trunk_does_not_train():
    found, given = cut("StillTrunk"), variables("StillTrunk")
    rngs = {"params": jax.random.key(3)}

    @jax.jit
    def run(variables):
        whole, updated = found.module.apply(
            variables, IMAGES, train=True, mutable=["batch_stats"], rngs=rngs
        )
        return (whole, updated["batch_stats"]), found.train_head(
            variables, found.trunk(variables, IMAGES), rngs
        )

    (whole, statistics), (logits, of_head) = run(given)
    np.testing.assert_allclose(logits, whole, rtol=1e-5, atol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), of_head, statistics
    )
    assert np.any(of_head["BatchNorm_0"]["mean"] != given["batch_stats"]["BatchNorm_0"]["mean"])


def test_training_the_head_leaves_the_trunks_statistics_as_they_are():
    found, given = cut("Nested"), variables("Nested")
    features = np.random.default_rng(4).uniform(0, 1, (B, 6, 6, 3)).astype(np.float32)
    train = jax.jit(lambda v, x: found.train_head(v, x, {"params": jax.random.key(0)}))
    logits, statistics = train(given, features)
    assert np.isfinite(logits).all()
    before, after = flatten_dict(given["batch_stats"]), flatten_dict(statistics)
    assert set(before) == set(after)
    for path, leaf in after.items():
        assert np.isfinite(leaf).all() and np.array_equal(leaf, before[path]) == (
            path[0] == "early"
        ), path


def test_the_layer_by_itself_changes_nothing_and_has_no_variables():
    features = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    layer = AdvBN()
    assert layer.init(jax.random.key(0), features) == {}
    np.testing.assert_array_equal(layer.apply({}, features), features)
    shapes = jax.eval_shape(lambda: own.Nested(CLASSES).init(jax.random.key(0), IMAGES))
    assert set(shapes) == {"params", "batch_stats"}


def test_features_in_the_collection_stand_in_for_what_comes_in_and_groups_are_perturbed_apart():
    rng = np.random.default_rng(0)
    features, others = rng.normal(size=(2, 4, 2, 3))
    np.testing.assert_allclose(
        AdvBN().apply({"advbn": {"features": others}}, features), others, rtol=1e-6
    )
    m, s = rng.uniform(0, 2, (2, 2, 3))
    for relu in (False, True):
        moved = AdvBN(relu=relu).apply({"advbn": {"m": m, "s": s}}, features)
        for g in (0, 1):
            of_group = features[2 * g : 2 * g + 2]
            mu = of_group.mean((0, 1))
            expected = (of_group - mu) * s[g] + m[g] * mu
            np.testing.assert_allclose(
                moved[2 * g : 2 * g + 2],
                np.maximum(expected, 0) if relu else expected,
                rtol=1e-5,
                atol=1e-6,
            )


@pytest.mark.parametrize(("name", "count"), [("Train", 0), ("TwoLayers", 2)])
def test_a_classifier_without_one_layer_to_cut_at_is_refused(name, count):
    with pytest.raises(
        ValueError, match=f"exactly one AdvBN layer to perturb features at, this one has {count}"
    ):
        Cut.of(getattr(own, name)(CLASSES), variables(name), IMAGES.shape)


def test_a_head_that_sees_the_images_past_the_layer_gives_no_answer():
    found = cut("Shortcut")
    features = jax.jit(found.trunk)(variables("Shortcut"), IMAGES)
    assert (
        np.isfinite(features).all() and np.isnan(found.head(variables("Shortcut"), features)).all()
    )


def test_the_docstrings_search_finds_features_that_are_worse():
    found, given = cut("StillTrunk"), variables("StillTrunk")
    labels = np.arange(B) % CLASSES

    @jax.jit
    def run(variables):
        features = found.trunk(variables, IMAGES)
        logits_fn = Partial(found.head, variables)
        loss_fn = attacks.objective(logits_fn, labels)
        worst = attacks.pgd(6, 0.2)(
            loss_fn,
            example_keys(B),
            attacks.feature_stats(2),
            features,
            np.full(B, 1.1, np.float32),
        )
        return loss_fn(features)[0], loss_fn(worst.inputs)[0]

    before, after = (np.asarray(loss).reshape(2, 2).mean(1) for loss in run(given))
    assert np.all(after > before)
