"""Convolutions that double the resolution, and the filters that go with them, in the form that is fastest on each backend.

    y = up_conv2d(x, kernel, taps=(1, 3, 3, 1))      # [B, H, W, C] -> [B, 2H, 2W, K], StyleGAN2's
    image = upsample2d(image, taps=(1, 3, 3, 1))     # [B, H, W, 3] -> [B, 2H, 2W, 3]

A transposed convolution of stride 2 writes each of the four phases of its output, (even, even) to (odd, odd) rows and columns, with taps
of its own. As four small convolutions it does nothing in vain, and its gradients are those of `conv2d` on a CPU, fast there. Accelerators'
libraries have the dilated form at hand. Filters run along one axis after the other, on phases where there are such, as sums of shifted
arrays. What is chosen on which backend is said in `transposed_conv2d` and `up_conv2d`; the forms agree to rounding.

Taps are those of a separable filter, the same in both directions, in the order in which an impulse comes out; they are scaled to sum 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from natra_jax.convolution import conv2d_on_cpu

_NHWC = ("NHWC", "HWIO", "NHWC")
Taps = Sequence[float]
Phases = Sequence[
    jax.Array | None
]  # of an axis: the samples 2m and the samples 2m + 1; None stands for zeros


def repeat(x: jax.Array) -> jax.Array:
    """[B, H, W, C] -> [B, 2H, 2W, C], each pixel four times (nearest neighbour)."""
    count, height, width, channels = x.shape
    return jnp.broadcast_to(x[:, :, None, :, None], (count, height, 2, width, 2, channels)).reshape(
        count, 2 * height, 2 * width, channels
    )


def filter2d(x: jax.Array, taps: Taps, padding: tuple[int, int], gain: float = 1.0) -> jax.Array:
    """Each channel of x [B, H, W, C] convolved with the filter, zeros put before and behind both axes (negative: cut off).

    H' = H + before + behind - number of taps + 1.
    """
    weights = _weights(taps, gain**0.5)
    for axis in (1, 2):
        padded = _pad(x, axis, *padding)
        size = padded.shape[axis] - len(weights) + 1
        x = sum(
            weight * lax.slice_in_dim(padded, t, t + size, axis=axis)
            for t, weight in enumerate(weights)
        )
    return x


def upsample2d(x: jax.Array, taps: Taps) -> jax.Array:
    """[B, H, W, C] -> [B, 2H, 2W, C]: zeros between the pixels, then the filter with gain 4 (StyleGAN2's for images and shortcuts)."""
    before = (len(taps) + 1) // 2
    rows = [(phase, None) for phase in _filter_phases((x, None), 2, taps, before, x.shape[2])]
    columns = [_filter_phases(phases, 1, taps, before, x.shape[1]) for phases in rows]
    return _interleave([[columns[b][a] for b in (0, 1)] for a in (0, 1)])


def transposed_conv2d(x: jax.Array, kernel: jax.Array, padding: int = 0) -> jax.Array:
    """Transposed convolution of stride 2: x [B, H, W, C] with kernel [k, k, C, K] -> [B, 2H - 2 + k - 2 padding, ..., K].

    Output pixel 2 i + a - padding receives x[i] @ kernel[a], summed over all i and a: PyTorch's conv_transpose2d with its weight
    [C, K, k, k] as kernel, unflipped.
    Raises ValueError for k = 1, which would leave every second pixel empty.
    """
    if kernel.shape[0] < 2:
        raise ValueError(
            f"transposed_conv2d needs a window of at least 2, got kernel of shape {kernel.shape}"
        )
    if x.shape[1:3] == (1, 1):
        size = kernel.shape[0] - padding
        return jnp.einsum("bc,hwck->bhwk", x[:, 0, 0], kernel[padding:size, padding:size])
    return lax.platform_dependent(
        x,
        kernel,
        cpu=lambda x, kernel: transposed_by_phases(x, kernel, padding),
        default=lambda x, kernel: transposed_by_dilation(x, kernel, padding),
    )


def up_conv2d(x: jax.Array, kernel: jax.Array, taps: Taps) -> jax.Array:
    """[B, H, W, C] with kernel [k, k, C, K], k odd -> [B, 2H, 2W, K]: the transposed convolution, then the filter with gain 4.

    NVIDIA's up-sampling convolution (Karras et al. 2020, appendix B); kernel as in `transposed_conv2d`.
    Raises ValueError for an even k.
    """
    if kernel.shape[0] % 2 == 0:
        raise ValueError(f"up_conv2d needs an odd window, got kernel of shape {kernel.shape}")
    return lax.platform_dependent(
        x,
        kernel,
        cpu=lambda x, kernel: up_by_phases(x, kernel, taps),
        default=lambda x, kernel: up_by_dilation(x, kernel, taps),
    )


def transposed_by_dilation(x: jax.Array, kernel: jax.Array, padding: int = 0) -> jax.Array:
    """`transposed_conv2d` as a convolution of x with zeros between its pixels."""
    pads = [(k - 1 - padding, k - 1 - padding) for k in kernel.shape[:2]]
    return lax.conv_general_dilated(
        x, kernel[::-1, ::-1], (1, 1), pads, lhs_dilation=(2, 2), dimension_numbers=_NHWC
    )


def transposed_by_phases(x: jax.Array, kernel: jax.Array, padding: int = 0) -> jax.Array:
    """`transposed_conv2d` as four convolutions, their results put between one another."""
    height, width = (2 * n - 2 + kernel.shape[0] - 2 * padding for n in x.shape[1:3])
    return _interleave(_phases(x, kernel, padding))[:, :height, :width]


def up_by_dilation(x: jax.Array, kernel: jax.Array, taps: Taps) -> jax.Array:
    """`up_conv2d`, the filter behind the dilated transposed convolution."""
    return filter2d(
        transposed_by_dilation(x, kernel),
        taps,
        _filter_padding(len(taps), kernel.shape[0]),
        gain=4.0,
    )


def up_by_phases(x: jax.Array, kernel: jax.Array, taps: Taps) -> jax.Array:
    """`up_conv2d`, filtered before the four phases are put between one another."""
    before = _filter_padding(len(taps), kernel.shape[0])[0]
    phases = _phases(x, kernel, 0)
    rows = [_filter_phases(phases[a], 2, taps, before, x.shape[2]) for a in (0, 1)]
    columns = [
        _filter_phases((rows[0][b], rows[1][b]), 1, taps, before, x.shape[1]) for b in (0, 1)
    ]
    return _interleave([[columns[b][a] for b in (0, 1)] for a in (0, 1)])


def _filter_padding(num_taps: int, window: int) -> tuple[int, int]:
    """What goes before and behind the transposed convolution's output, so that the filtered one has twice the input's size, centred."""
    return (num_taps + 1) // 2 - window // 2, (num_taps - 2) // 2 - window // 2 + 1


def _weights(taps: Taps, gain: float) -> list[float]:
    """What shifted arrays are multiplied with, first shift first: a convolution meets its filter from behind."""
    return [gain * float(tap) / float(sum(taps)) for tap in reversed(taps)]


def _phases(x: jax.Array, kernel: jax.Array, padding: int) -> list[list[jax.Array]]:
    """phases[a][b] holds the rows 2m + a and columns 2m + b of the transposed convolution's output."""

    def along(size: int, phase: int) -> tuple[slice, tuple[int, int]]:
        k = kernel.shape[0]
        first = (
            phase + padding
        ) % 2  # of the kernel's taps, every second one of which meets this phase
        count = (k - first + 1) // 2
        before = count - 1 - (phase + padding - first) // 2
        outputs = (2 * size - 2 + k - 2 * padding - phase + 1) // 2
        return slice(first, None, 2), (before, outputs - size - before + count - 1)

    def convolved(a: int, b: int) -> jax.Array:
        (rows, row_padding), (columns, column_padding) = along(x.shape[1], a), along(x.shape[2], b)
        return conv2d_on_cpu(x, kernel[rows, columns][::-1, ::-1], (row_padding, column_padding))

    return [[convolved(a, b) for b in (0, 1)] for a in (0, 1)]


def _filter_phases(
    phases: Phases, axis: int, taps: Taps, before: int, size: int
) -> list[jax.Array]:
    """The two phases, `size` samples each, of the filtered signal. before: zeros in front of it. Gain 2, since zeros may stand between."""
    weights = _weights(taps, 2.0)
    first, last = (
        -before // 2,
        (1 - before + len(weights) - 1) // 2,
    )  # of the shifts by which phases are met
    sources = [
        None if phase is None else _pad(phase, axis, -first, last + size - phase.shape[axis])
        for phase in phases
    ]

    def filtered(phase: int) -> jax.Array:
        terms = []
        for t, weight in enumerate(weights):
            shift, other = divmod(phase - before + t, 2)
            if sources[other] is not None:
                terms.append(
                    weight
                    * lax.slice_in_dim(
                        sources[other], shift - first, shift - first + size, axis=axis
                    )
                )
        return (
            sum(terms[1:], terms[0])
            if terms
            else jnp.zeros_like(lax.slice_in_dim(sources[0], 0, size, axis=axis))
        )

    return [filtered(0), filtered(1)]


def _pad(x: jax.Array, axis: int, before: int, behind: int) -> jax.Array:
    """Zeros around one axis; negative numbers cut off."""
    return lax.pad(
        x,
        jnp.zeros((), x.dtype),
        [(before, behind, 0) if a == axis else (0, 0, 0) for a in range(x.ndim)],
    )


def _interleave(phases: list[list[jax.Array]]) -> jax.Array:
    """phases[a][b] [B, H or H - 1, W or W - 1, C] -> [B, 2H, 2W, C], zeros behind the shorter ones."""
    count, height, width, channels = phases[0][0].shape

    def whole(x):
        return _pad(_pad(x, 1, 0, height - x.shape[1]), 2, 0, width - x.shape[2])

    rows = [jnp.stack([whole(phase) for phase in row], axis=3) for row in phases]
    return jnp.stack(rows, axis=2).reshape(count, 2 * height, 2 * width, channels)
