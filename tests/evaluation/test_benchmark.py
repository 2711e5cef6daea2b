"""Evaluation on classifiers that are linear.

Answers in batches, all true variations, and the worst of a latent search.
"""

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.tree_util import Partial

from natra_jax import attacks
from natra_jax.data import to_float
from natra_jax.evaluation import attack, predict, right_on_views
from tests.helpers import (
    few_examples,
    linear_generator,
    linear_images,
    linear_params,
    oblique_directions,
)

N, CLASSES, PIXELS = 11, 3, 4
RNG = np.random.default_rng(0)
# logits so small that the highest cross entropy and the highest margin lie in different places
WEIGHTS = (RNG.integers(-4, 5, (PIXELS, CLASSES)) / 64).astype(np.float32)
BIAS = (RNG.normal(size=CLASSES) / 64).astype(np.float32)


def linear_logits(weights, bias, images):
    return images.reshape(len(images), -1) @ weights + bias


LOGITS = Partial(linear_logits, WEIGHTS, BIAS)


def predictions(images):
    return (images.reshape(len(images), -1).astype(np.float64) @ WEIGHTS + BIAS).argmax(1)


IMAGES = RNG.integers(0, 256, (N, 2, 2, 1), np.uint8)


@pytest.mark.parametrize("batch_size", [1, 3, 4, 10, 11, 12, 500])
def test_answers_do_not_depend_on_the_batch_size(batch_size):
    expected = predictions(to_float(IMAGES))
    assert len(set(expected)) > 1
    np.testing.assert_array_equal(predict(LOGITS, IMAGES, batch_size), expected)
    np.testing.assert_array_equal(predict(LOGITS, to_float(IMAGES), batch_size), expected)


def test_every_batch_has_the_shape_of_the_first():
    shapes = []

    def logits(weights, images):
        shapes.append(images.shape)
        return images.reshape(len(images), -1) @ weights

    logits_fn = Partial(logits, WEIGHTS)
    predict(logits_fn, IMAGES, 4)
    assert shapes == [(4, 2, 2, 1)]
    # other weights in the same function need no new program, and are not the old ones
    flipped = Partial(logits, -WEIGHTS)
    np.testing.assert_array_equal(
        predict(flipped, IMAGES, 4), (to_float(IMAGES).reshape(N, -1) @ -WEIGHTS).argmax(1)
    )
    assert len(shapes) == 1


@few_examples
@given(
    count=st.integers(1, 5),
    views=st.integers(1, 4),
    batch_size=st.integers(1, 25),
    seed=st.integers(0, 2**31 - 1),
)
def test_right_on_views_is_each_views_answer(count, views, batch_size, seed):
    rng = np.random.default_rng(seed)
    # views near one another, so that some examples are right in all of theirs
    images = rng.integers(0, 200, (count, 1, 2, 2, 1)) + rng.integers(
        0, 50, (count, views, 2, 2, 1)
    )
    images = images.astype(np.uint8)
    labels = np.array(
        [
            predictions(to_float(image))[0] if rng.random() < 0.8 else rng.integers(CLASSES)
            for image in images
        ]
    )
    expected = [
        predictions(to_float(image)) == label for image, label in zip(images, labels, strict=True)
    ]
    np.testing.assert_array_equal(right_on_views(LOGITS, images, labels, batch_size), expected)


GENERATOR = linear_generator(num_layers=3, code_dim=4, resolution=2)
PARAMS = linear_params(GENERATOR)
DIRECTIONS = oblique_directions(GENERATOR, count=2)
SPACE = attacks.directions(GENERATOR, PARAMS, DIRECTIONS, truncation=None)
CODES = (0.2 * RNG.normal(size=(N, 3, 4))).astype(np.float32)
CLEAN = linear_images(PARAMS, CODES)
# right on the clean image, but for the last two
LABELS = np.where(
    np.arange(N) < N - 2, predictions(CLEAN), (predictions(CLEAN) + 1) % CLASSES
).astype(np.int32)
SEARCH = attacks.best_of(attacks.pgd(8), 4)


def margins(images):
    """Largest wrong logit minus the right one, in float64."""
    logits = images.reshape(len(images), -1).astype(np.float64) @ WEIGHTS + BIAS
    right = logits[np.arange(len(logits)), LABELS]
    logits[np.arange(len(logits)), LABELS] = -np.inf
    return logits.max(1) - right


def cross_entropies(images):
    """Log of the sum of all exponentials minus the right logit, in float64."""
    logits = images.reshape(len(images), -1).astype(np.float64) @ WEIGHTS + BIAS
    return np.log(np.exp(logits).sum(1)) - logits[np.arange(len(logits)), LABELS]


