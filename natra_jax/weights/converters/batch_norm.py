"""PyTorch's BatchNorm as Flax's."""

from __future__ import annotations

import numpy as np

from natra_jax.weights.tensors import Tensors

_LEAVES = {
    "params": {"scale": "weight", "bias": "bias"},
    "batch_stats": {"mean": "running_mean", "var": "running_var"},
}


def take(
    tensors: Tensors, name: str, path: tuple[str, ...], channels: int
) -> dict[tuple[str, ...], np.ndarray]:
    """Take the BatchNorm of that name, and return {(collection, *path, leaf): array [channels]}.

    path: of the layer in our trees. Raises UserError for tensors that do not fit.
    """
    return {
        (collection, *path, ours): tensors.take(f"{name}.{theirs}", channels)
        for collection, leaves in _LEAVES.items()
        for ours, theirs in leaves.items()
    }


def drop_counts(tensors: Tensors) -> None:
    """Drop the counts of batches that PyTorch's BatchNorms have seen: they are of no use here.

    Files from before PyTorch 0.4.1 do not have them.
    """
    tensors.drop(lambda name: name.endswith(".num_batches_tracked"))
