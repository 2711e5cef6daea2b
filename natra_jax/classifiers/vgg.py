"""VGG-16 (Simonyan & Zisserman 2015) as torchvision has it, plain or with BatchNorm.

    from natra_jax.classifiers import Vgg16

    network = Vgg16(num_classes=1000)
    variables = network.init(jax.random.key(0), images)
    relu1_2, relu2_2, relu3_3, relu4_3, relu5_3 = network.apply(
        variables, images, method="features"
    )

`natra_jax.weights.classifiers` reads torchvision's weights for both, which it calls vgg16 and
vgg16_bn.
"""

from __future__ import annotations

import jax
from flax import linen as nn

from natra_jax.classifiers import pooling
from natra_jax.classifiers.advbn import AdvBN
from natra_jax.classifiers.imagenet import standardise
from natra_jax.classifiers.norm import normalise
from natra_jax.classifiers.precision import chosen, entering, precise
from natra_jax.convolution import Conv

CONVOLUTIONS = (2, 2, 3, 3, 3)  # of each block
POOLED = 7  # the side of what the dense layers see


class Vgg16(nn.Module):
    """Map images [B, H, W, 3] or [B, H, W, 1] in [-1, 1], of any size, to logits [B, num_classes].

    The place of AdvBN is behind relu2_2.

    widths: channels of each of the five blocks.
    dense: units of the hidden dense layers, torchvision's two, each with dropout while training;
      they see the features as 7x7 pixels, whatever the images' size. With (), the last layer sees
      the mean of the features over space: for small images, of which the five poolings leave a
      pixel or so.
    norm: 'none', or 'batch' for BatchNorm behind every convolution.
    dropout: the rate.
    standardised: whether the images are already as ImageNet's networks expect them.
    axis_name: the device axis over which BatchNorm averages.
    dtype: 'float32' or 'bfloat16', of all layers but the last; weights, statistics and logits are
      float32.
    """

    num_classes: int
    widths: tuple[int, ...] = (64, 128, 256, 512, 512)
    dense: tuple[int, ...] = (4096, 4096)
    norm: str = "none"
    dropout: float = 0.5
    standardised: bool = False
    axis_name: str | None = None
    dtype: str = "float32"

    @nn.compact
    def features(self, x: jax.Array, train: bool = False) -> tuple[jax.Array, ...]:
        """Return relu1_2, relu2_2, relu3_3, relu4_3 and relu5_3, the last ReLU of every block.

        The first four are the perceptual features V_l of NaTra eq. 9.
        """
        outputs = []
        x = entering(x if self.standardised else standardise(x), self.dtype)
        for block, (width, count) in enumerate(
            zip(self.widths, CONVOLUTIONS, strict=True), start=1
        ):
            if block > 1:
                x = pooling.max_of_2(x)
            for layer in range(1, count + 1):
                x = Conv(width, name=f"conv{block}_{layer}")(x)
                if self.norm != "none":
                    x = normalise(x, self.norm, train, self.axis_name, name=f"norm{block}_{layer}")
                x = nn.relu(x)
            if block == 2:
                x = AdvBN()(x)
            outputs.append(x)
        return tuple(outputs)

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        y = precise(pooling.max_of_2(self.features(x, train)[-1]))
        y = (
            pooling.adaptive_average(y, POOLED).reshape(len(y), -1)
            if self.dense
            else y.mean((1, 2))
        )
        for i, units in enumerate(self.dense, start=1):
            y = nn.Dense(
                units,
                kernel_init=nn.initializers.he_normal(),
                dtype=chosen(self.dtype),
                name=f"dense{i}",
            )(y)
            y = nn.Dropout(self.dropout, deterministic=not train)(nn.relu(y))
        return nn.Dense(self.num_classes, name="head")(precise(y))
