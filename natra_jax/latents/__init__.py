"""Between images and codes, and what varies: inverse encoding (NaTra section 3.2) and attribute directing (section 3.4.1).

import numpy as np
from natra_jax.latents import discover

codes = np.random.default_rng(0).normal(size=(200, 2, 3)) * [3.0, 1.0, 0.1]          # [K, L, D]
found = discover(codes, codes[:, 1:], method="pca", num=2, layers=(1, 2), seed=0, fingerprint="mine")
found.vectors, found.sigma, found.names                                             # [2, 2, 3], [2], ('pca0_layers1-1', ...)
"""

from natra_jax.latents.directions import activations, discover
from natra_jax.latents.encoder import Encoder, InverseEncoder, inverse_encoder, reconstruction_loss

__all__ = ["Encoder", "InverseEncoder", "activations", "discover", "inverse_encoder", "reconstruction_loss"]
