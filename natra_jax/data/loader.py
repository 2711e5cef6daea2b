"""Batches as a function of the step: shuffled anew each epoch, the same for the same seed, so that resuming needs the step alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import grain
import numpy as np

from natra_jax.data.source import to_float
from natra_jax.types import Batch, UserError


def batches(arrays: Mapping[str, np.ndarray], batch_size: int, seed: int, field: str = "batch_size") -> Callable[[int], Batch]:
    """(step) -> {name: arrays[name][index], 'index': index}, with uint8 images converted to float32 in [-1, 1].

    Arrays share their leading axis N and may be memory-mapped. An epoch is N // batch_size batches; what is left over changes each
    epoch. Raises UserError, naming the config field, if there are fewer examples than a batch holds.
    """
    count = len(next(iter(arrays.values())))
    if count < batch_size:
        raise UserError(f"config field {field} is {batch_size}, but there are only {count} examples to draw a batch from: lower it")
    order = grain.MapDataset.range(count).seed(seed).shuffle().batch(batch_size, drop_remainder=True).repeat()

    def batch_at(step: int) -> Batch:
        index = np.asarray(order[step], np.int32)
        batch = {name: np.asarray(array[index]) for name, array in arrays.items()}
        return {name: to_float(x) if x.dtype == np.uint8 else x for name, x in batch.items()} | {"index": index}

    return batch_at
