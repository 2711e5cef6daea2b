"""What ProGAN and StyleGAN have in common: two layers a resolution, and an image that grew with them (Karras et al. 2018, section 2).

Both were trained at 4x4 pixels first, then at ever higher resolutions. The level of detail, `lod`, says how far training came: 0 to the
end, 1 to half the resolution. Between two whole numbers the image is on its way: a blend of the lower resolution's, doubled, and the
higher one's. Above it the layers take no part yet and have no parameters; the image is doubled until it has the full size.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from natra_jax.convolution import conv2d
from natra_jax.generators import ops
from natra_jax.generators.resampling import repeat, transposed_conv2d
from natra_jax.types import Features

GAIN = math.sqrt(
    2
)  # of every layer but the affine ones and those to RGB (He initialisation, applied when the kernel is used)
_LARGE = 16  # pixels a side from which a transposed convolution is faster, on a CPU: at 64 twice as fast, its gradient too


class Growth(NamedTuple):
    """The blocks of a network, one a resolution from 4x4 on with two layers each, and how far the image in it has grown.

    The state behind a layer is its feature maps where training came to the end (lod 0), else `Features`, whose image is None at first. A
    block's part of the image is made by the layer after it, or at the end.
    """

    blocks: int
    lod: float

    @property
    def layers(self) -> int:
        """Layers that take part, the first ones."""
        return 2 * (self.blocks - math.floor(self.lod))

    @property
    def painted(self) -> range:
        """Blocks whose features are made into RGB: one, or the two that the image is a blend of."""
        return range(self.blocks - 1 - math.ceil(self.lod), self.blocks - math.floor(self.lod))

    def resolution(self, layer: int) -> int:
        """H = W of what the layer puts out."""
        return 4 * 2 ** (layer // 2)

    def start(self, x: Any) -> Any:
        """The state before layer 0."""
        return Features(x, None) if self.lod else x

    def apply(
        self,
        features: Any,
        layer: int,
        layer_fn: Callable[[Any], Any],
        rgb_fn: Callable[[int, jax.Array], jax.Array],
    ) -> Any:
        """The state behind the layer from that before it. layer_fn: x -> x. rgb_fn: (block, x) -> image."""
        if not self.lod:
            return layer_fn(features)
        x, rgb = features
        if layer > 0 and layer % 2 == 0:
            rgb = self._paint(layer // 2 - 1, x, rgb, rgb_fn)
        return Features(layer_fn(x) if layer < self.layers else x, rgb)

    def image(self, features: Any, rgb_fn: Callable) -> jax.Array:
        """[B, H, W, C], from the state behind the last layer."""
        x, rgb = features if self.lod else (features, None)
        return self._paint(self.blocks - 1, x, rgb, rgb_fn)

    def _paint(
        self, block: int, x: jax.Array, rgb: jax.Array | None, rgb_fn: Callable
    ) -> jax.Array | None:
        if block < self.painted.start:
            return None
        if block == self.painted.start:
            return rgb_fn(block, x)
        if block not in self.painted:
            return repeat(rgb)
        lower = self.lod % 1
        return (1 - lower) * rgb_fn(block, x) + lower * repeat(rgb)


def growth(
    family: str, resolution: int, lod: float, channels: tuple[int, ...], fused_from: int | None
) -> Growth:
    """The blocks of a network of that resolution. channels: of each block. Raises ValueError, naming family, for what cannot be."""
    blocks = resolution.bit_length() - 2
    if blocks < 2 or resolution != 2 ** (blocks + 1):
        raise ValueError(
            f"{family}: resolution must be a power of two and at least 8, got {resolution}"
        )
    if len(channels) != blocks or min(channels) < 1:
        raise ValueError(
            f"{family}: channels must be {blocks} positive numbers, one a resolution from 4 to {resolution}, got {channels}"
        )
    if not 0 <= lod <= blocks - 1:
        raise ValueError(f"{family}: lod must be in 0..{blocks - 1}, got {lod}")
    if fused_from is not None and fused_from < 8:
        raise ValueError(
            f"{family}: fused_from must be a resolution of at least 8, or None, got {fused_from}"
        )
    return Growth(blocks, float(lod))


def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """3x3 convolution with runtime gain sqrt(2) / sqrt(fan in): x [B, H, W, C] with kernel [3, 3, C, K] -> [B, H, W, K]."""
    return conv2d(x, _scaled(kernel))


def convolve_up(x: jax.Array, kernel: jax.Array, fused: bool) -> jax.Array:
    """The same at twice the resolution: x [B, H, W, C] with kernel [3, 3, C, K] -> [B, 2H, 2W, K].

    Either the image is doubled (nearest neighbour) and convolved, or both at once, fused: a transposed convolution with the sum of the
    kernel in four places, one pixel apart. One is the other with the kernel turned by 180 degrees, so that each is computed as is faster.
    """
    kernel, turned = _scaled(kernel), _scaled(kernel)[::-1, ::-1]
    if x.shape[1] < _LARGE:
        return conv2d(repeat(x), turned if fused else kernel)
    padded = jnp.pad(kernel if fused else turned, ((1, 1), (1, 1), (0, 0), (0, 0)))
    return transposed_conv2d(
        x, padded[1:, 1:] + padded[:-1, 1:] + padded[1:, :-1] + padded[:-1, :-1], padding=1
    )


def _scaled(kernel: jax.Array) -> jax.Array:
    return kernel * (GAIN / math.sqrt(math.prod(kernel.shape[:3])))


def init_rgb(keys, growth: Growth, channels: tuple[int, ...], img_channels: int) -> list[dict]:
    """Parameters of the layers to RGB, of the painted blocks alone. keys: an iterator of keys."""
    return [
        {
            "kernel": jax.random.normal(next(keys), (channels[block], img_channels)),
            "bias": jnp.zeros(img_channels),
        }
        for block in growth.painted
    ]


def to_rgb(params: list[dict], growth: Growth, block: int, x: jax.Array) -> jax.Array:
    """1x1 convolution of a painted block's features, gain 1."""
    return ops.dense(params[block - growth.painted.start], x)
