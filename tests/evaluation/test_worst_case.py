"""The worst of several attacks, and the signs of gradients that cannot be trusted.

A linear classifier tells both in closed form.
"""

import jax
import numpy as np
import pytest
from jax.tree_util import Partial

from natra_jax import attacks
from natra_jax.evaluation.robustness import worst_case

N, PIXELS, CLASSES = 37, 4, 3
RNG = np.random.default_rng(0)
WEIGHTS = RNG.normal(size=(PIXELS, CLASSES)).astype(np.float32)
IMAGES = RNG.normal(size=(N, 2, 2, 1)).astype(np.float32)
LABELS = (IMAGES.reshape(N, PIXELS) @ WEIGHTS).argmax(1)
LABELS[:3] = (LABELS[:3] + 1) % CLASSES  # wrong from the start
SPACE = attacks.linf((-10.0, 10.0))
GRADIENT = {
    "ce": attacks.best_of(attacks.pgd(10), 3),
    "margin": attacks.pgd(10),
    "dlr": attacks.auto_pgd(10),
}
RANDOM = attacks.random_search(40)


def linear(weights, images):
    return images.reshape(len(images), -1) @ weights


def masked(weights, images):
    """The same answers, but no gradient leads there."""
    return linear(weights, jax.lax.stop_gradient(images))


def flat(weights, images):
    """The right answers to the images of IMAGES alone; what comes in does not matter."""
    return np.zeros((len(images), 1), np.float32) + weights


def worst_of(logits, epsilon, batch_size=16, labels=LABELS, searches=GRADIENT):
    weights = WEIGHTS[0] if logits is flat else WEIGHTS
    found = worst_case(
        searches,
        RANDOM,
        SPACE,
        Partial(logits, weights),
        IMAGES,
        labels,
        epsilon,
        seed=0,
        batch_size=batch_size,
    )
    return found.failed, found.warnings


def worst_margins(epsilon):
    """max over wrong classes j of (w_j - w_y) x + epsilon |w_j - w_y|_1."""
    margins = np.full((N, CLASSES), -np.inf)
    for i, (x, y) in enumerate(zip(IMAGES.reshape(N, PIXELS).astype(float), LABELS, strict=True)):
        for j in range(CLASSES):
            if j != y:
                difference = WEIGHTS[:, j].astype(float) - WEIGHTS[:, y]
                margins[i, j] = difference @ x + epsilon * np.abs(difference).sum()
    return margins.max(1)


@pytest.mark.parametrize("epsilon", [0.1, 0.3])
def test_of_a_linear_classifier_exactly_those_fail_that_can(epsilon):
    failed, warnings = worst_of(linear, epsilon)
    worst = worst_margins(epsilon)
    assert np.abs(worst).min() > 1e-4 and 3 < (worst > 0).sum() < N
    np.testing.assert_array_equal(failed, worst > 0)
    assert warnings == {"random_only": 0.0, "zero_gradient": 0.0, "not_rising": 0.0}


def test_random_search_sees_through_masked_gradients_and_every_sign_says_so():
    # from the image itself: restarts would search at random, too
    failed, warnings = worst_of(
        masked, 0.3, searches={"ce": attacks.pgd(10), "margin": attacks.pgd(10)}
    )
    wrong_anyway = worst_margins(0.0) > 0
    assert np.all(failed >= wrong_anyway) and np.all(failed <= (worst_margins(0.3) > 0))
    assert warnings["random_only"] == (failed & ~wrong_anyway).mean() > 0.1
    assert warnings["zero_gradient"] == 1 and warnings["not_rising"] == 1


def test_a_flat_loss_does_not_rise():
    right = np.full(N, WEIGHTS[0].argmax())
    failed, warnings = worst_of(flat, 0.3, labels=right, searches={"ce": attacks.pgd(3)})
    assert not failed.any()
    assert warnings == {"random_only": 0.0, "zero_gradient": 1.0, "not_rising": 1.0}


def test_the_worst_is_the_union_of_all_attacks():
    # each of these can break what the other cannot: two starts with no step at all
    searches = {"margin": attacks.pgd(0, random_start=True), "ce": attacks.pgd(0)}
    failed, warnings = worst_of(linear, 0.3, searches=searches)
    alone = [worst_of(linear, 0.3, searches={loss: search})[0] for loss, search in searches.items()]
    np.testing.assert_array_equal(failed, alone[0] | alone[1])
    assert warnings["random_only"] > 0, "which steps along the gradient would have found"


def test_shares_do_not_depend_on_the_batch_size():
    # half of the examples lie where the gradient is cut
    def half(weights, images):
        return linear(
            weights,
            jax.numpy.where(
                images.sum((1, 2, 3), keepdims=True) > 0, images, jax.lax.stop_gradient(images)
            ),
        )

    share = (IMAGES.sum((1, 2, 3)) <= 0).mean()
    assert 0.2 < share < 0.8
    predictions = [
        worst_of(half, 0.05, batch_size, searches={"ce": attacks.pgd(3)}) for batch_size in (N, 16)
    ]
    for failed, warnings in predictions:
        np.testing.assert_array_equal(failed, predictions[0][0])
        assert warnings["zero_gradient"] == pytest.approx(share) and warnings == pytest.approx(
            predictions[0][1]
        )
