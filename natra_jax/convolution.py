"""2-D convolution whose gradients stay fast inside a `jax.lax.scan` on a CPU.

XLA's CPU backend compiles the transposed convolutions that differentiation of `lax.conv` produces to a naive loop when they stand
inside a scan, which is where the inner maximisation of adversarial training runs. Here both gradients are spelled as ordinary
forward convolutions, which take the fast path everywhere. On other backends the standard gradients are used: their libraries have
kernels for them.

    y = conv2d(x, kernel)                 # [B, H, W, C] * [kh, kw, C, K] -> [B, H, W, K], stride 1, 'SAME'
"""

from __future__ import annotations

import jax
from flax import linen as nn
from jax import lax

_NHWC = ("NHWC", "HWIO", "NHWC")


def _convolve(x: jax.Array, kernel: jax.Array, padding) -> jax.Array:
    return lax.conv_general_dilated(x, kernel, window_strides=(1, 1), padding=padding, dimension_numbers=_NHWC)


def _input_gradient(g: jax.Array, kernel: jax.Array) -> jax.Array:
    """dL/dx as a forward convolution of g with the spatially flipped, channel-swapped kernel; its own gradients are fast again."""
    return _conv2d_by_forward_gradients(g, kernel[::-1, ::-1].swapaxes(2, 3))


def _kernel_gradient(x: jax.Array, g: jax.Array, window: tuple[int, int]) -> jax.Array:
    """dL/dkernel as a forward convolution of x with g, batch and channels exchanging roles."""
    pads = [((k - 1) // 2, k // 2) for k in window]
    return _convolve(x.transpose(3, 1, 2, 0), g.transpose(1, 2, 0, 3), pads).transpose(1, 2, 0, 3)


@jax.custom_vjp
def _conv2d_by_forward_gradients(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return _convolve(x, kernel, "SAME")


def _forward(x, kernel):
    return _convolve(x, kernel, "SAME"), (x, kernel)


def _backward(residuals, g):
    x, kernel = residuals
    return _input_gradient(g, kernel), _kernel_gradient(x, g, kernel.shape[:2])


_conv2d_by_forward_gradients.defvjp(_forward, _backward)


def conv2d(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Stride-1 'SAME' convolution, x [B, H, W, C] with kernel [kh, kw, C, K] (odd kh, kw) -> [B, H, W, K].

    Raises ValueError if the window has an even side: 'SAME' is then not symmetric and the gradient formulas do not hold.
    """
    if kernel.shape[0] % 2 == 0 or kernel.shape[1] % 2 == 0:
        raise ValueError(f"conv2d needs an odd window, got kernel of shape {kernel.shape}")
    return lax.platform_dependent(x, kernel, cpu=_conv2d_by_forward_gradients, default=lambda x, k: _convolve(x, k, "SAME"))


class Conv(nn.Module):
    """`conv2d` as a Flax layer: He-initialised kernel [window, window, C, features] and, unless `use_bias` is off, a bias."""

    features: int
    window: int = 3
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (self.window, self.window, x.shape[-1], self.features)
        y = conv2d(x, self.param("kernel", nn.initializers.he_normal(), shape).astype(x.dtype))
        if self.use_bias:
            y = y + self.param("bias", nn.initializers.zeros, (self.features,)).astype(x.dtype)
        return y
