"""Convolutions that double the resolution, and their filters, in the fastest form of each backend.

    y = up_conv2d(x, kernel, taps=(1, 3, 3, 1))  # [B, H, W, C] -> [B, 2H, 2W, K], StyleGAN2's
    image = upsample2d(image, taps=(1, 3, 3, 1))  # [B, H, W, 3] -> [B, 2H, 2W, 3]

A transposed convolution of stride 2 writes each of the four phases of its output, (even, even) to
(odd, odd) rows and columns, with taps of its own. As four small convolutions it does nothing in
vain, and its gradients are those of `conv2d` on a CPU, fast there. Accelerators' libraries have
the dilated form at hand. Filters run along one axis after the other, on phases where there are
such, as sums of shifted arrays. `transposed_conv2d` and `up_conv2d` say which form is chosen on
which backend; the forms agree to rounding.

Taps are those of a separable filter, the same in both directions, in the order in which an impulse
comes out; they are scaled to sum 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from natra_jax.convolution import conv2d_on_cpu

_NHWC = ("NHWC", "HWIO", "NHWC")
Taps = Sequence[float]
Phases = Sequence[jax.Array | None]
"""Samples 2m and samples 2m + 1 of an axis; None stands for zeros."""


def repeat(x: jax.Array) -> jax.Array:
    """Repeat each pixel of x [B, H, W, C] four times (nearest neighbour): [B, 2H, 2W, C]."""
    count, height, width, channels = x.shape
    return jnp.broadcast_to(x[:, :, None, :, None], (count, height, 2, width, 2, channels)).reshape(
        count, 2 * height, 2 * width, channels
    )


def filter2d(x: jax.Array, taps: Taps, padding: tuple[int, int], gain: float = 1.0) -> jax.Array:
    """Convolve each channel of x with a filter.

    Args:
      x: [B, H, W, C].
      taps: of the filter.
      padding: zeros (before, behind) both axes; negative: cut off.
      gain: the sum of the filter in two dimensions.

    Returns:
      [B, H', W', C], H' = H + before + behind - number of taps + 1.
    """
    weights = _weights(taps, gain**0.5)
    for axis in (1, 2):
        padded = _pad(x, axis, *padding)
        size = padded.shape[axis] - len(weights) + 1
        total: Any = sum(
            weight * lax.slice_in_dim(padded, t, t + size, axis=axis)
            for t, weight in enumerate(weights)
        )
        x = total
    return x


def upsample2d(x: jax.Array, taps: Taps) -> jax.Array:
    """Upsample x [B, H, W, C] to [B, 2H, 2W, C]: zeros between pixels, then a filter of gain 4.

    StyleGAN2's for images and shortcuts.
    """
    before = (len(taps) + 1) // 2
    rows = [(phase, None) for phase in _filter_phases((x, None), 2, taps, before, x.shape[2])]
    columns = [_filter_phases(phases, 1, taps, before, x.shape[1]) for phases in rows]
    return _interleave([[columns[b][a] for b in (0, 1)] for a in (0, 1)])


def transposed_conv2d(x: jax.Array, kernel: jax.Array, padding: int = 0) -> jax.Array:
    """Apply a transposed convolution of stride 2: PyTorch's conv_transpose2d.

    Output pixel 2 i + a - padding receives x[i] @ kernel[a], summed over all i and a. On a CPU it
    is computed by phases, elsewhere by dilation. PyTorch's weight [C, K, k, k] is the kernel,
    unflipped.

    Args:
      x: [B, H, W, C].
      kernel: [k, k, C, K].
      padding: pixels that are cut off all sides.

    Returns:
      [B, 2H - 2 + k - 2 padding, 2W - 2 + k - 2 padding, K].

    Raises:
      ValueError: for k = 1, which would leave every second pixel empty.
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
    """Apply NVIDIA's up-sampling convolution (Karras et al. 2020, appendix B).

    It is the transposed convolution, then a filter of gain 4; by phases on a CPU, elsewhere by
    dilation.

    Args:
      x: [B, H, W, C].
      kernel: [k, k, C, K], k odd, as in `transposed_conv2d`.
      taps: of the filter.

    Returns:
      [B, 2H, 2W, K].

    Raises:
      ValueError: for an even k.
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
    """Compute `transposed_conv2d` as a convolution of x with zeros between its pixels."""
    pads = [(k - 1 - padding, k - 1 - padding) for k in kernel.shape[:2]]
    return lax.conv_general_dilated(
        x, kernel[::-1, ::-1], (1, 1), pads, lhs_dilation=(2, 2), dimension_numbers=_NHWC
    )


def transposed_by_phases(x: jax.Array, kernel: jax.Array, padding: int = 0) -> jax.Array:
    """Compute `transposed_conv2d` as four convolutions, their results interleaved."""
    height, width = (2 * n - 2 + kernel.shape[0] - 2 * padding for n in x.shape[1:3])
    return _interleave(_phases(x, kernel, padding))[:, :height, :width]


def up_by_dilation(x: jax.Array, kernel: jax.Array, taps: Taps) -> jax.Array:
    """Compute `up_conv2d` with the filter behind the dilated transposed convolution."""
    return filter2d(
        transposed_by_dilation(x, kernel),
        taps,
        _filter_padding(len(taps), kernel.shape[0]),
        gain=4.0,
    )


def up_by_phases(x: jax.Array, kernel: jax.Array, taps: Taps) -> jax.Array:
    """Compute `up_conv2d` with the filter before the four phases are interleaved."""
    before = _filter_padding(len(taps), kernel.shape[0])[0]
    phases = _phases(x, kernel, 0)
    rows = [_filter_phases(phases[a], 2, taps, before, x.shape[2]) for a in (0, 1)]
    columns = [
        _filter_phases((rows[0][b], rows[1][b]), 1, taps, before, x.shape[1]) for b in (0, 1)
    ]
    return _interleave([[columns[b][a] for b in (0, 1)] for a in (0, 1)])


def _filter_padding(num_taps: int, window: int) -> tuple[int, int]:
    """Return the zeros before and behind a transposed convolution's output.

    With them the filtered output has twice the input's size, centred.
    """
    return (num_taps + 1) // 2 - window // 2, (num_taps - 2) // 2 - window // 2 + 1


def _weights(taps: Taps, gain: float) -> list[float]:
    """Return the factors of shifted arrays, first shift first.

    A convolution meets its filter from behind, so they are the taps reversed.
    """
    return [gain * float(tap) / float(sum(taps)) for tap in reversed(taps)]


def _phases(x: jax.Array, kernel: jax.Array, padding: int) -> list[list[jax.Array]]:
    """Return phases[a][b], rows 2m + a and columns 2m + b of the transposed convolution."""

    def taps_and_padding(size: int, phase: int) -> tuple[slice, tuple[int, int]]:
        """Return the kernel's taps that meet the phase of an axis, every second one, and zeros."""
        k = kernel.shape[0]
        first = (phase + padding) % 2
        count = (k - first + 1) // 2
        before = count - 1 - (phase + padding - first) // 2
        outputs = (2 * size - 2 + k - 2 * padding - phase + 1) // 2
        return slice(first, None, 2), (before, outputs - size - before + count - 1)

    def convolved(a: int, b: int) -> jax.Array:
        rows, row_padding = taps_and_padding(x.shape[1], a)
        columns, column_padding = taps_and_padding(x.shape[2], b)
        return conv2d_on_cpu(x, kernel[rows, columns][::-1, ::-1], (row_padding, column_padding))

    return [[convolved(a, b) for b in (0, 1)] for a in (0, 1)]


