"""What holds for every named classifier: where it is cut, that its BatchNorm can have auxiliary
copies, and that it computes in bfloat16.
"""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from natra_jax.classifiers import (
    CLASSIFIERS,
    Cut,
    add_auxiliary,
    adversarial,
    build,
    clean,
    has_auxiliary,
)
from natra_jax.classifiers.vgg import POOLED

CLASSES = 3
IMAGES = np.random.default_rng(0).uniform(-1, 1, (4, 16, 12, 3)).astype(np.float32)
LABELS = np.arange(4) % CLASSES
OPTIONS = {
    "cnn": {"widths": (8, 16), "norm": "batch"},
    "vgg16": {"widths": (4, 4, 6, 6, 6), "dense": (8,), "norm": "batch"},
    "resnet18": {"widths": (4, 6), "blocks": (1, 1)},
    "resnet50": {"widths": (4, 6), "blocks": (1, 1)},
    "wide_resnet": {"depth": 8, "width": 1},
}
# {name: (the stage behind which it is cut, whether that ends in a ReLU, a layer of the trunk, one
# of the head)}
CUTS = {
    "cnn": (0, False, "BatchNorm_1", "BatchNorm_2"),
    "vgg16": (1, True, "norm2_2", "norm3_1"),
    "resnet18": (0, True, "stage1_0", "stage2_0"),
    "resnet50": (0, True, "stage1_0", "stage2_0"),
    "wide_resnet": (0, False, "stage1_0", "stage2_0"),
}


def network(name, **options):
    return build(name, CLASSES, **OPTIONS[name] | options)


@cache
def variables(name, **options):
    """Drawn by NumPy, with statistics away from where they start."""
    rng = np.random.default_rng(1)
    shapes = jax.eval_shape(lambda: network(name, **options).init(jax.random.key(0), IMAGES))

    def draw(path, leaf):
        if path[-1].key == "kernel":
            drawn = rng.normal(size=leaf.shape) * np.sqrt(2 / np.prod(leaf.shape[:-1]))
        else:
            drawn = {"scale": 1, "var": 1}.get(path[-1].key, 0) + rng.uniform(-0.3, 0.3, leaf.shape)
        return drawn.astype(np.float32)

    return {"batch_stats": {}} | jax.tree.map_with_path(draw, dict(shapes))


def test_all_of_them_are_here():
    assert set(OPTIONS) == set(CUTS) == set(CLASSIFIERS)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_trunk_and_head_are_the_whole_and_the_auxiliary_batchnorm_of_the_head_has_its_say(name):
    stage, relu, in_trunk, in_head = CUTS[name]
    whole, given = network(name), variables(name)
    cut = Cut.of(whole, given, IMAGES.shape)
    assert (
        cut.relu == relu
        and cut.in_trunk((in_trunk, "leaf"))
        and not cut.in_trunk((in_head, "leaf"))
    )
    features, head, logits = (
        jax.jit(cut.trunk)(given, IMAGES),
        jax.jit(cut.head),
        jax.jit(whole.apply)(given, IMAGES),
    )
    tap = jax.jit(lambda v, x: whole.apply(v, x, method="features")[stage])(given, IMAGES)
    np.testing.assert_allclose(features, tap, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(head(given, features), logits, rtol=1e-4, atol=1e-5)
    assert logits.shape == (4, CLASSES) and logits.std() > 1e-3
    with_auxiliary = add_auxiliary(given, cut.in_trunk)
    assert has_auxiliary(with_auxiliary)
    auxiliary = jax.tree.map(lambda s: s + 1, with_auxiliary["batch_stats"]["adversarial"])
    moved = with_auxiliary | {
        "batch_stats": with_auxiliary["batch_stats"] | {"adversarial": auxiliary}
    }
    np.testing.assert_allclose(head(clean(moved), features), logits, rtol=1e-4, atol=1e-5)
    assert np.abs(head(adversarial(moved), features) - logits).max() > 1e-2


@pytest.mark.parametrize(
    "name",
    [
        "cnn",
        "resnet18",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("vgg16", "resnet50", "wide_resnet")),
    ],
)
def test_in_bfloat16_logits_and_gradients_are_near_those_in_float32(name, monkeypatch):
    # what is near 0 falls on either side of a ReLU's step, which says nothing of how well gradients
    # are computed
    monkeypatch.setattr(nn, "relu", nn.silu)
    monkeypatch.setattr(nn, "leaky_relu", lambda x, slope: nn.silu(x))
    options = {"norm": "group"} if name == "cnn" else {}
    given = variables(name, **options)

    def loss(params, images, dtype):
        logits = network(name, dtype=dtype, **options).apply(given | {"params": params}, images)
        return -jax.nn.log_softmax(logits)[jnp.arange(4), LABELS].mean(), logits

    def run(dtype):
        (of_params, of_images), logits = jax.jit(
            jax.grad(partial(loss, dtype=dtype), (0, 1), has_aux=True)
        )(given["params"], IMAGES)
        trees = (logits, of_params, of_images)
        assert all(
            leaf.dtype == jnp.float32 and np.isfinite(leaf).all() for leaf in jax.tree.leaves(trees)
        )
        return [
            np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)]) for tree in trees
        ]

    # 8 binary digits, rounded layer by layer
    for found, expected, share in zip(
        run("bfloat16"), run("float32"), (0.02, 0.04, 0.1), strict=True
    ):
        assert 0 < np.linalg.norm(found - expected) < share * np.linalg.norm(expected)


