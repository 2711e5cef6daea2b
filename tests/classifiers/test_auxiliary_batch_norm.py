"""Clean and adversarial BatchNorm: auxiliary copies that go their own way, in the head alone, and
come apart again without loss.
"""

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from natra_jax.classifiers import auxiliary_batch_norm


def tree(paths, seed):
    rng = np.random.default_rng(seed)
    made = {}
    for path in paths:
        *parents, last = path.split("/")
        branch = made
        for parent in parents:
            branch = branch.setdefault(parent, {})
        branch[last] = rng.normal(size=3).astype(np.float32)
    return made


NORMS = ("stem/bn", "body/inner/bn", "bn")
PARAMS = [f"{norm}/{leaf}" for norm in NORMS for leaf in ("scale", "bias")] + [
    "stem/conv/kernel",
    "body/dense/kernel",
    "kernel",
]
STATS = [f"{norm}/{leaf}" for norm in NORMS for leaf in ("mean", "var")]


def variables():
    return {"params": tree(PARAMS, 0), "batch_stats": tree(STATS, 1)}


def assert_same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


def in_stem(path):
    return path[0] == "stem"


@pytest.mark.parametrize("skip", [in_stem, lambda path: False])
def test_every_batchnorm_that_is_not_skipped_gets_an_auxiliary_copy(skip):
    with_auxiliary = auxiliary_batch_norm.add_auxiliary(variables(), skip)
    for collection, paths in (("params", PARAMS), ("batch_stats", STATS)):
        normed = [
            path for path in paths if path.rsplit("/", 1)[0] in NORMS and not skip(path.split("/"))
        ]
        flat = flatten_dict(with_auxiliary[collection], sep="/")
        assert set(flat) == {*paths, *(f"adversarial/{path}" for path in normed)}
        for path in normed:
            np.testing.assert_array_equal(flat[f"adversarial/{path}"], flat[path])
            assert flat[f"adversarial/{path}"] is not flat[path], (
                "a training step donates each buffer once"
            )
    assert auxiliary_batch_norm.has_auxiliary(
        with_auxiliary
    ) and not auxiliary_batch_norm.has_auxiliary(variables())


def test_clean_and_adversarial_take_the_auxiliary_set_apart():
    with_auxiliary = auxiliary_batch_norm.add_auxiliary(variables(), in_stem)
    assert_same(auxiliary_batch_norm.clean(with_auxiliary), variables())
    assert_same(auxiliary_batch_norm.adversarial(with_auxiliary), variables())
    moved = jax.tree.map(np.asarray, with_auxiliary)
    for collection in moved.values():
        collection["adversarial"] = jax.tree.map(lambda x: x + 5, collection["adversarial"])
    assert_same(auxiliary_batch_norm.clean(moved), variables())
    expected = variables()
    for collection, name in (
        ("params", "scale"),
        ("params", "bias"),
        ("batch_stats", "mean"),
        ("batch_stats", "var"),
    ):
        for layer in (expected[collection]["bn"], expected[collection]["body"]["inner"]["bn"]):
            layer[name] = layer[name] + 5
    assert_same(auxiliary_batch_norm.adversarial(moved), expected)
    assert not auxiliary_batch_norm.has_auxiliary(
        auxiliary_batch_norm.adversarial(moved)
    ) and not auxiliary_batch_norm.has_auxiliary(auxiliary_batch_norm.clean(moved))


def test_after_a_step_each_branch_keeps_its_own_statistics():
    with_auxiliary = auxiliary_batch_norm.add_auxiliary(variables(), in_stem)["batch_stats"]
    of_clean, of_adversarial = tree(STATS, 2), tree(STATS, 3)
    after = auxiliary_batch_norm.with_stats(with_auxiliary, of_clean, of_adversarial)
    assert jax.tree.structure(after) == jax.tree.structure(with_auxiliary)
    both = {"params": {}, "batch_stats": after}
    assert_same(auxiliary_batch_norm.clean(both)["batch_stats"], of_clean)
    adversarial = auxiliary_batch_norm.adversarial(both)["batch_stats"]
    assert_same(adversarial["stem"], of_clean["stem"])
    assert_same(adversarial["body"], of_adversarial["body"])
    assert_same(adversarial["bn"], of_adversarial["bn"])


def test_a_classifier_without_batchnorm_has_no_auxiliary_and_without_scales_has_statistics_alone():
    plain = {"params": tree(["dense/kernel", "groupnorm/scale"], 0), "batch_stats": {}}
    with_auxiliary = auxiliary_batch_norm.add_auxiliary(plain)
    assert_same(with_auxiliary, plain)
    assert not auxiliary_batch_norm.has_auxiliary(with_auxiliary)
    assert_same(auxiliary_batch_norm.clean(with_auxiliary), plain)
    assert_same(auxiliary_batch_norm.adversarial(with_auxiliary), plain)
    assert auxiliary_batch_norm.with_stats({}, {}, {}) == {}
    bare = {"params": tree(["dense/kernel"], 0), "batch_stats": tree(["bn/mean", "bn/var"], 1)}
    assert auxiliary_batch_norm.has_auxiliary(auxiliary_batch_norm.add_auxiliary(bare))
    assert_same(auxiliary_batch_norm.clean(auxiliary_batch_norm.add_auxiliary(bare)), bare)
