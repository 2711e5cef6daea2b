"""The parts of which several families of generators are built.

Dense layers with a runtime gain, normalisations, the prior, truncation and labels.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from natra_jax.types import Params


def dense(
    params: Params, x: jax.Array, *, gain: float | None = 1.0, lr_mul: float = 1.0
) -> jax.Array:
    """Apply a dense layer whose kernel is scaled when it is used.

    The scale is gain * lr_mul / sqrt(I) of the kernel, and lr_mul of the bias (equalized learning
    rate, Karras et al. 2018).

    Args:
      params: {kernel [I, O], bias [O]}; bias may be missing.
      x: [..., I].
      gain: of the kernel; None leaves only lr_mul.
      lr_mul: of kernel and bias.

    Returns:
      [..., O].
    """
    kernel = params["kernel"]
    scale = lr_mul if gain is None else gain * lr_mul / math.sqrt(kernel.shape[0])
    y = x @ (kernel * scale)
    return y + params["bias"] * lr_mul if "bias" in params else y


def leaky_relu(x: jax.Array) -> jax.Array:
    """Apply a leaky ReLU of slope 0.2, as all of these families have."""
    return jnp.where(x > 0, x, 0.2 * x)


def pixel_norm(x: jax.Array, epsilon: float = 1e-8) -> jax.Array:
    """Return x / sqrt(mean(x^2) + epsilon) over the last axis (Karras et al. 2018).

    x is a vector, or feature maps that are normalised at each pixel over its channels.
    """
    return x * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + epsilon)


def standard_normal(z_dim: int) -> Callable[[jax.Array, int], jax.Array]:
    """Make the prior of most families, (key, n) -> z [n, z_dim] from N(0, I)."""

    def sample(key: jax.Array, n: int) -> jax.Array:
        return jax.random.normal(key, (n, z_dim))

    return sample


def distributions(label: jax.Array | None, label_dim: int) -> jax.Array | None:
    """Return labels as distributions [B, label_dim]; None for an unconditional generator.

    Args:
      label: whole numbers [B], or soft labels [B, label_dim]; None where label_dim is 0.
      label_dim: number of classes; 0: unconditional.

    Raises:
      ValueError: for a label where there is none to give, and for none, or one of another shape,
        where one is needed.
    """
    if label_dim == 0:
        if label is not None:
            raise ValueError("the generator is unconditional: leave the label out")
        return None
    return class_distributions(label, label_dim)


def class_distributions(label: jax.Array | None, label_dim: int) -> jax.Array:
    """Return a conditional generator's labels as distributions, see `distributions`."""
    if label is None:
        raise ValueError(
            f"the generator is conditional: give labels [B] in 0..{label_dim - 1} "
            f"or distributions [B, {label_dim}]"
        )
    label = jnp.asarray(label)
    if label.ndim == 1 and jnp.issubdtype(label.dtype, jnp.integer):
        return jax.nn.one_hot(label, label_dim)
    if label.ndim == 2 and label.shape[1] == label_dim:
        return label.astype(jnp.float32)
    raise ValueError(
        f"labels must be whole numbers [B] or distributions [B, {label_dim}], "
        f"got {label.dtype} {list(label.shape)}"
    )


def truncate(
    codes: jax.Array,
    mean: jax.Array,
    psi: float | jax.Array,
    cutoff: int | None,
    *,
    always: bool = False,
) -> jax.Array:
    """Apply the truncation trick (Karras et al. 2019, appendix B): mean + psi * (codes - mean).

    Args:
      codes: [B, L, D].
      mean: [D] or [L, D].
      psi: 1 leaves codes as they are, bit for bit.
      cutoff: only the first so many layers are truncated; None: all.
      always: take the formula for psi = 1 as well, where it rounds.

    Returns:
      Codes [B, L, D].
    """
    num_layers = codes.shape[1]
    within = jnp.arange(num_layers) < (num_layers if cutoff is None else cutoff)
    truncated = within[:, None] if always else within[:, None] & (psi != 1)
    return jnp.where(truncated, mean + psi * (codes - mean), codes)


def doublings(family: str, resolution: int) -> int:
    """Return log2(resolution / 4), how often 4 pixels are doubled.

    Raises ValueError, naming family, for a resolution that is not a power of two, or less than 8.
    """
    levels = resolution.bit_length() - 3
    if levels < 1 or resolution != 4 * 2**levels:
        raise ValueError(
            f"{family}: resolution must be a power of two and at least 8, got {resolution}"
        )
    return levels
