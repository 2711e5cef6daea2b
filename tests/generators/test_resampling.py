"""Up-sampling in all of its forms: against sums written out pixel by pixel, and against NVIDIA's
own operations.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from natra_jax.generators import resampling

GOLDEN = Path(__file__).parents[1] / "golden" / "stylegan2_nv_ops.npz"
ASYMMETRIC = (1, 2, 4, 3)
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def arrays(window, size=(5, 4), seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(2, *size, 3)).astype(np.float32), rng.normal(
        size=(window, window, 3, 4)
    ).astype(np.float32)


def scattered(x, kernel, padding=0):
    """Add each input pixel's multiple of the kernel to the output, a transposed convolution."""
    k, (height, width) = len(kernel), x.shape[1:3]
    y = np.zeros((len(x), 2 * height - 2 + k, 2 * width - 2 + k, kernel.shape[3]))
    for i, j, a, b in np.ndindex(height, width, k, k):
        y[:, 2 * i + a, 2 * j + b] += x[:, i, j].astype(np.float64) @ kernel[a, b]
    return y[:, padding : y.shape[1] - padding, padding : y.shape[2] - padding]


def filtered(y, taps, before, size, gain=4.0):
    """Every pixel of y adds its multiple of the filter to the output, `before` pixels back."""
    outer = gain * np.outer(taps, taps) / np.sum(taps) ** 2
    n = len(taps)
    out = np.zeros((len(y), y.shape[1] + 2 * n + 1, y.shape[2] + 2 * n + 1, y.shape[3]))
    for a, b in np.ndindex(n, n):
        out[:, a + 1 : a + 1 + y.shape[1], b + 1 : b + 1 + y.shape[2]] += outer[a, b] * y
    start = n - before
    return out[:, start : start + size[0], start : start + size[1]]


def centred(taps, window):
    return (len(taps) + 1) // 2 - window // 2


@pytest.mark.parametrize(("window", "padding"), [(3, 0), (3, 1), (4, 1), (4, 3), (5, 2)])
def test_a_transposed_convolution_is_the_sum_of_every_pixels_kernel_in_each_form(window, padding):
    x, kernel = arrays(window)
    expected = scattered(x, kernel, padding)
    for form in (
        resampling.transposed_conv2d,
        resampling.transposed_by_phases,
        resampling.transposed_by_dilation,
    ):
        np.testing.assert_allclose(
            form(x, kernel, padding), expected, err_msg=form.__name__, **CLOSE
        )


def test_a_transposed_convolution_of_one_pixel_is_its_kernel():
    x, kernel = arrays(4, size=(1, 1))
    for padding in (0, 1):
        np.testing.assert_allclose(
            resampling.transposed_conv2d(x, kernel, padding), scattered(x, kernel, padding), **CLOSE
        )


@pytest.mark.parametrize("taps", [ASYMMETRIC, (1, 2, 5), (1,), (1, 2, 3, 5, 4, 1)])
def test_an_up_convolution_is_a_transposed_one_and_a_filter_in_each_form(taps):
    x, kernel = arrays(3)
    expected = filtered(scattered(x, kernel), taps, centred(taps, 3), (10, 8))
    for form in (resampling.up_conv2d, resampling.up_by_phases, resampling.up_by_dilation):
        np.testing.assert_allclose(form(x, kernel, taps), expected, err_msg=form.__name__, **CLOSE)
    # a 1x1 kernel of ones for each channel: zeros between the pixels, then the filter
    between = scattered(x, np.eye(3)[None, None])
    between = np.pad(between, ((0, 0), (0, 1), (0, 1), (0, 0)))
    np.testing.assert_allclose(
        resampling.upsample2d(x, taps),
        filtered(between, taps, (len(taps) + 1) // 2, (10, 8)),
        **CLOSE,
    )


def test_all_forms_have_the_same_gradients_inside_and_outside_a_scan():
    x, kernel = arrays(3, size=(4, 3))
    cotangent = np.random.default_rng(1).normal(size=(2, 8, 6, 4)).astype(np.float32)

    def gradients(form):
        return jax.grad(
            lambda x, kernel: (jnp.tanh(form(x, kernel, ASYMMETRIC)) * cotangent).sum(), (0, 1)
        )

    @jax.jit
    def all_of_them(x, kernel):
        outside = [
            gradients(form)(x, kernel)
            for form in (resampling.up_conv2d, resampling.up_by_phases, resampling.up_by_dilation)
        ]
        step = lambda carry, _: (carry, gradients(resampling.up_conv2d)(*carry))  # noqa: E731
        return outside, lax.scan(step, (x, kernel), None, length=2)[1]

    (chosen, phases, dilation), inside = all_of_them(x, kernel)
    inside = [array[1] for array in inside]
    for others in (chosen, phases, inside):
        for ours, theirs in zip(others, dilation, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=2e-5)


def test_filters_and_up_convolutions_equal_nvidias():
    golden = np.load(GOLDEN)
    x = golden["in/x"].transpose(0, 2, 3, 1)
    kernel = golden["in/w3"].transpose(2, 3, 1, 0)
    expected = {
        name: golden[name].transpose(0, 2, 3, 1)
        for name in golden
        if golden[name].ndim == 4 and name.split("/")[0] != "in"
    }
    blur = (1, 3, 3, 1)
    np.testing.assert_allclose(
        resampling.filter2d(x, blur, (2, 1)), expected["filter2d/f1331"], **CLOSE
    )
    np.testing.assert_allclose(
        resampling.upsample2d(x, blur), expected["upsample2d/f1331"], **CLOSE
    )
    # upfirdn2d of the filter [1, 3, 3, 1] with padding 8, and one that cuts pixels off
    np.testing.assert_allclose(
        resampling.filter2d(x, blur, (8, 8)), expected["upfirdn2d/10"], **CLOSE
    )
    np.testing.assert_allclose(
        resampling.filter2d(x, blur, (-1, 2)), filtered(x, blur, -1, (5, 3), gain=1.0), **CLOSE
    )
    # NVIDIA turns the kernel for 'flip_weight', which is how convolutions are written elsewhere
    np.testing.assert_allclose(
        resampling.up_conv2d(x, kernel, ASYMMETRIC), expected["conv2d_resample/2"], **CLOSE
    )
    np.testing.assert_allclose(
        resampling.up_conv2d(x, kernel[::-1, ::-1], ASYMMETRIC),
        expected["conv2d_resample/3"],
        **CLOSE,
    )
    one_by_one = golden["in/w1"][:, :, 0, 0].T
    np.testing.assert_allclose(
        resampling.upsample2d(x @ one_by_one, ASYMMETRIC), expected["conv2d_resample/7"], **CLOSE
    )


def test_repeating_makes_four_of_each_pixel():
    x, _ = arrays(3)
    np.testing.assert_array_equal(resampling.repeat(x), np.kron(x, np.ones((1, 2, 2, 1))))


def test_windows_that_have_no_meaning_are_refused():
    x, _ = arrays(3)
    with pytest.raises(ValueError, match="odd window"):
        resampling.up_conv2d(x, np.ones((4, 4, 3, 1), np.float32), ASYMMETRIC)
    with pytest.raises(ValueError, match="at least 2"):
        resampling.transposed_conv2d(x, np.ones((1, 1, 3, 1), np.float32))