def _filter_phases(
    phases: Phases, axis: int, taps: Taps, before: int, size: int
) -> list[jax.Array]:
    """Return the two phases, `size` samples each, of the filtered signal along one axis.

    before: zeros in front of it. The gain is 2, since zeros may stand between samples.
    """
    weights = _weights(taps, 2.0)
    # of the shifts by which phases are met
    first, last = -before // 2, (1 - before + len(weights) - 1) // 2
    sources = [
        None if phase is None else _pad(phase, axis, -first, last + size - phase.shape[axis])
        for phase in phases
    ]

    def filtered(phase: int) -> jax.Array:
        terms: list[jax.Array] = []
        for t, weight in enumerate(weights):
            shift, other = divmod(phase - before + t, 2)
            source, begin = sources[other], shift - first
            if source is not None:
                terms.append(weight * lax.slice_in_dim(source, begin, begin + size, axis=axis))
        if terms:
            return sum(terms[1:], terms[0])
        some = next(source for source in sources if source is not None)
        return jnp.zeros_like(lax.slice_in_dim(some, 0, size, axis=axis))

    return [filtered(0), filtered(1)]


def _pad(x: jax.Array, axis: int, before: int, behind: int) -> jax.Array:
    """Put zeros before and behind one axis; negative numbers cut off."""
    return lax.pad(
        x,
        jnp.zeros((), x.dtype),
        [(before, behind, 0) if a == axis else (0, 0, 0) for a in range(x.ndim)],
    )


def _interleave(phases: list[list[jax.Array]]) -> jax.Array:
    """Interleave phases[a][b] [B, H or H - 1, W or W - 1, C] to [B, 2H, 2W, C].

    Zeros stand behind the shorter ones.
    """
    count, height, width, channels = phases[0][0].shape

    def whole(x: jax.Array) -> jax.Array:
        return _pad(_pad(x, 1, 0, height - x.shape[1]), 2, 0, width - x.shape[2])

    rows = [jnp.stack([whole(phase) for phase in row], axis=3) for row in phases]
    return jnp.stack(rows, axis=2).reshape(count, 2 * height, 2 * width, channels)
