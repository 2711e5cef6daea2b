"""Losses on logits against NumPy and closed-form gradients."""

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from natra_jax.losses import cross_entropy, margin, misclassified
from tests.helpers import few_examples, floats32

B, C = 5, 4
some_logits = floats32((B, C), -50.0, 50.0)
some_labels = st.lists(st.integers(0, C - 1), min_size=B, max_size=B).map(np.array)
jitted_cross_entropy, jitted_margin, jitted_misclassified = jax.jit(cross_entropy), jax.jit(margin), jax.jit(misclassified)


def numpy_log_softmax(logits):
    logits = logits.astype(np.float64)
    top = logits.max(axis=1, keepdims=True)
    return logits - top - np.log(np.exp(logits - top).sum(axis=1, keepdims=True))


@few_examples
@given(logits=some_logits, labels=some_labels)
def test_cross_entropy_of_class_indices(logits, labels):
    expected = [-row[label] for row, label in zip(numpy_log_softmax(logits), labels, strict=True)]
    np.testing.assert_allclose(jitted_cross_entropy(logits, labels), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(jitted_cross_entropy(logits, np.eye(C, dtype=np.float32)[labels]), expected, rtol=1e-5, atol=1e-5)


@few_examples
@given(logits=some_logits, weights=floats32((B, C), 0.0, 1.0))
def test_cross_entropy_of_distributions(logits, weights):
    targets = (weights + 0.01) / (weights + 0.01).sum(axis=1, keepdims=True)
    expected = -(targets * numpy_log_softmax(logits)).sum(axis=1)
    np.testing.assert_allclose(jitted_cross_entropy(logits, targets.astype(np.float32)), expected, rtol=1e-5, atol=1e-5)


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
    return [max(x for c, x in enumerate(row) if c != label) - row[label] for row, label in zip(logits.tolist(), labels, strict=True)]


@few_examples
@given(logits=some_logits, labels=some_labels)
def test_margin_is_the_largest_wrong_logit_minus_the_right_one(logits, labels):
    np.testing.assert_allclose(jitted_margin(logits, labels), numpy_margin(logits, labels), rtol=1e-6, atol=1e-5)


@few_examples
@given(order=st.permutations(range(B * C)), labels=some_labels)
def test_margin_is_positive_exactly_where_misclassified_when_no_logits_tie(order, labels):
    logits = np.array(order, np.float32).reshape(B, C)
    wrong = np.array([row.index(max(row)) != label for row, label in zip(logits.tolist(), labels, strict=True)])
    np.testing.assert_array_equal(jitted_misclassified(logits, labels), wrong)
    np.testing.assert_array_equal(np.asarray(jitted_margin(logits, labels)) > 0, wrong)


def test_margin_is_zero_where_the_right_logit_ties_with_the_largest_wrong_one():
    logits = np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0]], np.float32)
    np.testing.assert_array_equal(margin(logits, np.array([1, 0])), 0.0)


def test_the_gradient_of_margin_lifts_the_runner_up_against_the_label():
    logits = np.array([[3.0, 1.0, 2.0, -1.0], [0.0, 5.0, 1.0, 4.0]], np.float32)
    gradient = jax.jit(jax.grad(lambda x: margin(x, np.array([0, 2])).sum()))(logits)
    np.testing.assert_array_equal(gradient, [[-1, 0, 1, 0], [0, 1, -1, 0]])
