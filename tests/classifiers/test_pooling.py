"""Pooling against NumPy, window by window, and where its gradients go."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from natra_jax.classifiers.pooling import adaptive_average, max_of_2, max_of_3

SIZES = [(1, 7), (2, 1), (10, 13), (14, 9)]


def drawn(height, width):
    return np.random.default_rng(0).normal(size=(2, height, width, 3)).astype(np.float32)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_adaptive_pooling_averages_overlapping_bins(height, width):
    x = drawn(height, width)
    found = adaptive_average(x, 7)
    for i in range(7):
        for j in range(7):
            rows = slice(int(np.floor(i * height / 7)), int(np.ceil((i + 1) * height / 7)))
            columns = slice(int(np.floor(j * width / 7)), int(np.ceil((j + 1) * width / 7)))
            np.testing.assert_allclose(found[:, i, j], x[:, rows, columns].mean((1, 2)), atol=1e-6)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_maxima_are_those_of_the_windows(height, width):
    x = np.maximum(drawn(height, width), 0)
    halved, around = np.asarray(max_of_2(x)), np.asarray(max_of_3(x))
    assert halved.shape[1:3] == (max(1, height // 2), max(1, width // 2)) and around.shape[1:3] == (
        -(-height // 2),
        -(-width // 2),
    )
    for i, j in np.ndindex(halved.shape[1:3]):
        np.testing.assert_array_equal(
            halved[:, i, j], x[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].max((1, 2))
        )
    for i, j in np.ndindex(around.shape[1:3]):
        seen = x[:, max(0, 2 * i - 1) : 2 * i + 2, max(0, 2 * j - 1) : 2 * j + 2]
        np.testing.assert_array_equal(around[:, i, j], seen.max((1, 2)))


@pytest.mark.parametrize("pool", [max_of_2, max_of_3])
def test_all_of_the_gradient_goes_to_one_maximum_and_what_is_not_a_number_stays(pool):
    x = drawn(6, 8) + 5
    gradient = np.asarray(jax.jit(jax.grad(lambda x: pool(x).sum()))(x))
    assert gradient.sum() == pool(x).size and set(np.unique(gradient)) <= {0, 1, 2, 3, 4}
    pairs = x.copy()
    pairs[:, 1::2] = pairs[:, ::2]  # every maximum is there twice
    assert np.asarray(jax.grad(lambda x: pool(x).sum())(pairs)).sum() == pool(x).size
    x[0, 2, 3, 1] = np.nan
    assert np.isnan(pool(x)[0, :, :, 1]).any() and not np.isnan(pool(x)[1]).any()
    assert pool(jnp.asarray(x, jnp.bfloat16)).dtype == jnp.bfloat16
