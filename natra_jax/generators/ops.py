"""What several families of generators are built of: dense layers with a runtime gain, normalisations, truncation, labels."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from natra_jax.types import Params


def dense(
    params: Params, x: jax.Array, *, gain: float | None = 1.0, lr_mul: float = 1.0
) -> jax.Array:
    """x [..., I] with params {kernel [I, O], bias [O]} -> [..., O], the kernel scaled when it is used.

    The kernel's scale is gain * lr_mul / sqrt(I), the bias's lr_mul (equalized learning rate, Karras et al. 2018). gain None: no scale.
    """
    kernel = params["kernel"]
    scale = lr_mul if gain is None else gain * lr_mul / math.sqrt(kernel.shape[0])
    y = x @ (kernel * scale)
    return y + params["bias"] * lr_mul if "bias" in params else y


def leaky_relu(x: jax.Array) -> jax.Array:
    """Slope 0.2 below zero, as all of these families have."""
    return jnp.where(x > 0, x, 0.2 * x)


def pixel_norm(x: jax.Array, epsilon: float = 1e-8) -> jax.Array:
    """x / sqrt(mean(x^2) + epsilon) over the last axis: of a vector, or at each pixel over its channels (Karras et al. 2018)."""
    return x * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + epsilon)


def distributions(label: jax.Array | None, label_dim: int) -> jax.Array | None:
    """Labels [B], or soft labels [B, label_dim] -> [B, label_dim]; None for an unconditional generator (label_dim 0).

    Raises ValueError for a label where there is none to give, and for none, or one of another shape, where one is needed.
    """
    if label_dim == 0:
        if label is not None:
            raise ValueError("the generator is unconditional: leave the label out")
        return None
    if label is None:
        raise ValueError(
            f"the generator is conditional: give labels [B] in 0..{label_dim - 1} or distributions [B, {label_dim}]"
        )
    label = jnp.asarray(label)
    if label.ndim == 1 and jnp.issubdtype(label.dtype, jnp.integer):
        return jax.nn.one_hot(label, label_dim)
    if label.ndim == 2 and label.shape[1] == label_dim:
        return label.astype(jnp.float32)
    raise ValueError(
        f"labels must be whole numbers [B] or distributions [B, {label_dim}], got {label.dtype} {list(label.shape)}"
    )


def truncate(
    codes: jax.Array, mean: jax.Array, psi: float | jax.Array, cutoff: int | None
) -> jax.Array:
    """mean + psi * (codes - mean) in the first `cutoff` layers (None: all), codes [B, L, D] as they are in the others.

    The truncation trick (Karras et al. 2019, appendix B). mean: [D] or [L, D].
    """
    num_layers = codes.shape[1]
    truncated = jnp.arange(num_layers) < (num_layers if cutoff is None else cutoff)
    # for psi = 1 the codes come back bit for bit
    return jnp.where(truncated[:, None] & (psi != 1), mean + psi * (codes - mean), codes)