def products(jaxpr):
    """The products of matrices, and the convolutions, in it and in whatever it calls."""
    for equation in jaxpr.eqns:
        if equation.primitive.name in ("conv_general_dilated", "dot_general"):
            yield equation
        for inside in jax.tree.leaves(equation.params, is_leaf=lambda x: hasattr(x, "eqns")):
            if hasattr(inside, "eqns"):
                yield from products(getattr(inside, "jaxpr", inside))


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_in_bfloat16_all_layers_but_the_last_multiply_in_it_and_what_is_kept_is_float32(name):
    def update(key, images, dtype):
        classifier = network(name, dtype=dtype)
        given = classifier.init(key, images)
        return given, classifier.apply(
            given, images, train=True, mutable=["batch_stats"], rngs={"dropout": key}
        )

    for dtype in ("float32", "bfloat16"):
        traced = jax.jit(partial(update, dtype=dtype)).trace(jax.random.key(0), IMAGES)
        assert {leaf.dtype for leaf in jax.tree.leaves(traced.out_info)} == {jnp.dtype("float32")}
        seen = {"layers": set(), "last": set(), "pooling": set()}
        for equation in products(traced.jaxpr):
            shape = equation.outvars[0].aval.shape
            # VGG-16's dense layers see 7x7 pixels
            what = "last" if shape[-1] == CLASSES else "pooling" if POOLED in shape else "layers"
            seen[what].update(v.aval.dtype.name for v in equation.invars)
        assert seen == {
            "layers": {dtype},
            "last": {"float32"},
            "pooling": {"float32"} if name == "vgg16" else set(),
        }


@pytest.mark.parametrize("name", ["cnn", "resnet18"])
def test_in_bfloat16_the_features_that_adversaries_move_are_float32_and_what_follows_them_is_not(
    name,
):
    half, given = network(name, dtype="bfloat16"), variables(name)
    cut = Cut.of(half, given, IMAGES.shape)
    features = jax.eval_shape(cut.trunk, given, IMAGES)
    traced = jax.jit(cut.head).trace(given, features)
    assert features.dtype == traced.out_info.dtype == jnp.float32
    convolutions = [e for e in products(traced.jaxpr) if e.primitive.name == "conv_general_dilated"]
    assert convolutions and {v.aval.dtype.name for e in convolutions for v in e.invars} == {
        "bfloat16"
    }
