"""Batches read by other processes, through grain's mp_prefetch."""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Any

import grain
import numpy as np
from absl import flags

from natra_jax import entry
from natra_jax.types import Batch


def by_workers(
    steps: grain.MapDataset,
    batch_at: Callable[[int], Batch],
    workers: int,
    to_device: Callable[[Batch], Any] | None,
) -> grain.IterDataset:
    """Read batches in other processes.

    The workers read in turn; a thread of this process copies what they read and moves it to the
    devices. Each has up to three batches ready or being read. They end with the iterator's `close`,
    and with this process however it ends.

    Args:
        steps: those to read.
        batch_at: (step) -> batch.
        workers: the number of processes.
        to_device: moves a batch to the devices; None leaves it where it is.

    Returns:
        to_device(batch_at(step)) of the steps, in their order.
    """
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()  # grain asks for flags of its own where it starts processes
    options = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=1)
    read = (
        steps.map(Portable(batch_at))
        .to_iter_dataset(grain.ReadOptions(0, 0))
        .mp_prefetch(options, _begin_worker)
    )

    def placed(batch: Batch) -> Any:
        # a copy: what lies in memory shared with a worker would have to be gone before Python ends
        own = {name: np.array(array) for name, array in batch.items()}
        return own if to_device is None else to_device(own)

    return grain.experimental.ThreadPrefetchIterDataset(read.map(placed), prefetch_buffer_size=1)


def forget_frames(error: BaseException) -> None:
    """Clear the frames that the error came through.

    They hold batches in memory shared with the workers.
    """
    for frame, _ in traceback.walk_tb(error.__traceback__):
        outer: FrameType | None = frame
        while outer is not None:
            with contextlib.suppress(RuntimeError):  # of those still running
                outer.clear()
            outer = outer.f_back


def _begin_worker(*_: int) -> None:
    """Prepare a process for reading."""
    # Ctrl-C reaches all processes; the first one ends the others
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    entry.quiet_pillow()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process once the one that started it has ended."""
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)


class Portable:
    """A function batch_at for another process.

    Memory-mapped arrays in it travel as the names of their files, and not as all that is in them.
    """

    def __init__(self, batch_at: Callable[[int], Batch]) -> None:
        """Take the function (step) -> batch."""
        self._batch_at = batch_at

    def __call__(self, step: int) -> Batch:
        return self._batch_at(step)

    def __reduce__(self) -> tuple[Callable[[bytes], Portable], tuple[bytes]]:
        import cloudpickle

        class Pickler(cloudpickle.Pickler):
            def reducer_override(self, value: Any) -> Any:
                whole = isinstance(value, np.memmap) and not isinstance(value.base, np.ndarray)
                if whole and value.filename is not None:
                    order = "C" if value.flags.c_contiguous else "F"
                    return np.memmap, (
                        value.filename,
                        value.dtype,
                        "r",
                        value.offset,
                        value.shape,
                        order,
                    )
                return super().reducer_override(value)

        file = io.BytesIO()
        Pickler(file).dump(self._batch_at)
        return _unpacked, (file.getvalue(),)


def _unpacked(pickled: bytes) -> Portable:
    return Portable(pickle.loads(pickled))
