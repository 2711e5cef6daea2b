"""The Space of AdvBN against a second implementation in NumPy, a group at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from natra_jax import attacks
from tests.helpers import example_keys, unchecked

B, SHAPE, CLASSES = 6, (2, 2, 3), 4
RADIUS, STEP, STEPS = 1.1, 0.2, 6  # AdvBN's


def head(weights, labels, inputs):
    logits = inputs.reshape(len(inputs), -1) @ weights
    return attacks.cross_entropy(logits, labels), attacks.misclassified(logits, labels)


def numpy_advbn(features, weights, labels):
    """One group: mean loss, m and s at each of the points that sign steps on them visit."""
    mu = features.mean(axis=(0, 1, 2))
    m, s, candidate = np.ones(3), np.ones(3), []
    for _ in range(STEPS + 1):
        moved = (features - mu) * s + m * mu
        active = (
            moved > 1e-12
        )  # five steps of 0.2 down from 1 are 0 but for rounding, and a feature there is not active
        logits = (moved * active).reshape(len(features), -1) @ weights
        probabilities = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        right = np.arange(len(labels)), labels
        candidate.append((-np.log(probabilities[right]).mean(), m, s))
        probabilities[right] -= 1
        gradient = (probabilities @ weights.T).reshape(features.shape) * active
        gradient_s, gradient_m = (
            ((features - mu) * gradient).sum(axis=(0, 1, 2)),
            (mu * gradient).sum(axis=(0, 1, 2)),
        )
        low, high = 1 - RADIUS, 1 + RADIUS
        m, s = (
            np.clip(m + STEP * np.sign(gradient_m), low, high),
            np.clip(s + STEP * np.sign(gradient_s), low, high),
        )
    return candidate


@pytest.mark.parametrize("group", [1, 3])
def test_the_update_is_advbns(group):
    rng = np.random.default_rng(4)
    # positive: where a feature is 0, so is the derivative of its ReLU only by convention
    features, weights = rng.uniform(0.05, 2.0, (B, *SHAPE)), rng.normal(size=(12, CLASSES))
    labels = np.arange(B) % CLASSES
    with jax.enable_x64(True):
        search = jax.jit(attacks.pgd(STEPS, STEP))
        arguments = (
            Partial(head, weights, labels),
            example_keys(B),
            attacks.feature_stats(group),
            features,
            np.full(B, RADIUS),
        )
        result = jax.tree.map(np.asarray, search(*arguments))
    np.testing.assert_allclose(
        result.center.means, features.reshape(B // group, -1, 3).mean(axis=1), rtol=1e-12
    )
    for g in range(B // group):
        members = slice(g * group, (g + 1) * group)
        candidate = numpy_advbn(features[members], weights, labels[members])
        losses = np.array([loss for loss, _, _ in candidate])
        np.testing.assert_allclose(result.loss[:, members].mean(axis=1), losses, rtol=1e-9)
        # where a ReLU has silenced a channel, points that differ in it alone have the same loss
        best = [
            point for point in candidate if np.isclose(point[0], losses.max(), rtol=1e-12, atol=0)
        ]
        found = 1 + result.delta.mean[g], 1 + result.delta.std[g]
        assert any(
            np.allclose(found[0], m, rtol=1e-9) and np.allclose(found[1], s, rtol=1e-9)
            for _, m, s in best
        )
        # the search has gone all the way to where the radius cuts
        assert losses[-1] > losses[0] and np.any(
            np.isclose(np.abs([candidate[-1][1] - 1, candidate[-1][2] - 1]), RADIUS)
        )


def test_a_groups_radius_is_its_first_examples():
    features = np.random.default_rng(0).uniform(0.5, 1.0, (4, *SHAPE)).astype(np.float32)
    space = attacks.feature_stats(2)
    epsilon = np.array([0.1, 9.0, 0.3, 0.0], np.float32)
    far = jax.tree.map(
        lambda leaf: leaf + 5,
        space.init(example_keys(4), space.anchor(example_keys(4), features), epsilon),
    )
    for leaf in space.project(far, space.anchor(example_keys(4), features), epsilon):
        np.testing.assert_array_equal(
            leaf, np.broadcast_to(np.array([[0.1], [0.3]], np.float32), (2, 3))
        )


def test_random_starts_fill_the_cube_alike_for_means_and_spreads():
    count = 2000
    features, epsilon = (
        np.ones((count, 1, 3), np.float32),
        np.repeat(np.array([0.5, 1.0], np.float32), count // 2),
    )
    space = attacks.feature_stats(1)
    center = attacks.spaces.features.FeatureCenter(features, features[:, 0])
    initial_delta = np.stack(jax.jit(space.init)(example_keys(count), center, epsilon)).astype(
        float
    )
    assert np.all(np.abs(initial_delta) <= epsilon[:, None])
    for half in (slice(0, count // 2), slice(count // 2, count)):
        np.testing.assert_allclose(initial_delta[:, half].mean(axis=(1, 2)), 0, atol=0.06)
        np.testing.assert_allclose(
            initial_delta[:, half].var(axis=(1, 2)), epsilon[half][0] ** 2 / 3, rtol=0.1
        )
    # m and s are drawn apart from one another
    assert abs(np.corrcoef(initial_delta[0].ravel(), initial_delta[1].ravel())[0, 1]) < 0.06


def test_features_of_any_number_of_axes_will_do():
    features = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
    space = attacks.feature_stats(4, relu=False)
    center = space.anchor(example_keys(4), features)
    delta = jax.tree.map(
        lambda leaf: leaf + jnp.array([0.5]),
        space.init(example_keys(4), center, np.zeros(4, np.float32)),
    )
    mu = features.mean(axis=0)
    np.testing.assert_allclose(
        space.decode(center, delta), (features - mu) * 1.5 + 1.5 * mu, atol=1e-5
    )


@unchecked()
def test_groups_that_do_not_divide_the_batch_are_refused():
    arguments = Partial(head, np.ones((12, 4), np.float32), np.zeros(B, int)), example_keys(B)
    with pytest.raises(ValueError, match="6 examples do not divide into the space's groups of 4"):
        attacks.pgd(1)(
            *arguments,
            attacks.feature_stats(4),
            np.ones((B, *SHAPE), np.float32),
            np.ones(B, np.float32),
        )
    for group in (0, -1, 2.0):
        with pytest.raises(
            ValueError, match=f"feature_stats: group must be a whole number >= 1, got {group}"
        ):
            attacks.feature_stats(group)