def worst_margins(epsilon):
    """The highest margin inside the box, which a linear classifier has in one of its corners."""
    moves = np.stack(
        [
            np.zeros_like(CODES[0]) + sigma * vector
            for sigma, vector in zip(DIRECTIONS.sigma, DIRECTIONS.vectors, strict=True)
        ]
    )
    corners = [
        np.einsum("s,sld->ld", epsilon * np.array(c), moves)
        for c in ((1, 1), (1, -1), (-1, 1), (-1, -1))
    ]
    return np.max([margins(linear_images(PARAMS, CODES + corner)) for corner in corners], axis=0)


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 0.4])
def test_an_example_fails_exactly_where_the_box_holds_a_failure(epsilon):
    images, failed, delta, loss = attack(
        SEARCH, SPACE, LOGITS, CODES, LABELS, epsilon, seed=0, batch_size=N
    )
    worst = worst_margins(epsilon)
    assert np.abs(worst).min() > 1e-4, "no example may lie on the border"
    np.testing.assert_array_equal(failed, worst > 0)
    np.testing.assert_array_equal(failed, margins(images) > 0)
    np.testing.assert_allclose(margins(images), worst, rtol=1e-4, atol=1e-4)
    assert images.shape == CLEAN.shape and failed.dtype == bool
    # where it was found, and what was found there
    steps = np.stack(
        [sigma * vector for sigma, vector in zip(DIRECTIONS.sigma, DIRECTIONS.vectors, strict=True)]
    )
    assert np.abs(delta).max() <= epsilon * (1 + 1e-6)
    np.testing.assert_allclose(
        linear_images(PARAMS, CODES + np.einsum("bs,sld->bld", delta, steps)),
        images,
        rtol=1e-4,
        atol=1e-4,
    )
    np.testing.assert_allclose(loss, worst, rtol=1e-4, atol=1e-4)


def test_the_three_radii_tell_something_apart():
    failures = [int((worst_margins(epsilon) > 0).sum()) for epsilon in (0.0, 0.1, 0.4)]
    assert failures[0] == 2 < failures[1] < failures[2] < N


def test_the_attack_does_not_depend_on_how_it_is_split_into_batches():
    # too short a search to reach the worst corner, so that where it starts shows in where it ends
    search = attacks.pgd(1, 0.01, random_start=True)

    def run(batch_size, seed=0):
        return attack(search, SPACE, LOGITS, CODES, LABELS, 0.3, seed=seed, batch_size=batch_size)

    whole = run(N)
    for batch_size in (1, 4, 100):
        again = run(batch_size)
        for found, expected in zip(again, whole, strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert np.all(np.abs(run(N, seed=1).images - whole.images).max((1, 2, 3)) > 0)


def test_the_loss_that_is_climbed_is_the_one_that_is_named():
    epsilon = 0.4
    moves = np.stack(
        [sigma * vector for sigma, vector in zip(DIRECTIONS.sigma, DIRECTIONS.vectors, strict=True)]
    )
    corners = [
        np.einsum("s,sld->ld", epsilon * np.array(c), moves)
        for c in ((1, 1), (1, -1), (-1, 1), (-1, -1))
    ]
    # the cross entropy is convex along every direction: highest in a corner, too
    worst = np.max(
        [cross_entropies(linear_images(PARAMS, CODES + corner)) for corner in corners], axis=0
    )
    found = attack(SEARCH, SPACE, LOGITS, CODES, LABELS, epsilon, loss="ce", seed=0, batch_size=N)
    np.testing.assert_allclose(found.loss, worst, rtol=1e-4)
    np.testing.assert_allclose(cross_entropies(found.images), worst, rtol=1e-4)
    np.testing.assert_array_equal(found.failed, margins(found.images) > 0)


def test_the_worst_point_fails_if_any_visited_one_does():
    search = attacks.pgd(3, 0.5)  # steps so long that the search jumps back over the border
    space = attacks.linf((-10.0, 10.0))
    images = CLEAN.astype(np.float32)
    found, failed, _, loss = attack(
        search, space, LOGITS, images, LABELS, 1.0, seed=0, batch_size=4
    )
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(0), np.arange(N))

    def loss_fn(inputs):
        logits = LOGITS(inputs)
        return attacks.margin(logits, LABELS), attacks.misclassified(logits, LABELS)

    visited = np.asarray(
        jax.jit(lambda: search(loss_fn, keys, space, images, np.ones(N, np.float32)).loss)()
    )
    np.testing.assert_array_equal(failed, (visited > 0).any(0))
    np.testing.assert_allclose(loss, visited.max(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(failed, margins(found) > 0)
