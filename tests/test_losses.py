"""Losses on logits against NumPy and closed-form gradients."""

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from natra_jax.losses import cross_entropy, dlr, margin, misclassified, mixed, soft_cross_entropy
from tests.helpers import few_examples, floats32

B, C = 5, 4
some_logits = floats32((B, C), -50.0, 50.0)
some_labels = st.lists(st.integers(0, C - 1), min_size=B, max_size=B).map(np.array)
jitted_cross_entropy, jitted_margin, jitted_misclassified = (
    jax.jit(cross_entropy),
    jax.jit(margin),
    jax.jit(misclassified),
)


def numpy_log_softmax(logits):
    logits = logits.astype(np.float64)
    top = logits.max(axis=1, keepdims=True)
    return logits - top - np.log(np.exp(logits - top).sum(axis=1, keepdims=True))


@few_examples
@given(logits=some_logits, labels=some_labels)
def test_cross_entropy_of_class_indices(logits, labels):
    expected = [-row[label] for row, label in zip(numpy_log_softmax(logits), labels, strict=True)]
    np.testing.assert_allclose(jitted_cross_entropy(logits, labels), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        jitted_cross_entropy(logits, np.eye(C, dtype=np.float32)[labels]),
        expected,
        rtol=1e-5,
        atol=1e-5,
    )


@few_examples
@given(logits=some_logits, weights=floats32((B, C), 0.0, 1.0))
def test_cross_entropy_of_distributions(logits, weights):
    targets = (weights + 0.01) / (weights + 0.01).sum(axis=1, keepdims=True)
    expected = -(targets * numpy_log_softmax(logits)).sum(axis=1)
    np.testing.assert_allclose(
        jitted_cross_entropy(logits, targets.astype(np.float32)), expected, rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("soft", [False, True])
def test_the_gradient_of_cross_entropy_is_softmax_minus_target(soft):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(B, C)).astype(np.float32)
    labels = np.arange(B) % C
    targets = rng.dirichlet(np.ones(C), B).astype(np.float32) if soft else labels
    gradient = jax.jit(jax.grad(lambda x: cross_entropy(x, targets).sum()))(logits)
    expected = np.exp(numpy_log_softmax(logits)) - (targets if soft else np.eye(C)[labels])
    np.testing.assert_allclose(gradient, expected, atol=1e-6)


def test_cross_entropy_stays_finite_for_huge_logits():
    logits = np.array([[1e4, -1e4, 0, 0], [-3e38, 3e37, 0, 0]], np.float32)
    np.testing.assert_allclose(jitted_cross_entropy(logits, np.array([1, 1])), [2e4, 0])


def numpy_margin(logits, labels):
    return [
        max(x for c, x in enumerate(row) if c != label) - row[label]
        for row, label in zip(logits.tolist(), labels, strict=True)
    ]


@few_examples
@given(logits=some_logits, labels=some_labels)
def test_margin_is_the_largest_wrong_logit_minus_the_right_one(logits, labels):
    np.testing.assert_allclose(
        jitted_margin(logits, labels), numpy_margin(logits, labels), rtol=1e-6, atol=1e-5
    )


@few_examples
@given(order=st.permutations(range(B * C)), labels=some_labels)
def test_margin_is_positive_exactly_where_misclassified_when_no_logits_tie(order, labels):
    logits = np.array(order, np.float32).reshape(B, C)
    wrong = np.array(
        [row.index(max(row)) != label for row, label in zip(logits.tolist(), labels, strict=True)]
    )
    np.testing.assert_array_equal(jitted_misclassified(logits, labels), wrong)
    np.testing.assert_array_equal(np.asarray(jitted_margin(logits, labels)) > 0, wrong)


def test_margin_is_zero_where_the_right_logit_ties_with_the_largest_wrong_one():
    logits = np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0]], np.float32)
    np.testing.assert_array_equal(margin(logits, np.array([1, 0])), 0.0)


