"""2-D convolution whose gradients stay fast inside a `jax.lax.scan` on a CPU.

XLA's CPU backend compiles the transposed convolutions that differentiation of `lax.conv` produces
to a naive loop when they stand inside a scan, which is where the inner maximisation of adversarial
training runs. Here both gradients are spelled as ordinary forward convolutions, which take the fast
path everywhere. On other backends the standard gradients are used: their libraries have kernels for
them.

    # [B, H, W, C] * [kh, kw, C, K] -> [B, H, W, K], stride 1, 'SAME'
    y = conv2d(x, kernel)
    # any window and padding
    y = conv2d(x, kernel, ((1, 1), (1, 0)))
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

_NHWC = ("NHWC", "HWIO", "NHWC")
_TINY = 2  # pixels of a side up to which XLA's CPU convolution leaves most of the machine idle
Padding = tuple[tuple[int, int], tuple[int, int]]  # rows, columns: zeros before and behind


def _convolve(x: jax.Array, kernel: jax.Array, padding: Padding) -> jax.Array:
    return lax.conv_general_dilated(
        x, kernel, window_strides=(1, 1), padding=padding, dimension_numbers=_NHWC
    )


def _input_gradient(g: jax.Array, kernel: jax.Array, padding: Padding) -> jax.Array:
    """Compute dL/dx: a forward convolution of g with the flipped, channel-swapped kernel.

    Its own gradients are fast again.
    """
    rows, columns = (
        (k - 1 - before, k - 1 - behind)
        for k, (before, behind) in zip(kernel.shape, padding, strict=False)
    )
    return _conv2d_by_forward_gradients(g, kernel[::-1, ::-1].swapaxes(2, 3), (rows, columns))


def _kernel_gradient(x: jax.Array, g: jax.Array, padding: Padding) -> jax.Array:
    """Compute dL/dkernel: a forward convolution of x with g, batch and channels exchanged."""
    return _convolve(x.transpose(3, 1, 2, 0), g.transpose(1, 2, 0, 3), padding).transpose(
        1, 2, 0, 3
    )


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _conv2d_by_forward_gradients(x: jax.Array, kernel: jax.Array, padding: Padding) -> jax.Array:
    return _convolve(x, kernel, padding)


def _forward(
    x: jax.Array, kernel: jax.Array, padding: Padding
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _convolve(x, kernel, padding), (x, kernel)


def _backward(
    padding: Padding, residuals: tuple[jax.Array, jax.Array], g: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = residuals
    return _input_gradient(g, kernel, padding), _kernel_gradient(x, g, padding)


_conv2d_by_forward_gradients.defvjp(_forward, _backward)


def _by_patches(x: jax.Array, kernel: jax.Array, padding: Padding) -> jax.Array:
    """Convolve by one matrix product."""
    kh, kw, _, outputs = kernel.shape
    x = lax.pad(
        x,
        jnp.zeros((), x.dtype),
        [(0, 0, 0), *((before, behind, 0) for before, behind in padding), (0, 0, 0)],
    )
    height, width = x.shape[1] - kh + 1, x.shape[2] - kw + 1
    patches = [x[:, i : i + height, j : j + width] for i in range(kh) for j in range(kw)]
    return jnp.concatenate(patches, axis=-1) @ kernel.reshape(-1, outputs)


def conv2d(x: jax.Array, kernel: jax.Array, padding: Padding | None = None) -> jax.Array:
    """Convolve with stride 1.

    Args:
        x: [B, H, W, C].
        kernel: [kh, kw, C, K].
        padding: zeros before and behind the rows, and the columns, ((2, 1), (0, 0)) for instance;
            negative ones cut off. None: 'SAME', for which kh and kw must be odd.

    Returns:
        [B, H', W', K] with H' = H + before + behind - kh + 1, for 'SAME' H' = H.

    Raises:
        ValueError: 'SAME' and a window with an even side. It would not be symmetric.
    """
    zeros = _same(kernel) if padding is None else padding
    return lax.platform_dependent(
        x,
        kernel,
        cpu=lambda x, k: conv2d_on_cpu(x, k, zeros),
        default=lambda x, k: _convolve(x, k, zeros),
    )


def _same(kernel: jax.Array) -> Padding:
    """Return the padding that keeps the size."""
    height, width = kernel.shape[:2]
    if height % 2 == 0 or width % 2 == 0:
        raise ValueError(
            f"conv2d needs an odd window, or explicit padding, got kernel of shape {kernel.shape}"
        )
    return (height // 2, height // 2), (width // 2, width // 2)


def conv2d_on_cpu(x: jax.Array, kernel: jax.Array, padding: Padding) -> jax.Array:
    """Run `conv2d` in its CPU form, for what is chosen there alone: half as much is traced."""
    if max(x.shape[1:3]) <= _TINY:
        return _by_patches(x, kernel, padding)
    return _conv2d_by_forward_gradients(x, kernel, padding)


class Conv(nn.Module):
    """`conv2d` as a Flax layer.

    The kernel [window, window, C, features] is He-initialised. There is a bias unless `use_bias` is
    off.
    """

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
