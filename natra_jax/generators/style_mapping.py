"""StyleGAN2's mapping network: z and, of a conditional one, the label's embedding -> w (Karras et al. 2020; 2020b for the embedding).

z, normalised, beside embed(label), normalised -> dense layers with leaky ReLU, scaled at run time for a learning rate of its own -> w
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
    """{layers: dense layers from z and embedding over `features` to code_dim, embed (where there are labels), mean: [code_dim]}."""
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
    """z [B, Z], label [B, label_dim] or None -> w [B, code_dim]. joint_norm: one norm for z and embedding, which has no gain then."""
    if label is None:
        x = pixel_norm(z)
    elif joint_norm:
        x = pixel_norm(jnp.concatenate([z, dense(params["embed"], label, gain=None)], -1))
    else:
        x = jnp.concatenate([pixel_norm(z), pixel_norm(dense(params["embed"], label))], -1)
    for layer in params["layers"]:
        x = leaky_relu(dense(layer, x, lr_mul=lr_mul)) * math.sqrt(2)
    return x
