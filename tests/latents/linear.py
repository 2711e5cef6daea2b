"""An encoder that is linear in the images: beside a linear generator, every loss and its gradient
have a closed form.
"""

from __future__ import annotations

import jax
import numpy as np
from flax import linen as nn

from natra_jax.latents.encoder import InverseEncoder, inverse_encoder
from natra_jax.latents.expansion import Expansion
from natra_jax.types import Generator


class Linear(nn.Module):
    """Images [B, H, W, C] -> [B, outputs] by one matrix, without a bias."""

    outputs: int

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        return nn.Dense(self.outputs, use_bias=False)(images.reshape(len(images), -1))


def linear_encoder(
    generator: Generator, codes: str = "w+", layout: Expansion | None = None
) -> InverseEncoder:
    made = inverse_encoder(generator, codes=codes, widths=(1,), hidden=1, layout=layout)
    return made._replace(network=Linear(made.network.outputs))


def weights(kernel: np.ndarray, mean: np.ndarray) -> dict:
    """Parameters of `linear_encoder`: kernel [pixels, outputs], mean [L, D]."""
    return {"network": {"Dense_0": {"kernel": np.float32(kernel)}}, "mean": np.float32(mean)}
