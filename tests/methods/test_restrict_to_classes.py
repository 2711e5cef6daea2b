"""A method within some classes.

Examples of these are varied as ever, all others are trained on as they are.
"""

import jax
import numpy as np
import optax
import pytest
from jax.tree_util import Partial

from natra_jax import methods
from natra_jax.training.step import make_step
from tests.methods import made
from tests.training import small

COVERED = (1, 3)
NAMES = ("mixl", "random", "advmix", "natra")  # one of each kind that moves codes
INDEX = np.arange(16)


def logits(weights, images):
    return images.reshape(len(images), -1) @ weights


@pytest.fixture(scope="module", params=NAMES)
def varied(request):
    """(batch, radii, what the method makes of it, what it makes within the covered classes)."""
    method = made.method(request.param, advmix__source="other")
    batch = made.batch(INDEX, method.partners)
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(batch["image"][0].size, small.NUM_CLASSES)).astype(np.float32)
    keys, radii = (
        jax.random.split(jax.random.key(1), len(INDEX)),
        rng.uniform(0, 1, len(INDEX)).astype(np.float32),
    )

    @jax.jit
    def run(*both):
        return [one.vary(Partial(logits, weights), keys, batch, radii) for one in both]

    restrict_to_classes = methods.restrict_to_classes(method, COVERED, small.NUM_CLASSES)
    assert (restrict_to_classes.passes, restrict_to_classes.loss, restrict_to_classes.partners) == (
        method.passes,
        method.loss,
        method.partners,
    )
    return batch, radii, *jax.tree.map(np.asarray, run(method, restrict_to_classes))


def test_examples_of_the_covered_classes_are_varied_as_without(varied):
    batch, _, plain, restrict_to_classes = varied
    inside = np.isin(batch["label"], COVERED)
    assert inside.any() and not inside.all()
    np.testing.assert_allclose(
        restrict_to_classes.inputs[inside], plain.inputs[inside], rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(
        restrict_to_classes.targets[inside], plain.targets[inside], rtol=1e-5, atol=1e-6
    )
    np.testing.assert_array_equal(restrict_to_classes.epsilon[inside], plain.epsilon[inside])
    assert (
        np.abs(restrict_to_classes.inputs[inside] - batch["image"][inside]).max((1, 2, 3)).min()
        > 1e-3
    )


def test_all_others_keep_their_image_label_and_radius_and_are_no_failures(varied):
    batch, radii, plain, restrict_to_classes = varied
    outside = ~np.isin(batch["label"], COVERED)
    np.testing.assert_array_equal(restrict_to_classes.inputs[outside], batch["image"][outside])
    np.testing.assert_array_equal(
        restrict_to_classes.targets[outside], np.eye(small.NUM_CLASSES)[batch["label"][outside]]
    )
    np.testing.assert_array_equal(restrict_to_classes.epsilon[outside], radii[outside])
    assert (restrict_to_classes.failed is None) == (plain.failed is None)
    assert restrict_to_classes.failed is None or not restrict_to_classes.failed[outside].any()


def test_a_method_that_varies_nothing_stays_as_it_is():
    method = made.method("original")
    assert methods.restrict_to_classes(method, COVERED, small.NUM_CLASSES) is method


def test_a_batch_without_a_covered_example_trains_as_if_there_were_no_method():
    optimizer, method = optax.sgd(0.1), made.method("natra")
    batch = made.batch(INDEX[:8], None)
    batch["label"] = np.zeros(8, np.int32)
    step = jax.jit(make_step(small.builder("group"), optimizer, None))
    before = small.state(optimizer, "group")
    original, _ = step(made.method("original"), before, batch)
    restrict_to_classes, metrics = step(
        methods.restrict_to_classes(method, COVERED, small.NUM_CLASSES), before, batch
    )
    for a, b in zip(
        jax.tree.leaves(original.params), jax.tree.leaves(restrict_to_classes.params), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(restrict_to_classes.epsilon, before.epsilon)
    assert metrics["attack_success"] == 0
