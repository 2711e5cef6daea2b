"""The small classifier for small images: a pre-activation residual network of three stages."""

from __future__ import annotations

import jax
from flax import linen as nn

from natra_jax.classifiers.advbn import AdvBN
from natra_jax.classifiers.norm import normalise
from natra_jax.classifiers.precision import entering, precise
from natra_jax.convolution import Conv


class Cnn(nn.Module):
    """Map images [B, H, W, C] to logits [B, num_classes].

    Every stage but the first starts by halving the resolution. The place of AdvBN is behind the
    first stage.

    widths: channels of each stage.
    norm: 'group' or 'batch'.
    axis_name: the device axis over which BatchNorm averages.
    dtype: 'float32' or 'bfloat16', of all layers but the last; weights, statistics and logits are
      float32.
    """

    num_classes: int
    widths: tuple[int, ...] = (16, 32, 48)
    norm: str = "group"
    axis_name: str | None = None
    dtype: str = "float32"

    @nn.compact
    def features(self, x: jax.Array, train: bool = False) -> tuple[jax.Array, ...]:
        """Return the output of every stage, finest first: V_l of NaTra eq. 9."""
        outputs = []
        x = Conv(self.widths[0])(entering(x, self.dtype))
        for stage, width in enumerate(self.widths):
            if stage:
                x = nn.avg_pool(x, (2, 2), (2, 2))
            y = nn.relu(normalise(x, self.norm, train, self.axis_name))
            shortcut = x if x.shape[-1] == width else Conv(width, window=1, use_bias=False)(y)
            y = Conv(width, use_bias=False)(y)
            y = nn.relu(normalise(y, self.norm, train, self.axis_name))
            x = shortcut + Conv(width, use_bias=False)(y)
            if not stage:
                # a pre-activation network: a stage's output has not been through a ReLU
                x = AdvBN(relu=False)(x)
            outputs.append(x)
        return tuple(outputs)

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        y = self.features(x, train)[-1]
        y = nn.relu(normalise(y, self.norm, train, self.axis_name))
        return nn.Dense(self.num_classes)(precise(y).mean((1, 2)))
