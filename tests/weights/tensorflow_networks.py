"""NVIDIA's ProGAN and StyleGAN as their papers and TensorFlow graphs define them.

In plain NumPy float64, on TensorFlow's own variables: {name: array} with all doubling fused into
the convolution. z [B, Z]; label [B, classes]. Images come out as [B, H, W, C].
"""

from __future__ import annotations

import numpy as np


def stylegan_mapping(variables, z, label):
    """-> w [B, W]."""
    v = _Variables(variables)
    x = np.concatenate([z, label @ v["mapping/LabelConcat/weight"]], 1).astype(np.float64)
    x = x / np.sqrt((x**2).mean(1, keepdims=True) + 1e-8)
    index = 0
    while f"mapping/Dense{index}/weight" in variables:
        weight, bias = v[f"mapping/Dense{index}/weight"], v[f"mapping/Dense{index}/bias"]
        x = _leaky(x @ (weight * np.sqrt(2 / weight.shape[0]) * 0.01) + bias * 0.01)
        index += 1
    return x


def stylegan_synthesis(variables, ws):
    """ws [B, L, W] -> images."""
    v = _Variables(variables)
    resolutions = 4 * 2 ** np.arange(ws.shape[1] // 2)
    x = np.repeat(v["synthesis/4x4/Const/const"].transpose(0, 2, 3, 1), len(ws), 0)
    layer = 0
    for resolution in resolutions:
        for kind in ("Const", "Conv") if resolution == 4 else ("Conv0_up", "Conv1"):
            scope = f"synthesis/{resolution}x{resolution}/{kind}"
            if kind == "Conv0_up":
                x = _blurred(_transposed(x, _four_shifts(_he(v[f"{scope}/weight"]))))
            elif kind != "Const":
                x = _convolved(x, _he(v[f"{scope}/weight"]))
            x = x + v[f"synthesis/noise{layer}"].transpose(0, 2, 3, 1) * v[f"{scope}/Noise/weight"]
            x = _leaky(x + v[f"{scope}/bias"])
            x = (x - x.mean((1, 2), keepdims=True)) / np.sqrt(x.var((1, 2), keepdims=True) + 1e-8)
            style_weight = v[f"{scope}/StyleMod/weight"]
            style = (
                ws[:, layer] @ style_weight / np.sqrt(style_weight.shape[0])
                + v[f"{scope}/StyleMod/bias"]
            )
            style = style.reshape(len(ws), 2, 1, 1, -1)
            x = x * (style[:, 0] + 1) + style[:, 1]
            layer += 1
    return _to_rgb(v, "synthesis/", x)


def progan(variables, z, label):
    """-> images."""
    v = _Variables(variables)
    x = _normalised(np.concatenate([z, label], 1).astype(np.float64))
    dense = v["4x4/Dense/weight"]
    x = (
        (x @ (dense * np.sqrt(2) / 4 / np.sqrt(dense.shape[0])))
        .reshape(len(z), -1, 4, 4)
        .transpose(0, 2, 3, 1)
    )
    x = _normalised(_leaky(x + v["4x4/Dense/bias"]))
    x = _normalised(_leaky(_convolved(x, _he(v["4x4/Conv/weight"])) + v["4x4/Conv/bias"]))
    resolution = 8
    while f"{resolution}x{resolution}/Conv1/weight" in variables:
        scope = f"{resolution}x{resolution}"
        up = _he(v[f"{scope}/Conv0_up/weight"].swapaxes(2, 3))
        x = _normalised(_leaky(_transposed(x, _four_shifts(up)) + v[f"{scope}/Conv0_up/bias"]))
        x = _normalised(
            _leaky(_convolved(x, _he(v[f"{scope}/Conv1/weight"])) + v[f"{scope}/Conv1/bias"])
        )
        resolution *= 2
    return _to_rgb(v, "", x)


class _Variables(dict):
    """In float64."""

    def __getitem__(self, name):
        return np.asarray(super().__getitem__(name), np.float64)


def _leaky(x):
    return np.where(x > 0, x, 0.2 * x)


def _normalised(x):
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-8)


def _he(kernel):
    return kernel * np.sqrt(2 / np.prod(kernel.shape[:3]))


def _convolved(x, kernel):
    height, width = x.shape[1:3]
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return sum(
        padded[:, a : a + height, b : b + width] @ kernel[a, b] for a in range(3) for b in range(3)
    )


def _four_shifts(kernel):
    shifted = np.zeros((4, 4, *kernel.shape[2:]))
    for down in (0, 1):
        for right in (0, 1):
            shifted[down : down + 3, right : right + 3] += kernel
    return shifted


def _transposed(x, kernel):
    """Put every pixel's 4x4 patch into the image of twice the size.

    It is put one pixel up and left of where the pixel comes to lie.
    """
    count, height, width, _ = x.shape
    out = np.zeros((count, 2 * height + 2, 2 * width + 2, kernel.shape[3]))
    for i in range(height):
        for j in range(width):
            out[:, 2 * i : 2 * i + 4, 2 * j : 2 * j + 4] += np.einsum(
                "bc,hwck->bhwk", x[:, i, j], kernel
            )
    return out[:, 1:-1, 1:-1]


def _blurred(x):
    height, width = x.shape[1:3]
    padded, taps = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), (0.25, 0.5, 0.25)
    return sum(
        taps[a] * taps[b] * padded[:, a : a + height, b : b + width]
        for a in range(3)
        for b in range(3)
    )


def _to_rgb(v, prefix, x):
    weight = v[f"{prefix}ToRGB_lod0/weight"][0, 0]
    return x @ (weight / np.sqrt(weight.shape[0])) + v[f"{prefix}ToRGB_lod0/bias"]
