"""conv2d and its hand-written gradients against XLA's convolution and its own."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from natra_jax.convolution import Conv, conv2d

WINDOWS = [(1, 1), (3, 3), (5, 5), (1, 3), (5, 3)]


def reference(x, kernel):
    return lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def value_and_gradients(convolve, x, kernel, cotangent):
    y, pull_back = jax.vjp(convolve, x, kernel)
    return y, *pull_back(cotangent)


def random_arrays(window, size, lead=()):
    rng = np.random.default_rng(sum(window) + 10 * sum(size))
    x = rng.uniform(-1, 1, (*lead, 2, *size, 3)).astype(np.float32)
    kernel = rng.uniform(-1, 1, (*lead, *window, 3, 4)).astype(np.float32)
    cotangent = rng.uniform(-1, 1, (*lead, 2, *size, 4)).astype(np.float32)
    return x, kernel, cotangent


def assert_all_close(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("window", WINDOWS)
def test_value_and_gradients_equal_xlas_inside_and_outside_a_scan(window):
    x, kernel, cotangent = random_arrays(window, (7, 5), lead=(2,))

    @jax.jit
    def both_ways(x, kernel, cotangent):
        outside = value_and_gradients(conv2d, x[0], kernel[0], cotangent[0])
        step = lambda carry, xs: (carry, value_and_gradients(conv2d, *xs))  # noqa: E731
        return outside, lax.scan(step, None, (x, kernel, cotangent))[1]

    outside, inside = both_ways(x, kernel, cotangent)
    theirs = jax.jit(partial(value_and_gradients, reference))
    assert_all_close(outside, theirs(x[0], kernel[0], cotangent[0]))
    for i in range(2):
        assert_all_close([array[i] for array in inside], theirs(x[i], kernel[i], cotangent[i]))


@pytest.mark.parametrize(
    ("window", "size"),
    [((3, 3), (4, 6)), ((5, 5), (3, 2)), ((3, 3), (2, 2)), ((5, 5), (2, 1)), ((1, 1), (1, 1))],
)
def test_gradients_hold_for_even_sizes_and_images_smaller_than_the_window(window, size):
    arrays = random_arrays(window, size)
    ours, theirs = jax.jit(
        lambda *a: [value_and_gradients(convolve, *a) for convolve in (conv2d, reference)]
    )(*arrays)
    assert_all_close(ours, theirs)


def test_ascent_inside_a_scan_follows_xlas_gradients():
    x, kernel, _ = random_arrays((3, 3), (5, 5))

    def ascend(convolve):
        gradient = jax.grad(
            lambda x: jnp.sum(
                jnp.tanh(convolve(jnp.tanh(convolve(x, kernel)), kernel.swapaxes(2, 3))) ** 2
            )
        )
        return jax.jit(
            lambda x: lax.scan(lambda x, _: (x + 0.01 * gradient(x), None), x, None, length=4)[0]
        )(x)

    np.testing.assert_allclose(ascend(conv2d), ascend(reference), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("window", [(2, 2), (4, 3), (3, 2)])
def test_an_even_window_is_refused(window):
    with pytest.raises(ValueError, match="odd window.*kernel"):
        conv2d(jnp.zeros((1, 5, 5, 2)), jnp.zeros((*window, 2, 2)))


def test_the_layer_is_the_convolution_and_a_bias():
    x = np.random.default_rng(0).normal(size=(2, 5, 5, 8)).astype(np.float32)
    layer = Conv(features=16, window=3)
    params = jax.jit(layer.init)(jax.random.key(0), x)["params"]
    assert {name: p.shape for name, p in params.items()} == {"kernel": (3, 3, 8, 16), "bias": (16,)}
    np.testing.assert_allclose(np.std(params["kernel"]), np.sqrt(2 / (9 * 8)), rtol=0.1)
    np.testing.assert_array_equal(params["bias"], 0)
    bias = np.arange(16, dtype=np.float32)
    expected = reference(x, params["kernel"])
    np.testing.assert_allclose(
        layer.apply({"params": params | {"bias": bias}}, x), expected + bias, rtol=1e-5, atol=1e-5
    )
    plain = Conv(features=16, window=3, use_bias=False)
    assert jax.eval_shape(plain.init, jax.random.key(0), x)["params"].keys() == {"kernel"}
    np.testing.assert_allclose(
        plain.apply({"params": {"kernel": params["kernel"]}}, x), expected, rtol=1e-5, atol=1e-5
    )
