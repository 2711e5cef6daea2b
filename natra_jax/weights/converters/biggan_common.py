"""What the converters of all BigGANs need: weights divided by their spectral norm, kernels in JAX layout, a configuration held against
the tensors."""

from __future__ import annotations

import numpy as np

from natra_jax.types import UserError
from natra_jax.weights.tensors import Tensors

MAX_DOUBLINGS = 8  # 1024 px, twice what any published one has


def by_stored_vectors(name: str, weight: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """weight / (u W v), W [O, I] being weight [O, ...] as a matrix: torch.nn.utils.spectral_norm in evaluation."""
    matrix = weight.reshape(len(weight), -1).astype(np.float64)
    return _divide(name, weight, u.astype(np.float64) @ matrix @ v.astype(np.float64))


def by_power_iteration(name: str, weight: np.ndarray, u: np.ndarray, epsilon: float) -> np.ndarray:
    """weight / sigma, sigma after one step of power iteration from the stored u [O]: what the authors' layers do, also in evaluation.

    epsilon: the least length that a vector is normalised by.
    """
    matrix = weight.reshape(len(weight), -1).astype(np.float64)
    v = _normalize(u.astype(np.float64) @ matrix, epsilon)
    u = _normalize(matrix @ v, epsilon)
    return _divide(name, weight, u @ matrix @ v)


def _normalize(vector: np.ndarray, epsilon: float) -> np.ndarray:
    return vector / max(np.linalg.norm(vector), epsilon)


def _divide(name: str, weight: np.ndarray, sigma: float) -> np.ndarray:
    with np.errstate(all="ignore"):
        return finite(name, (weight / np.float64(sigma)).astype(np.float32))


def finite(name: str, array: np.ndarray) -> np.ndarray:
    """Raises UserError if what was made of the tensor is not."""
    if not np.isfinite(array).all():
        raise UserError(
            f"{name} cannot be normalised, its spectral norm or count is as good as zero: the "
            "checkpoint is damaged"
        )
    return array


def checked_statistics(name: str, mean: np.ndarray, variance: np.ndarray) -> dict[str, np.ndarray]:
    """Of a BatchNorm. Raises UserError for a negative variance."""
    if (variance < 0).any():
        raise UserError(f"{name} has a negative variance: the checkpoint is damaged")
    return {"mean": mean, "variance": variance}


def kernel(weight: np.ndarray) -> np.ndarray:
    """PyTorch's [O, I, kh, kw] -> [kh, kw, I, O]; a linear layer's [O, I], or a 1x1 window's, -> [I, O]."""
    if weight.ndim == 4 and weight.shape[2:] == (1, 1):
        weight = weight[:, :, 0, 0]
    return np.ascontiguousarray(weight.T if weight.ndim == 2 else weight.transpose(2, 3, 1, 0))


def require_filled(tensors: Tensors) -> None:
    """Raises UserError for a tensor without a single number."""
    if empty := [name for name in tensors.names() if 0 in tensors.shape(name)]:
        raise UserError(
            f"{empty[0]} is {list(tensors.shape(empty[0]))}, it holds nothing: the checkpoint is "
            "damaged"
        )


def scalar(tensors: Tensors, name: str) -> np.ndarray:
    """Of shape [] or [1] -> []."""
    array = tensors.take(name)
    if array.size != 1:
        raise UserError(f"{name} is {list(array.shape)}, expected one number")
    return array.reshape(())


def whole(config: dict, name: str, default: int) -> int:
    """A whole number of at least 1."""
    found = config.get(name, default)
    if type(found) is not int or found < 1:
        raise UserError(f"config: {name} must be a whole number of at least 1")
    return found


def epsilon(config: dict, name: str, default: float) -> float:
    """A number between 0 and 1."""
    found = config.get(name, default)
    if type(found) is not float or not 0 < found < 1:
        raise UserError(f"config: {name} must be a number between 0 and 1")
    return found


def one_of(config: dict, name: str, known: tuple[str, ...]) -> None:
    """Raises UserError if the configuration has another value than those that are known; the first is the default."""
    found = config.get(name, known[0])
    if type(found) is not str or found not in known:
        raise UserError(
            f"config: {name} must be one of {', '.join(known)}: other networks are not known here"
        )
