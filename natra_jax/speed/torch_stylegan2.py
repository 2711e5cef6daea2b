"""StyleGAN2's synthesis as PyTorch users write it, to measure natra_jax's against.

    images = synthesis(params)             # params of natra_jax's 'skip' generator, NumPy arrays
    images(torch.from_numpy(codes))        # [B, L, D] -> [B, 3, H, W]

The parameters are the same, and so are the images. Weights are modulated for each example and
convolved in one grouped convolution, or, with grouped=False, activations are scaled in their place.
Only what is needed here: architecture 'skip', constant noise, float32. Needs PyTorch, which
natra_jax does not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from natra_jax.types import Params


def synthesis(
    params: Params,
    *,
    taps: Sequence[float] = (1, 3, 3, 1),
    grouped: bool = True,
    channels_last: bool = False,
    device: str = "cpu",
) -> Callable[[Any], Any]:
    """Return images(codes): a tensor [B, L, D] on the device to a tensor [B, C, H, W].

    PyTorch differentiates through it.

    Args:
      params: of `natra_jax.generators.stylegan2`; the part 'mapping' is not needed.
      taps: its resample_filter, four numbers.
      grouped: modulate weights, and convolve all examples as groups; False scales activations.
      channels_last: lay activations out in memory as [B, H, W, C].
      device: PyTorch's name of where to compute.
    """
    import torch  # pyright: ignore[reportMissingImports] where it is not installed
    from torch.nn import functional as F  # pyright: ignore[reportMissingImports]

    memory = torch.channels_last if channels_last else torch.contiguous_format

    def tensor(array: Any, *order: int) -> Any:
        array = np.asarray(array, np.float32)
        # a copy: PyTorch wants to own what it is given
        return torch.from_numpy(np.array(array.transpose(order) if order else array, order="C")).to(
            device
        )

    def affine(layer: Params) -> tuple[Any, Any]:
        kernel = layer["affine"]["kernel"]
        return tensor(kernel / math.sqrt(len(kernel)), 1, 0), tensor(layer["affine"]["bias"])

    convs = [
        (
            tensor(p["kernel"], 3, 2, 0, 1),
            affine(p),
            tensor(p["bias"]),
            tensor(noise) * float(p["noise_strength"]),
        )
        for p, noise in zip(params["synthesis"]["convs"], params["buffers"]["noise"], strict=True)
    ]
    rgbs = [
        (
            tensor(p["kernel"] / math.sqrt(len(p["kernel"])), 1, 0)[:, :, None, None],
            affine(p),
            tensor(p["bias"]),
        )
        for p in params["synthesis"]["rgbs"]
    ]
    constant = tensor(params["synthesis"]["constant"], 2, 0, 1)[None]
    impulse = torch.from_numpy(4 * np.outer(taps, taps) / np.sum(taps) ** 2).float().to(device)

    def depthwise(count: int) -> Any:
        return impulse.expand(count, 1, *impulse.shape)

    def modulated(x: Any, weight: Any, styles: Any, up: bool, demodulate: bool) -> Any:
        count, channels, height, width = x.shape
        outputs, _, k, _ = weight.shape
        scale = (
            (styles.square() @ weight.square().sum((2, 3)).T + 1e-8).rsqrt() if demodulate else None
        )
        if not grouped:
            x = x * styles[:, :, None, None]
            x = (
                F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
                if up
                else F.conv2d(x, weight, padding=k // 2)
            )
            x = x if scale is None else x * scale[:, :, None, None]
        else:
            weights = weight * styles[:, None, :, None, None]
            weights = weights if scale is None else weights * scale[:, :, None, None, None]
            x = x.reshape(1, count * channels, height, width)
            if up:
                x = F.conv_transpose2d(
                    x, weights.transpose(1, 2).reshape(-1, outputs, k, k), stride=2, groups=count
                )
            else:
                x = F.conv2d(x, weights.reshape(-1, channels, k, k), padding=k // 2, groups=count)
            x = x.reshape(count, outputs, *x.shape[2:])
        return F.conv2d(x, depthwise(outputs).flip(2, 3), padding=1, groups=outputs) if up else x

    def images(codes: Any) -> Any:
        x, image = constant.expand(len(codes), -1, -1, -1).contiguous(memory_format=memory), None
        for layer in range(len(convs) + 1):
            code = codes[:, layer]
            if layer % 2:
                weight, (matrix, bias), own_bias = rgbs[layer // 2]
                own = (
                    modulated(x, weight, F.linear(code, matrix, bias), False, False)
                    + own_bias[:, None, None]
                )
                image = (
                    own
                    if image is None
                    else F.conv_transpose2d(
                        image, depthwise(len(own_bias)), stride=2, padding=1, groups=len(own_bias)
                    )
                    + own
                )
            if layer < len(convs):
                weight, (matrix, bias), own_bias, noise = convs[layer]
                x = modulated(x, weight, F.linear(code, matrix, bias), bool(layer % 2), True)
                x = F.leaky_relu(x + noise + own_bias[:, None, None], 0.2) * math.sqrt(2)
        return image

    return images


def candidates(
    params: Params, codes: np.ndarray, *, gradient: bool
) -> dict[str, Callable[[], object]]:
    """Return the synthesis of images from codes in the ways that are common.

    gradient: compute also that of the sum of squared pixels with respect to the codes.
    """
    import torch  # pyright: ignore[reportMissingImports] where it is not installed

    ways = {
        "PyTorch, grouped convolutions": synthesis(params),
        "PyTorch, activations scaled, channels last": synthesis(
            params, grouped=False, channels_last=True
        ),
    }

    def call(images: Callable[[Any], Any]) -> np.ndarray:
        given = torch.from_numpy(np.array(codes)).requires_grad_(gradient)
        with torch.set_grad_enabled(gradient):
            made = images(given)
        if not gradient:
            return made.numpy()
        made.square().sum().backward()
        return given.grad.numpy()

    return {name: partial(call, images) for name, images in ways.items()}
