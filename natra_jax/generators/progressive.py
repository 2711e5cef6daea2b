"""The common half of ProGAN and StyleGAN: two layers a resolution, and an image that grew with
them.

Both were trained at 4x4 pixels first, then at ever higher resolutions (Karras et al. 2018, section
2). The level of detail, `lod`, says how far training came: 0 to the end, 1 to half the resolution.
Between two whole numbers the image is on its way: a blend of the lower resolution's, doubled, and
the higher one's. Above it the layers take no part yet and have no parameters; the image is doubled
until it has the full size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from natra_jax.convolution import conv2d
from natra_jax.generators import ops
from natra_jax.generators.layered import ApplyFn, FinishFn
from natra_jax.generators.resampling import repeat, transposed_conv2d
from natra_jax.types import Features, Params

# of every layer but the affine ones and those to RGB: He initialisation, applied when a kernel is
# used
GAIN = math.sqrt(2)
# pixels a side from which a transposed convolution is faster, on a CPU: at 64 twice as fast, its
# gradient too
_LARGE = 16


class Growth(NamedTuple):
    """The blocks of a network, one a resolution from 4x4 on, and how far the image in it has grown.

    Each block has two layers. The state behind a layer is its feature maps where training came to
    the end (lod 0), else `Features`, whose image is None at first. A block's part of the image is
    made by the layer after it, or at the end.
    """

    blocks: int
    lod: float

    @property
    def layers(self) -> int:
        """The number of layers that take part, the first ones."""
        return 2 * (self.blocks - math.floor(self.lod))

    @property
    def painted(self) -> range:
        """The blocks whose features become RGB: one, or the two that the image is a blend of."""
        return range(self.blocks - 1 - math.ceil(self.lod), self.blocks - math.floor(self.lod))

    def resolution(self, layer: int) -> int:
        """Return H = W of the layer's output."""
        return 4 * 2 ** (layer // 2)

    def start(self, x: Any) -> Any:
        """Return the state before layer 0, of features x."""
        return Features(x, None) if self.lod else x

    def parts(
        self, apply_layer: ApplyFn, to_rgb: Callable[[Params, int, jax.Array], jax.Array]
    ) -> tuple[ApplyFn, FinishFn]:
        """Make the parts `apply` and `finish` of `natra_jax.generators.layered.layered`.

        apply_layer: of feature maps alone. to_rgb: (params, block, x) -> image.
        """

        def paint(
            params: Params, block: int, x: jax.Array, rgb: jax.Array | None
        ) -> jax.Array | None:
            if block == self.painted.start:
                return to_rgb(params, block, x)
            if rgb is None:  # before the painted blocks
                return None
            if block not in self.painted:
                return repeat(rgb)
            lower = self.lod % 1
            return (1 - lower) * to_rgb(params, block, x) + lower * repeat(rgb)

        def apply(params: Params, features: Any, code: Any, layer: int, noise: Any) -> Any:
            if not self.lod:
                return apply_layer(params, features, code, layer, noise)
            x, rgb = features
            if layer > 0 and layer % 2 == 0:
                rgb = paint(params, layer // 2 - 1, x, rgb)
            if layer < self.layers:
                x = apply_layer(params, x, code, layer, noise)
            return Features(x, rgb)

        def finish(params: Params, features: Any) -> jax.Array:
            x, rgb = features if self.lod else (features, None)
            image = paint(params, self.blocks - 1, x, rgb)
            assert image is not None, "one block at least is painted"
            return image

        return apply, finish


def growth(
    family: str, resolution: int, lod: float, channels: tuple[int, ...], fused_from: int | None
) -> Growth:
    """Return the blocks of a network of that resolution.

    Args:
      family: named in errors.
      resolution: a power of two, at least 8.
      lod: the level of detail, 0 to log2(resolution) - 2.
      channels: of each block.
      fused_from: a resolution of at least 8, or None.

    Raises:
      ValueError: for anything else.
    """
    blocks = ops.doublings(family, resolution) + 1
    if len(channels) != blocks or min(channels) < 1:
        raise ValueError(
            f"{family}: channels must be {blocks} positive numbers, one a resolution from 4 to "
            f"{resolution}, got {channels}"
        )
    if not 0 <= lod <= blocks - 1:
        raise ValueError(f"{family}: lod must be in 0..{blocks - 1}, got {lod}")
    if fused_from is not None and fused_from < 8:
        raise ValueError(
            f"{family}: fused_from must be a resolution of at least 8, or None, got {fused_from}"
        )
    return Growth(blocks, float(lod))


def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolve x [B, H, W, C] with kernel [3, 3, C, K] of runtime gain sqrt(2) / sqrt(fan in)."""
    return conv2d(x, _scaled(kernel))


def convolve_up(x: jax.Array, kernel: jax.Array, fused: bool) -> jax.Array:
    """Double and convolve x [B, H, W, C] with kernel [3, 3, C, K]: [B, 2H, 2W, K].

    Either the image is doubled (nearest neighbour) and convolved, or both at once, fused: a
    transposed convolution with the sum of the kernel in four places, one pixel apart. One is the
    other with the kernel turned by 180 degrees, so that each is computed in the faster way.
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


def init_rgb(
    keys: Iterator[jax.Array], growth: Growth, channels: tuple[int, ...], img_channels: int
) -> list[dict[str, jax.Array]]:
    """Draw the parameters of the layers to RGB, for the painted blocks alone.

    Args:
      keys: one is taken for each block.
      growth: of the network.
      channels: of each block's features.
      img_channels: of the image.
    """
    return [
        {
            "kernel": jax.random.normal(next(keys), (channels[block], img_channels)),
            "bias": jnp.zeros(img_channels),
        }
        for block in growth.painted
    ]


def to_rgb(params: list[Params], growth: Growth, block: int, x: jax.Array) -> jax.Array:
    """Apply the 1x1 convolution to RGB, gain 1, to a painted block's features.

    Args:
      params: as of `init_rgb`.
      growth: of the network.
      block: a painted one.
      x: its features, [B, H, W, C].

    Returns:
      The image [B, H, W, img_channels].
    """
    return ops.dense(params[block - growth.painted.start], x)