def test_the_gradient_of_margin_lifts_the_runner_up_against_the_label():
    logits = np.array([[3.0, 1.0, 2.0, -1.0], [0.0, 5.0, 1.0, 4.0]], np.float32)
    gradient = jax.jit(jax.grad(lambda x: margin(x, np.array([0, 2])).sum()))(logits)
    np.testing.assert_array_equal(gradient, [[-1, 0, 1, 0], [0, 1, -1, 0]])


def numpy_dlr(logits, labels):
    """Croce & Hein (2020), eq. 6.

    -(z_y - max of the others) / (z_pi1 - z_pi3), pi from the largest down.
    """
    values = []
    for row, label in zip(logits.astype(np.float64).tolist(), labels, strict=True):
        first, _, third = sorted(row, reverse=True)[:3]
        values.append(-(row[label] - max(row[:label] + row[label + 1 :])) / (first - third))
    return values


@few_examples
@given(
    order=st.permutations(range(B * C)), labels=some_labels, scale=st.sampled_from([1e-3, 1.0, 1e4])
)
def test_dlr_is_the_papers_ratio_and_does_not_depend_on_the_scale(order, labels, scale):
    logits = np.array(order, np.float32).reshape(B, C)
    expected = numpy_dlr(logits, labels)
    np.testing.assert_allclose(jitted_dlr(np.float32(scale) * logits, labels), expected, rtol=1e-4)
    # positive exactly where misclassified, so that the highest point of a search is a success if
    # any is
    np.testing.assert_array_equal(np.asarray(expected) > 0, jitted_misclassified(logits, labels))


jitted_dlr = jax.jit(dlr)


def test_dlr_and_its_gradient_stay_finite_where_all_logits_tie():
    value, gradient = jax.jit(jax.value_and_grad(lambda logits: dlr(logits, np.arange(3)).sum()))(
        np.ones((3, C), np.float32)
    )
    np.testing.assert_array_equal(value, 0)
    assert np.all(np.isfinite(gradient))


@pytest.mark.parametrize("classes", [1, 2])
def test_dlr_refuses_fewer_than_three_classes(classes):
    with pytest.raises(
        ValueError, match=rf"at least 3 classes, got logits of shape \(4, {classes}\)"
    ):
        dlr(np.zeros((4, classes), np.float32), np.zeros(4, int))


@few_examples
@given(
    logits=some_logits,
    labels=some_labels,
    weights=floats32((B, C), 0.0, 1.0),
    kappa=st.sampled_from([0.0, 10.0, 1e3]),
)
def test_mixed_is_cross_entropy_to_the_targets_and_a_margin_to_the_label_from_below_kappa(
    logits, labels, weights, kappa
):
    targets = (weights + 0.01) / (weights + 0.01).sum(axis=1, keepdims=True)
    entropy = -(targets * numpy_log_softmax(logits)).sum(axis=1)
    expected = [
        e + max(m, -kappa) for e, m in zip(entropy, numpy_margin(logits, labels), strict=True)
    ]
    np.testing.assert_allclose(
        jax.jit(mixed(kappa))(logits, targets.astype(np.float32), labels),
        expected,
        rtol=1e-5,
        atol=1e-4,
    )
    np.testing.assert_allclose(
        soft_cross_entropy(logits, targets.astype(np.float32), labels),
        entropy,
        rtol=1e-5,
        atol=1e-4,
    )


def test_beyond_kappa_the_margin_pulls_no_more():
    # right by 5: more than kappa = 1, less than kappa = 10
    logits, targets, labels = (
        np.array([[5.0, 0.0, -1.0]], np.float32),
        np.full((1, 3), 1 / 3, np.float32),
        np.array([0]),
    )
    plain = jax.grad(lambda x: cross_entropy(x, targets).sum())(logits)
    for kappa, extra in [(1.0, [0, 0, 0]), (10.0, [-1, 1, 0])]:
        gradient = jax.grad(lambda x, kappa=kappa: mixed(kappa)(x, targets, labels).sum())(logits)
        np.testing.assert_allclose(gradient - plain, [extra], atol=1e-6)
