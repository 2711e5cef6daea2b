"""conv2d with explicit padding: any window, and its hand-written gradients, against XLA's."""

import jax
import numpy as np
import pytest
from jax import lax

from natra_jax.convolution import conv2d


@pytest.mark.parametrize(
    ("window", "padding"),
    [
        ((2, 2), ((1, 1), (0, 0))),
        ((2, 1), ((0, 1), (0, 0))),
        ((4, 3), ((2, 1), (3, 0))),
        ((3, 2), ((-1, 2), (1, -1))),
        ((1, 1), ((0, 0), (0, 0))),
    ],
)
def test_value_and_gradients_equal_xlas_for_any_window_and_padding(window, padding):
    rng = np.random.default_rng(sum(window))
    x = rng.uniform(-1, 1, (2, 5, 6, 3)).astype(np.float32)
    kernel = rng.uniform(-1, 1, (*window, 3, 4)).astype(np.float32)

    def reference(x, kernel):
        return lax.conv_general_dilated(
            x, kernel, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    shape = jax.eval_shape(reference, x, kernel).shape
    cotangent = rng.uniform(-1, 1, shape).astype(np.float32)

    @jax.jit
    def both(x, kernel):
        results = []
        for convolve in (lambda x, kernel: conv2d(x, kernel, padding), reference):
            y, pull_back = jax.vjp(convolve, x, kernel)
            results.append((y, *pull_back(cotangent)))
        return results

    for ours, theirs in zip(*both(x, kernel), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
