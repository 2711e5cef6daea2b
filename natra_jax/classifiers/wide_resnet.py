"""The wide residual network that Madry et al. (2018) trained on CIFAR-10.

"Towards Deep Learning Models Resistant to Adversarial Attacks". As in their code: a convolution of
16 channels, three stages of pre-activation units (He et al. 2016b, widened by Zagoruyko &
Komodakis 2016), the last two at half the resolution of the one before, leaky ReLUs, and shortcuts
without weights. Depth 32 and width 10 are theirs, 45.9 million weights. Images are standardised
each by itself, as they do.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from natra_jax.classifiers.advbn import AdvBN
from natra_jax.classifiers.norm import normalise
from natra_jax.classifiers.precision import entering, precise
from natra_jax.convolution import conv2d

STEM = 16  # channels of the first convolution, and of the first stage for each of the width
_STAGES, _CONVOLUTIONS = 3, 2  # of the network, of a unit
_LEAK, _EPSILON = 0.1, 1e-3  # the slope below 0; added to variances


class WideResNet(nn.Module):
    """Map images [B, H, W, C] in [-1, 1], of any size, to logits [B, num_classes].

    The place of AdvBN is behind the first stage. ValueError for a depth that is not 6 n + 2.

    depth: layers, 6 n + 2 for n units in each stage.
    width: how many times 16, 32 and 64 channels the stages have.
    norm: 'batch' as theirs, or 'group'.
    axis_name: the device axis over which BatchNorm averages.
    dtype: 'float32' or 'bfloat16', of all layers but the last; weights, statistics and logits are
      float32.
    """

    num_classes: int
    depth: int = 32
    width: int = 10
    norm: str = "batch"
    axis_name: str | None = None
    dtype: str = "float32"

    @nn.compact
    def features(self, x: jax.Array, train: bool = False) -> tuple[jax.Array, ...]:
        """Return the output of every stage, finest first, at 1, 1/2 and 1/4 of the resolution."""
        units, outputs = units_of(self.depth), []
        x = _Conv(STEM, name="stem")(entering(standardise_each(x), self.dtype))
        for stage in range(_STAGES):
            width = 2**stage * STEM * self.width
            for i in range(units):
                stride, shared = (2, False) if stage and i == 0 else (1, stage == i == 0)
                x = _Unit(
                    width, stride, shared, self.norm, self.axis_name, name=f"stage{stage + 1}_{i}"
                )(x, train)
            if stage == 0:
                x = AdvBN(relu=False)(x)
            outputs.append(x)
        return tuple(outputs)

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        y = _activate(self.features(x, train)[-1], self.norm, train, self.axis_name, "last_norm")
        return nn.Dense(self.num_classes, name="head")(precise(y).mean((1, 2)))


class _Unit(nn.Module):
    """Two convolutions, each behind a normalisation and a leaky ReLU.

    shared: whether the shortcut is behind the first of these, too.
    """

    width: int
    stride: int
    shared: bool
    norm: str
    axis_name: str | None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        y = _activate(x, self.norm, train, self.axis_name, "first_norm")
        shortcut = _widened(y if self.shared else x, self.width, self.stride)
        y = _Conv(self.width, self.stride, name="first")(y)
        y = _activate(y, self.norm, train, self.axis_name, "second_norm")
        return shortcut + _Conv(self.width, name="second")(y)


class _Conv(nn.Module):
    """A 3x3 convolution without bias, drawn as theirs: He's, of the outputs."""

    features: int
    stride: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        draw = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
        kernel = self.param("kernel", draw, (3, 3, x.shape[-1], self.features)).astype(x.dtype)
        if self.stride == 1:
            return conv2d(x, kernel)
        # TensorFlow's 'SAME', which pads an even side at its end alone
        return lax.conv_general_dilated(
            x, kernel, (self.stride,) * 2, "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )


def units_of(depth: int) -> int:
    """Return the units in each stage of a network of that depth.

    Raises ValueError if it is not 6 n + 2 for an n of at least 1.
    """
    units, rest = divmod(depth - 2, _STAGES * _CONVOLUTIONS)
    if rest or units < 1:
        raise ValueError(f"a WideResNet's depth is 6 n + 2 for n units in each stage, got {depth}")
    return units


def standardise_each(images: jax.Array) -> jax.Array:
    """Subtract from each image [B, H, W, C] its mean and divide by its standard deviation.

    As TensorFlow's per_image_standardization of values in 0..255: the standard deviation counts as
    1 / sqrt(H W C) at least. The images are in [-1, 1].
    """
    centred = images - images.mean((1, 2, 3), keepdims=True)
    least = (2 / 255) ** 2 / images[0].size
    # the larger before the root, whose slope at 0 is infinite
    return centred * lax.rsqrt(
        jnp.maximum(jnp.square(centred).mean((1, 2, 3), keepdims=True), least)
    )


def _activate(x: jax.Array, norm: str, train: bool, axis_name: str | None, name: str) -> jax.Array:
    """Normalise x and apply a leaky ReLU."""
    return nn.leaky_relu(normalise(x, norm, train, axis_name, epsilon=_EPSILON, name=name), _LEAK)


def _widened(x: jax.Array, width: int, stride: int) -> jax.Array:
    """Return the shortcut: means of stride x stride pixels, between channels of zeros.

    As many channels are put before as behind.
    """
    if stride > 1:
        # of an odd side, the last pixel has fewer to it; the counts are float32
        x = nn.avg_pool(
            x, (stride, stride), (stride, stride), padding="SAME", count_include_pad=False
        ).astype(x.dtype)
    missing = width - x.shape[-1]
    return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (missing // 2, missing - missing // 2)))
