"""ResNet-50 (He et al. 2016) as torchvision has it: bottlenecks whose 3x3 convolution takes the stride ("v1.5").

`natra_jax.weights.classifiers` reads torchvision's weights, and AdvBN's, for it.
"""

from __future__ import annotations

from functools import reduce

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from natra_jax.classifiers.advbn import AdvBN
from natra_jax.classifiers.imagenet import standardise
from natra_jax.classifiers.norm import normalise
from natra_jax.convolution import conv2d

EXPANSION = 4  # channels that leave a bottleneck over those within


class ResNet(nn.Module):
    """Images [B, H, W, 3] or [B, H, W, 1] in [-1, 1], of any size -> logits [B, num_classes].

    widths: channels within the bottlenecks of each stage, the first also of the stem. blocks: bottlenecks of each stage; (3, 4, 6, 3) is
    ResNet-50. standardised: whether the images are already as ImageNet's networks expect them. axis_name: the device axis over which
    BatchNorm averages. The place of AdvBN is behind the first stage.
    """

    num_classes: int
    widths: tuple[int, ...] = (64, 128, 256, 512)
    blocks: tuple[int, ...] = (3, 4, 6, 3)
    standardised: bool = False
    axis_name: str | None = None

    @nn.compact
    def features(self, x: jax.Array, train: bool = False) -> tuple[jax.Array, ...]:
        """The output of every stage, finest first, at 1/4, 1/8, ... of the resolution."""
        outputs = []
        x = x if self.standardised else standardise(x)
        x = nn.relu(_ConvNorm(self.widths[0], 7, 2, self.axis_name, name="stem")(x, train))
        x = _halve(x)
        for stage, (width, count) in enumerate(zip(self.widths, self.blocks, strict=True), start=1):
            for block in range(count):
                stride = 2 if stage > 1 and block == 0 else 1
                x = _Bottleneck(width, stride, self.axis_name, name=f"stage{stage}_{block}")(x, train)
            if stage == 1:
                x = AdvBN()(x)
            outputs.append(x)
        return tuple(outputs)

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        return nn.Dense(self.num_classes, name="head")(self.features(x, train)[-1].mean((1, 2)))


class _Bottleneck(nn.Module):
    width: int
    stride: int
    axis_name: str | None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        outputs = EXPANSION * self.width
        y = nn.relu(_ConvNorm(self.width, 1, 1, self.axis_name, name="reduce")(x, train))
        y = nn.relu(_ConvNorm(self.width, 3, self.stride, self.axis_name, name="spatial")(y, train))
        y = _ConvNorm(outputs, 1, 1, self.axis_name, name="expand")(y, train)
        if self.stride > 1 or x.shape[-1] != outputs:
            x = _ConvNorm(outputs, 1, self.stride, self.axis_name, name="shortcut")(x, train)
        return nn.relu(x + y)


class _ConvNorm(nn.Module):
    """A convolution without bias, padded by half its window on all sides, and BatchNorm."""

    features: int
    window: int
    stride: int
    axis_name: str | None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        shape = (self.window, self.window, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape).astype(x.dtype)
        return normalise(_convolve(x, kernel, self.stride), "batch", train, self.axis_name)


def _convolve(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    if stride == 1:
        return conv2d(x, kernel)
    if kernel.shape[0] == 1:
        return conv2d(x[:, ::stride, ::stride], kernel)
    half = kernel.shape[0] // 2
    # 'SAME' would pad an even side by one pixel more at its end than at its beginning
    return lax.conv_general_dilated(x, kernel, (stride, stride), [(half, half)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _halve(x: jax.Array) -> jax.Array:
    """Maxima of 3x3 pixels around every other one, of what a ReLU leaves. On a CPU faster to differentiate than a window reduction."""
    # beyond the border 0 wins over nothing
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    height, width = x.shape[1] - 2, x.shape[2] - 2
    x = reduce(jnp.maximum, (x[:, i : i + height : 2] for i in range(3)))
    return reduce(jnp.maximum, (x[:, :, i : i + width : 2] for i in range(3)))
