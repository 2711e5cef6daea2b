"""VGG-16 (Simonyan & Zisserman 2015) as torchvision has it, without normalisation layers.

    from natra_jax.classifiers import Vgg16
    network = Vgg16(num_classes=1000)
    variables = network.init(jax.random.key(0), images)
    relu1_2, relu2_2, relu3_3, relu4_3, relu5_3 = network.apply(variables, images, method="features")

`natra_jax.weights.classifiers` reads torchvision's weights for it.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from natra_jax.classifiers.advbn import AdvBN
from natra_jax.classifiers.imagenet import standardise
from natra_jax.convolution import Conv

CONVOLUTIONS = (2, 2, 3, 3, 3)  # of each block
POOLED = 7  # the side of what the dense layers see


class Vgg16(nn.Module):
    """Images [B, H, W, 3] or [B, H, W, 1] in [-1, 1], of any size -> logits [B, num_classes].

    widths: channels of each of the five blocks. dense: units of the two hidden dense layers, each with dropout while training.
    standardised: whether the images are already as ImageNet's networks expect them. The place of AdvBN is behind relu2_2.
    """

    num_classes: int
    widths: tuple[int, ...] = (64, 128, 256, 512, 512)
    dense: tuple[int, ...] = (4096, 4096)
    dropout: float = 0.5
    standardised: bool = False
    axis_name: str | None = None  # there is nothing to average over devices

    @nn.compact
    def features(self, x: jax.Array, train: bool = False) -> tuple[jax.Array, ...]:
        """What leaves the last ReLU of every block, finest first: relu1_2, relu2_2, relu3_3, relu4_3, relu5_3.

        The first four are the perceptual features V_l of NaTra eq. 9.
        """
        outputs = []
        x = x if self.standardised else standardise(x)
        for block, (width, count) in enumerate(zip(self.widths, CONVOLUTIONS, strict=True), start=1):
            if block > 1:
                x = _halve(x)
            for layer in range(1, count + 1):
                x = nn.relu(Conv(width, name=f"conv{block}_{layer}")(x))
            if block == 2:
                x = AdvBN()(x)
            outputs.append(x)
        return tuple(outputs)

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        y = adaptive_average_pool(_halve(self.features(x, train)[-1]), POOLED)
        y = y.reshape(len(y), -1)
        for i, units in enumerate(self.dense, start=1):
            y = nn.relu(nn.Dense(units, kernel_init=nn.initializers.he_normal(), name=f"dense{i}")(y))
            y = nn.Dropout(self.dropout, deterministic=not train)(y)
        return nn.Dense(self.num_classes, name="head")(y)


def adaptive_average_pool(x: jax.Array, side: int) -> jax.Array:
    """[B, H, W, C] -> [B, side, side, C], means over bins that overlap where H or W is no multiple of side, and repeat where it is less.

    As PyTorch's: bin i of H reaches from floor(i H / side) to ceil((i + 1) H / side).
    """
    rows, columns = (_bins(length, side).astype(x.dtype) for length in x.shape[1:3])
    return jnp.einsum("ph,bhwc,qw->bpqc", rows, x, columns, precision="highest")


def _bins(length: int, side: int) -> np.ndarray:
    """[side, length], rows of weights that sum to 1."""
    position, i = np.arange(length), np.arange(side)[:, None]
    inside = (position >= i * length // side) & (position < -(-(i + 1) * length // side))
    return inside / inside.sum(1, keepdims=True)


def _halve(x: jax.Array) -> jax.Array:
    """Maxima of 2x2 pixels; a side of 1 stays. Much faster to differentiate on a CPU than a window reduction."""
    batch, height, width, channels = x.shape
    h, w = min(2, height), min(2, width)
    x = x[:, : height // h * h, : width // w * w]
    return x.reshape(batch, height // h, h, width // w, w, channels).max((2, 4))
