"""Batches as a function of the step: shuffled anew each epoch, the same for the same seed, so that resuming needs the step alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import grain
import numpy as np

from natra_jax.data.source import to_float
from natra_jax.types import Batch, Partners, UserError


def batches(
    arrays: Mapping[str, np.ndarray], batch_size: int, seed: int, field: str = "batch_size", partners: Partners | None = None
) -> Callable[[int], Batch]:
    """(step) -> {name: arrays[name][index], 'index': index}, with uint8 images converted to float32 in [-1, 1].

    Arrays share their leading axis N and may be memory-mapped. An epoch is N // batch_size batches; what is left over changes each
    epoch. partners: adds partner_<name> [B, count, ...] of other examples, drawn over the whole data set from (seed, step, index) alone, so
    that they do not depend on how a batch is split over devices. Raises UserError, naming the config field, if there are fewer
    examples than a batch holds.
    """
    count = len(next(iter(arrays.values())))
    if count < batch_size:
        raise UserError(f"config field {field} is {batch_size}, but there are only {count} examples to draw a batch from: lower it")
    order = grain.MapDataset.range(count).seed(seed).shuffle().batch(batch_size, drop_remainder=True).repeat()

    def taken(name: str, index: np.ndarray) -> np.ndarray:
        array = np.asarray(arrays[name][index.ravel()]).reshape(*index.shape, *arrays[name].shape[1:])
        return to_float(array) if array.dtype == np.uint8 else array

    def batch_at(step: int) -> Batch:
        index = np.asarray(order[step], np.int32)
        batch = {name: taken(name, index) for name in arrays} | {"index": index}
        if partners is not None:
            others = np.stack([_others(seed, step, i, count, partners.count) for i in index])
            batch |= {f"partner_{name}": taken(name, others) for name in partners.arrays}
        return batch

    return batch_at


def _others(seed: int, step: int, index: int, count: int, draws: int) -> np.ndarray:
    """Indices [draws] of other examples than index, of a data set of count; of itself where it is alone."""
    offsets = np.random.default_rng((seed, step, index)).integers(1, max(count, 2), draws)
    return (index + offsets) % count
