"""A user's own classifier: whatever it calls its flag, it is trained and applied as it would be by
itself, with its own weights.
"""

import jax
import numpy as np
import optax
import pytest

from natra_jax.classifiers import from_factory, require_logits
from natra_jax.types import UserError
from tests.classifiers import own

OWN = "tests.classifiers.own"
SHAPE, CLASSES = (8, 8, 3), 3
IMAGES = np.random.default_rng(0).uniform(-1, 1, (4, *SHAPE)).astype(np.float32)
KEY = jax.random.key(5)


def drawn(module, *arguments, **flags):
    """Random variables of the module's structure; variances above 0."""
    rng = np.random.default_rng(1)
    shapes = jax.eval_shape(
        lambda key, x: module.init(key, x, *arguments, **flags), jax.random.key(0), IMAGES
    )
    return jax.tree.map(lambda leaf: rng.uniform(0.1, 1, leaf.shape).astype(np.float32), shapes)


def structure(tree):
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)


def adapted_shapes(module):
    return jax.eval_shape(
        lambda key, x: module.init(key, x, train=False), jax.random.key(0), IMAGES
    )


@pytest.mark.parametrize("flag", own.FLAGS)
def test_a_module_is_evaluated_and_trained_as_it_is_by_itself_whatever_its_flag_is_called(flag):
    theirs, training = own.BY_FLAG[flag](CLASSES), own.FLAGS[flag]
    ours = from_factory(f"{OWN}:{own.BY_FLAG[flag].__name__}", CLASSES)
    variables = drawn(theirs, **{flag: not training})
    assert structure(adapted_shapes(ours)) == structure(variables)
    evaluated = ours.apply(variables, IMAGES, train=False)
    np.testing.assert_array_equal(
        evaluated, theirs.apply(variables, IMAGES, **{flag: not training})
    )
    rest = {"mutable": ["batch_stats"], "rngs": {"dropout": KEY}}
    logits, updated = ours.apply(variables, IMAGES, train=True, **rest)
    expected, expected_updated = theirs.apply(variables, IMAGES, **{flag: training}, **rest)
    np.testing.assert_array_equal(logits, expected)
    jax.tree.map(np.testing.assert_array_equal, updated, expected_updated)
    assert np.abs(logits - evaluated).max() > 1e-3, "dropout and the batch's own statistics show"
    require_logits(ours, SHAPE, CLASSES)


@pytest.mark.parametrize(
    ("name", "module"), [("Linear", own.Linear(CLASSES)), ("a_sequence", own.a_sequence(CLASSES))]
)
def test_a_module_without_a_flag_is_the_same_in_training(name, module):
    ours, variables = from_factory(f"{OWN}:{name}", CLASSES), drawn(module)
    assert structure(adapted_shapes(ours)) == structure(variables)
    for train in (False, True):
        np.testing.assert_array_equal(
            ours.apply(variables, IMAGES, train=train), module.apply(variables, IMAGES)
        )
    require_logits(ours, SHAPE, CLASSES)


def test_a_pair_of_functions_gives_the_logits_that_it_gives_by_itself():
    init, apply = own.plain(CLASSES)
    ours, weights = from_factory(f"{OWN}:plain", CLASSES), init(KEY, IMAGES)
    require_logits(ours, SHAPE, CLASSES)
    assert structure(adapted_shapes(ours)) == {"params": {"weights": structure(weights)}}
    for train in (False, True):
        np.testing.assert_array_equal(
            ours.apply({"params": {"weights": weights}}, IMAGES, train=train),
            apply(weights, IMAGES),
        )


@pytest.mark.parametrize("name", ["plain", "Deterministic"])
def test_a_step_along_the_gradient_is_the_one_that_the_classifier_takes_by_itself(name):
    ours, init = (
        from_factory(f"{OWN}:{name}", CLASSES),
        jax.jit(from_factory(f"{OWN}:{name}", CLASSES).init),
    )
    params = init(KEY, IMAGES)["params"]
    fixed = (
        {"batch_stats": drawn(own.Deterministic(CLASSES), deterministic=True)["batch_stats"]}
        if name == "Deterministic"
        else {}
    )
    alone = own.plain(CLASSES)[1] if name == "plain" else None

    def by_itself(params):
        if alone:
            return alone(params["weights"], IMAGES)
        rest = {"mutable": ["batch_stats"], "rngs": {"dropout": KEY}}
        return own.Deterministic(CLASSES).apply(
            {"params": params} | fixed, IMAGES, deterministic=False, **rest
        )[0]

    def adapted(params):
        return ours.apply(
            {"params": params} | fixed,
            IMAGES,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": KEY},
        )[0]

    def gradient(logits_of):
        labels = np.array([0, 1, 2, 0])
        return jax.grad(
            lambda p: optax.softmax_cross_entropy_with_integer_labels(logits_of(p), labels).mean()
        )(params)

    expected = gradient(by_itself)
    jax.tree.map(np.testing.assert_array_equal, gradient(adapted), expected)
    assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected)) > 1e-3


def test_an_axis_name_reaches_a_factory_that_takes_one():
    assert from_factory(f"{OWN}:Train", CLASSES, "batch").axis_name == "batch"
    assert from_factory(f"{OWN}:Linear", CLASSES, "batch").module.num_classes == CLASSES


@pytest.mark.parametrize("name", ["Train", "Deterministic", "with_a_list", "plain"])
def test_the_classifier_is_traced_once_however_often_it_is_asked_for(name):
    traced = []

    def count(module, images):
        traced.append(module)
        return images

    counted = jax.jit(count, static_argnums=0)
    for _ in range(2):
        counted(from_factory(f"{OWN}:{name}", CLASSES), IMAGES)
    assert len(traced) == 1


NOT_THERE = {
    "tests.classifiers.owm:Train": ["tests.classifiers.owm", "package.module:function"],
    "tests.classifiers.own:Trian": ["Trian", "package.module:function"],
    "tests.classifiers.own:number": ["int", "function"],
    "tests.classifiers.own:failing": ["num_classes=3", "RuntimeError: no luck"],
    "tests.classifiers.own:without_keyword": ["num_classes=3", "TypeError"],
    "tests.classifiers.own:of_numbers": ["dict", "Flax linen module", "(init, apply)"],
    "tests.classifiers.own:AtConstruction": ["AtConstruction", "train", "__call__"],
}


def one_line(error, parts):
    line = str(error.value)
    assert "classifier.factory" in line and "\n" not in line
    for part in parts:
        assert part in line
        line = line[line.index(part) + len(part) :]


@pytest.mark.parametrize("path", NOT_THERE)
def test_a_factory_that_cannot_be_used_is_named_with_what_was_found(path):
    with pytest.raises(UserError) as error:
        from_factory(path, CLASSES)
    one_line(error, [repr(path), *NOT_THERE[path]])


WRONG = {
    "one_class_too_many": ["[2, 4]", "[2, 3]"],
    "of_integers": ["[2, 3]", "int32", "floating"],
    "two_logits": ["tuple", "[2, 3]"],
    "for_other_images": [
        "[2, 8, 8, 3]",
        "ValueError: made for images of 224 pixels, and for no others",
    ],
    "without_weights": ["no parameters"],
}


@pytest.mark.parametrize("name", WRONG)
def test_a_classifier_of_other_outputs_is_refused_with_the_shape_found_and_the_one_expected(name):
    with pytest.raises(UserError) as error:
        require_logits(from_factory(f"{OWN}:{name}", CLASSES), SHAPE, CLASSES)
    one_line(error, WRONG[name])
