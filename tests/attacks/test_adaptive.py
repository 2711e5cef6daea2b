"""Adaptive radii and soft labels, against CAT's rule in NumPy and the Dirichlet's moments."""

import jax
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from natra_jax import attacks
from tests.helpers import example_keys, few_examples, floats32

B, C = 6, 5
soft_labels = jax.jit(attacks.soft_labels, static_argnames="num_classes")


def one_visit(epsilon, wrong, rho, epsilon_max):
    """(radius attacked at, radius afterwards) of one example, eq. 13 read a number at a time."""
    tried = min(epsilon + rho, epsilon_max)
    return tried, min(max(epsilon if wrong else epsilon + rho, 0.0), epsilon_max)


@few_examples
@given(
    fractions=floats32((B,), 0.0, 1.0),
    wrong=st.lists(st.booleans(), min_size=B, max_size=B),
    rho=st.floats(0.0, 3.0),
    epsilon_max=st.floats(0.01, 4.0),
)
def test_radii_follow_the_rule(fractions, wrong, rho, epsilon_max):
    epsilon = (fractions * epsilon_max).astype(np.float32)
    expected = np.array(
        [one_visit(e, w, rho, epsilon_max) for e, w in zip(epsilon.tolist(), wrong, strict=True)]
    )
    tried = attacks.trial_radius(epsilon, rho, epsilon_max)
    updated = attacks.updated_radius(epsilon, np.array(wrong), rho, epsilon_max)
    np.testing.assert_allclose(tried, expected[:, 0], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(updated, expected[:, 1], rtol=1e-6, atol=1e-6)
    assert np.all(np.asarray(updated) >= epsilon - 1e-6) and np.all(
        np.asarray(updated) <= np.float32(epsilon_max)
    )
    np.testing.assert_array_equal(np.asarray(updated)[wrong], epsilon[wrong])


def test_a_radius_grows_from_zero_to_its_maximum_and_stays():
    radii, epsilon = [], np.zeros(1, np.float32)
    for wrong in [False, False, True, False, False, False]:
        epsilon = np.asarray(attacks.updated_radius(epsilon, np.array([wrong]), 0.3, 1.0))
        radii.append(float(epsilon[0]))
    np.testing.assert_allclose(radii, [0.3, 0.6, 0.6, 0.9, 1.0, 1.0], rtol=1e-6)


@few_examples
@given(
    epsilon=floats32((B,), 0.0, 10.0),
    smoothing=st.floats(0.0, 10.0),
    labels=st.lists(st.integers(0, C - 1), min_size=B, max_size=B),
    seed=st.integers(0, 2**31 - 1),
)
def test_soft_labels_are_the_mixture_of_the_label_and_one_draw_for_each_key(
    epsilon, smoothing, labels, seed
):
    keys = example_keys(B, seed)
    soft = np.asarray(soft_labels(keys, np.array(labels), epsilon, smoothing, num_classes=C))
    assert soft.shape == (B, C) and np.all(soft >= 0)
    np.testing.assert_allclose(soft.sum(axis=1), 1, atol=1e-6)
    # with amount 1 the labels vanish and the draws remain
    draws = np.asarray(
        soft_labels(keys, np.array(labels), np.ones_like(epsilon), 1.0, num_classes=C)
    )
    amount = np.minimum(1.0, smoothing * epsilon.astype(np.float64))[:, None]
    np.testing.assert_allclose(soft, (1 - amount) * np.eye(C)[labels] + amount * draws, atol=1e-5)


def test_soft_labels_of_radius_zero_are_exactly_one_hot():
    labels = np.arange(B) % C
    soft = soft_labels(example_keys(B), labels, np.zeros(B, np.float32), 10.0, num_classes=C)
    np.testing.assert_array_equal(soft, np.eye(C)[labels])


def test_the_same_keys_give_the_same_draws_and_other_keys_others():
    def draws(seed, labels):
        return np.asarray(
            soft_labels(example_keys(B, seed), labels, np.ones(B, np.float32), 1.0, num_classes=C)
        )

    labels = np.zeros(B, int)
    np.testing.assert_array_equal(draws(0, labels), draws(0, labels + 1))
    assert np.all(np.abs(draws(0, labels) - draws(1, labels)).max(axis=1) > 0)
    assert len(np.unique(draws(0, labels)[:, 0])) == B


def test_the_draws_are_uniform_on_the_simplex():
    n = 20_000
    u = np.asarray(
        soft_labels(example_keys(n), np.zeros(n, int), np.ones(n, np.float32), 1.0, num_classes=C),
        np.float64,
    )
    variance = (C - 1) / (C**2 * (C + 1))
    np.testing.assert_allclose(u.mean(axis=0), 1 / C, atol=5 * np.sqrt(variance / n))
    np.testing.assert_allclose(u.var(axis=0), variance, rtol=0.06)
    covariance = np.cov(u.T)[~np.eye(C, dtype=bool)]
    np.testing.assert_allclose(covariance, -1 / (C**2 * (C + 1)), rtol=0.15)
    # a coordinate exceeds t with probability (1 - t)^(C - 1)
    for t in (0.1, 0.3, 0.6):
        np.testing.assert_allclose((u > t).mean(axis=0), (1 - t) ** (C - 1), atol=0.018)
