"""Weights by their spectral norm, kernels in JAX layout, shapes, values of a configuration.

What the converters of all BigGANs need.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from natra_jax.types import Params, UserError
from natra_jax.weights.tensors import Tensors

MAX_DOUBLINGS = 8  # 1024 px, twice what any published one has


def by_stored_vectors(name: str, weight: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Return weight / (u W v), as torch.nn.utils.spectral_norm does in evaluation.

    W [O, I] is weight [O, ...] as a matrix; u [O], v [I]. name: of the weight, for messages.
    """
    matrix = weight.reshape(len(weight), -1).astype(np.float64)
    return _divide(name, weight, u.astype(np.float64) @ matrix @ v.astype(np.float64))


def by_power_iteration(name: str, weight: np.ndarray, u: np.ndarray, epsilon: float) -> np.ndarray:
    """Return weight / sigma, as the authors' layers do, also in evaluation.

    Sigma is the spectral norm after one step of power iteration from the stored u [O]. name: of the
    weight [O, ...], for messages. epsilon: the least length that a vector is normalised by.
    """
    matrix = weight.reshape(len(weight), -1).astype(np.float64)
    v = _normalize(u.astype(np.float64) @ matrix, epsilon)
    u = _normalize(matrix @ v, epsilon)
    return _divide(name, weight, u @ matrix @ v)


def _normalize(vector: np.ndarray, epsilon: float) -> np.ndarray:
    return vector / max(np.linalg.norm(vector), epsilon)


def _divide(name: str, weight: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Return weight / sigma as float32, if that is finite. sigma: a number."""
    with np.errstate(all="ignore"):
        return finite(name, (weight / np.float64(sigma)).astype(np.float32))


def finite(name: str, array: np.ndarray) -> np.ndarray:
    """Return the array made of the tensor of that name. Raises UserError if it is not finite."""
    if not np.isfinite(array).all():
        raise UserError(
            f"{name} cannot be normalised, its spectral norm or count is as good as zero: the "
            "checkpoint is damaged"
        )
    return array


def checked_statistics(name: str, mean: np.ndarray, variance: np.ndarray) -> dict[str, np.ndarray]:
    """Return a BatchNorm's {mean, variance}. Raises UserError for a negative variance."""
    if (variance < 0).any():
        raise UserError(f"{name} has a negative variance: the checkpoint is damaged")
    return {"mean": mean, "variance": variance}


def kernel(weight: np.ndarray) -> np.ndarray:
    """Return a weight of PyTorch's as JAX's layers have it.

    A convolution's [O, I, kh, kw] -> [kh, kw, I, O]; a linear layer's [O, I], or a 1x1 window's,
    -> [I, O].
    """
    if weight.ndim == 4 and weight.shape[2:] == (1, 1):
        weight = weight[:, :, 0, 0]
    return np.ascontiguousarray(weight.T if weight.ndim == 2 else weight.transpose(2, 3, 1, 0))


def require_filled(tensors: Tensors) -> None:
    """Raise UserError for a tensor without a single number."""
    if empty := [name for name in tensors.names() if 0 in tensors.shape(name)]:
        raise UserError(
            f"{empty[0]} is {list(tensors.shape(empty[0]))}, it holds nothing: the checkpoint is "
            "damaged"
        )


def bottleneck_shapes(before: int, after: int) -> tuple[tuple[int, int, int, int], ...]:
    """Return PyTorch's shapes [O, I, kh, kw] of the four convolutions of a BigGAN-deep block.

    before, after: channels that enter and leave the block.
    """
    middle = before // 4
    return (
        (middle, before, 1, 1),
        (middle, middle, 3, 3),
        (middle, middle, 3, 3),
        (after, middle, 1, 1),
    )


def attention_shapes(channels: int) -> dict[str, tuple[int, int, int, int]]:
    """Return PyTorch's shapes [O, I, 1, 1] of the convolutions of attention, by our names."""
    return {
        "theta": (channels // 8, channels, 1, 1),
        "phi": (channels // 8, channels, 1, 1),
        "g": (channels // 2, channels, 1, 1),
        "o": (channels, channels // 2, 1, 1),
    }


def z_dim(code_dim: int, embed_dim: int, layer: str, embedding: str) -> int:
    """Return how many of the code_dim numbers that layer takes are z's, beside the class's.

    embed_dim: the numbers that embedding gives for the class. Raises UserError if none are left.
    """
    if code_dim <= embed_dim:
        raise UserError(
            f"{layer} takes {code_dim} numbers, of which {embedding} gives {embed_dim}: none are "
            "left for z"
        )
    return code_dim - embed_dim


def require_image(name: str, filters: int) -> None:
    """Raise UserError if the last convolution, of that name, makes fewer channels than an image."""
    if filters < 3:
        raise UserError(f"{name} makes {filters} channels, expected the three of an image or more")


def image_filters(convolution: Params) -> Params:
    """Return the convolution {kernel, bias} to an image: the first three of the filters."""
    return {"kernel": convolution["kernel"][..., :3], "bias": convolution["bias"][:3]}


def scalar(tensors: Tensors, name: str) -> np.ndarray:
    """Take a tensor of shape [] or [1], or of more sides of length 1, as one of shape []."""
    array = tensors.take(name)
    if array.size != 1:
        raise UserError(f"{name} is {list(array.shape)}, expected one number")
    return array.reshape(())


def whole(config: dict[str, Any], name: str, default: int) -> int:
    """Return the configuration's whole number of that name, at least 1."""
    found = config.get(name, default)
    if type(found) is not int or found < 1:
        raise UserError(f"config: {name} must be a whole number of at least 1")
    return found


def epsilon(config: dict[str, Any], name: str, default: float) -> float:
    """Return the configuration's number of that name, between 0 and 1."""
    found = config.get(name, default)
    if type(found) is not float or not 0 < found < 1:
        raise UserError(f"config: {name} must be a number between 0 and 1")
    return found


def one_of(config: dict[str, Any], name: str, known: tuple[str, ...]) -> None:
    """Raise UserError if the configuration has another value than those that are known.

    The first one is the default.
    """
    found = config.get(name, known[0])
    if type(found) is not str or found not in known:
        raise UserError(
            f"config: {name} must be one of {', '.join(known)}: other networks are not known here"
        )
