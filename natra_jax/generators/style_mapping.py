"""StyleGAN2's mapping network, from z and the label's embedding to w.

Karras et al. 2020; 2020b for the embedding, which only a conditional generator has. z, normalised,
beside embed(label), normalised -> dense layers with leaky ReLU, scaled at run time for a learning
rate of its own -> w.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from natra_jax.generators.ops import dense, leaky_relu, pixel_norm
from natra_jax.types import Params


def init(
    key: jax.Array,
    *,
    z_dim: int,
    code_dim: int,
    label_dim: int,
    num_layers: int,
    features: int,
    embed_features: int,
    lr_mul: float,
    joint_norm: bool,
) -> Params:
    """Draw the parameters {layers, mean} and, where there are classes, embed.

    Args:
      key: of the draws.
      z_dim: of z.
      code_dim: of w, and of the mean code, which starts at 0.
      label_dim: number of classes; 0: unconditional.
      num_layers: dense layers.
      features: width of all but the last.
      embed_features: numbers that a label is embedded as.
      lr_mul: what kernels are multiplied by when used; they are drawn so many times larger.
      joint_norm: see `apply`; without it the embedding has a bias.
    """
    widths = [
        z_dim + (embed_features if label_dim else 0),
        *[features] * (num_layers - 1),
        code_dim,
    ]
    keys = jax.random.split(key, num_layers + 1)
    layers = [
        {"kernel": jax.random.normal(k, (rows, columns)) / lr_mul, "bias": jnp.zeros(columns)}
        for k, rows, columns in zip(keys, widths[:-1], widths[1:], strict=False)
    ]
    params = {"layers": layers, "mean": jnp.zeros(code_dim)}
    if label_dim:
        params["embed"] = {"kernel": jax.random.normal(keys[-1], (label_dim, embed_features))}
        if not joint_norm:
            params["embed"]["bias"] = jnp.zeros(embed_features)
    return params


def apply(
    params: Params, z: jax.Array, label: jax.Array | None, *, lr_mul: float, joint_norm: bool
) -> jax.Array:
    """Map z to w.

    Args:
      params: as of `init`.
      z: [B, Z].
      label: [B, label_dim], or None.
      lr_mul: learning rate multiplier of the dense layers.
      joint_norm: normalise z and embedding together; the embedding has no gain then.

    Returns:
      w [B, code_dim].
    """
    if label is None:
        x = pixel_norm(z)
    elif joint_norm:
        x = pixel_norm(jnp.concatenate([z, dense(params["embed"], label, gain=None)], -1))
    else:
        x = jnp.concatenate([pixel_norm(z), pixel_norm(dense(params["embed"], label))], -1)
    for layer in params["layers"]:
        x = leaky_relu(dense(layer, x, lr_mul=lr_mul)) * math.sqrt(2)
    return x
