"""ResNet-50 and ResNet-18 (He et al. 2016) as torchvision has them.

In bottlenecks the 3x3 convolution takes the stride ("v1.5").

    from natra_jax.classifiers import ResNet, ResNet18

    resnet50, resnet18 = ResNet(1000), ResNet18(1000)

`natra_jax.weights.classifiers` reads torchvision's weights for both, and AdvBN's for ResNet-50.
"""

from __future__ import annotations

import jax
from flax import linen as nn
from jax import lax

from natra_jax.classifiers import pooling
from natra_jax.classifiers.advbn import AdvBN
from natra_jax.classifiers.imagenet import standardise
from natra_jax.classifiers.norm import normalise
from natra_jax.classifiers.precision import entering, precise
from natra_jax.convolution import conv2d

EXPANSION = 4  # channels that leave a bottleneck over those within


class ResNet(nn.Module):
    """Map images [B, H, W, 3] or [B, H, W, 1] in [-1, 1], of any size, to logits [B, num_classes].

    The defaults are ResNet-50. The place of AdvBN is behind the first stage.

    widths: channels within the blocks of each stage, the first also of the stem.
    blocks: residual blocks of each stage.
    bottleneck: whether these are bottlenecks of 1x1, 3x3 and 1x1 convolutions, with four times as
      many channels outside, or of two 3x3 ones.
    standardised: whether the images are already as ImageNet's networks expect them.
    axis_name: the device axis over which BatchNorm averages.
    dtype: 'float32' or 'bfloat16', of all layers but the last; weights, statistics and logits are
      float32.
    """

    num_classes: int
    widths: tuple[int, ...] = (64, 128, 256, 512)
    blocks: tuple[int, ...] = (3, 4, 6, 3)
    bottleneck: bool = True
    standardised: bool = False
    axis_name: str | None = None
    dtype: str = "float32"

    @nn.compact
    def features(self, x: jax.Array, train: bool = False) -> tuple[jax.Array, ...]:
        """Return the output of every stage, finest first, at 1/4, 1/8, ... of the resolution."""
        outputs = []
        x = entering(x if self.standardised else standardise(x), self.dtype)
        residual = _Bottleneck if self.bottleneck else _Basic
        x = nn.relu(_ConvNorm(self.widths[0], 7, 2, self.axis_name, name="stem")(x, train))
        x = pooling.max_of_3(x)
        for stage, (width, count) in enumerate(zip(self.widths, self.blocks, strict=True), start=1):
            for block in range(count):
                stride = 2 if stage > 1 and block == 0 else 1
                x = residual(width, stride, self.axis_name, name=f"stage{stage}_{block}")(x, train)
            if stage == 1:
                x = AdvBN()(x)
            outputs.append(x)
        return tuple(outputs)

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        y = precise(self.features(x, train)[-1])
        return nn.Dense(self.num_classes, name="head")(y.mean((1, 2)))


class ResNet18(ResNet):
    """ResNet-18: two blocks a stage, of two 3x3 convolutions each."""

    blocks: tuple[int, ...] = (2, 2, 2, 2)
    bottleneck: bool = False


class _Bottleneck(nn.Module):
    """A residual block of 1x1, 3x3 and 1x1 convolutions."""

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


class _Basic(nn.Module):
    """A residual block of two 3x3 convolutions."""

    width: int
    stride: int
    axis_name: str | None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        y = nn.relu(_ConvNorm(self.width, 3, self.stride, self.axis_name, name="first")(x, train))
        y = _ConvNorm(self.width, 3, 1, self.axis_name, name="second")(y, train)
        if self.stride > 1 or x.shape[-1] != self.width:
            x = _ConvNorm(self.width, 1, self.stride, self.axis_name, name="shortcut")(x, train)
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
    """Convolve x, padded by half the kernel on all sides."""
    if stride == 1:
        return conv2d(x, kernel)
    if kernel.shape[0] == 1:
        return conv2d(x[:, ::stride, ::stride], kernel)
    half = kernel.shape[0] // 2
    # 'SAME' would pad an even side by one pixel more at its end than at its beginning
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), [(half, half)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
