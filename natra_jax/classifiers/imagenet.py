"""Make of our images the inputs that networks trained on ImageNet expect."""

from __future__ import annotations

import jax
import numpy as np

# of pixels in [0, 1], red, green and blue, as torchvision's networks were trained
_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_STD = np.array([0.229, 0.224, 0.225], np.float32)


def standardise(images: jax.Array) -> jax.Array:
    """Subtract ImageNet's mean colour and divide by its standard deviation.

    Images [B, H, W, 3] in [-1, 1]; grey ones, [B, H, W, 1], become coloured.

    Raises ValueError for another number of channels.
    """
    if images.shape[-1] not in (1, 3):
        raise ValueError(
            f"networks trained on ImageNet see grey or RGB images, got {images.shape[-1]} channels"
        )
    return ((images + 1) / 2 - _MEAN.astype(images.dtype)) / _STD.astype(images.dtype)
