"""Batches as a function of the step, and the same batches read ahead of their use.

    batch_at = batches({"image": images, "label": labels}, 64, seed=0)
    with prefetch(batch_at, 0, 1000) as reader:
        for batch in reader: ...

They are shuffled anew each epoch, the same for the same seed. Resuming needs the step alone.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import grain
import numpy as np

from natra_jax import interruption
from natra_jax.data.source import Images
from natra_jax.data.workers import by_workers, forget_frames
from natra_jax.files import require_whole
from natra_jax.types import Batch, Partners, UserError


def batches(
    arrays: Mapping[str, Images],
    batch_size: int,
    seed: int,
    field: str = "batch_size",
    partners: Partners | None = None,
    *,
    partners_of: int | None = None,
    host: tuple[int, int] = (0, 1),
) -> Callable[[int], Batch]:
    """Return the batches of shuffled examples, as a function of the step.

    An epoch is N // batch_size batches; what is left over changes each epoch. Images stay uint8:
    `natra_jax.training.parallel` makes floats of them.

    Args:
        arrays: {name: [N, ...]}, memory-mapped or decoded on demand if need be.
        batch_size: the number of examples B in a batch, of all hosts together.
        seed: of the order.
        field: the config field that batch_size is from, for error messages.
        partners: adds partner_<name> [B, count, ...] of other examples, drawn from (seed, step,
            index) alone, so that they do not depend on how a batch is split over devices.
        partners_of: partners are among the first so many examples, which are those with labels; by
            default among all.
        host: (its number, how many there are). A batch has the rows of this host alone, which are
            read nowhere else; joined in the order of the hosts they are the batch of one host.

    Returns:
        (step) -> {name: arrays[name][index], 'index': index [B] int32}.

    Raises:
        UserError: there are fewer examples than a batch holds, or the hosts cannot share it
            equally. The message names the config field.
    """
    count, (this_host, hosts) = len(next(iter(arrays.values()))), host
    if not 0 <= this_host < hosts:
        raise ValueError(f"there is no host {this_host} of {hosts}")
    if count < batch_size:
        raise UserError(
            f"config field {field} is {batch_size}, "
            f"but there are only {count} examples to draw a batch from: lower it"
        )
    if batch_size % hosts:
        raise UserError(
            f"config field {field} is {batch_size}, which {hosts} hosts cannot share equally: "
            f"make it a multiple of {hosts}"
        )
    candidates = count if partners_of is None else partners_of
    if partners is not None and not 0 < candidates <= count:
        raise ValueError(
            f"partners cannot be drawn from the first {candidates} of {count} examples"
        )
    order = grain.MapDataset.range(count).seed(seed).shuffle().repeat()
    share = batch_size // hosts

    def taken(name: str, index: np.ndarray) -> np.ndarray:
        require_whole(arrays[name])
        return np.asarray(arrays[name][index.ravel()]).reshape(
            *index.shape, *arrays[name].shape[1:]
        )

    def batch_at(step: int) -> Batch:
        epoch, batch_number = divmod(step, count // batch_size)
        first = epoch * count + batch_number * batch_size + this_host * share
        index = np.asarray([order[i] for i in range(first, first + share)], np.int32)
        batch = {name: taken(name, index) for name in arrays} | {"index": index}
        if partners is not None:
            others = np.stack([_others(seed, step, i, candidates, partners.count) for i in index])
            batch |= {f"partner_{name}": taken(name, others) for name in partners.arrays}
        return batch

    return batch_at


def labelled(label: np.ndarray) -> int:
    """Return how many examples have a label, which is 0 or more; label: [N].

    Raise ValueError if one of them stands behind one without.
    """
    has_label = np.asarray(label) >= 0
    count = int(has_label.sum())
    if not has_label[:count].all():
        raise ValueError("examples without a label must stand behind those with one")
    return count


def _others(seed: int, step: int, index: int, candidates: int, draws: int) -> np.ndarray:
    """Draw indices [draws] of other examples among the first so many candidates.

    They are of the example itself where it is alone.
    """
    rng = np.random.default_rng((seed, step, index))
    if index >= candidates:
        return rng.integers(0, candidates, draws)
    offsets = rng.integers(1, max(candidates, 2), draws)
    return (index + offsets) % candidates


class PrefetchOptions(NamedTuple):
    """The threads or processes that read ahead. What is read does not depend on them."""

    # of this process; 0 where there are no workers: a batch is read when it is asked for
    threads: int = 2
    workers: int = 0  # processes, in place of the threads


def prefetch(
    batch_at: Callable[[int], Batch],
    start: int,
    stop: int,
    *,
    threads: int = PrefetchOptions().threads,
    workers: int = PrefetchOptions().workers,
    to_device: Callable[[Batch], Any] | None = None,
) -> Prefetcher:
    """Read batches ahead, while the caller does something else.

    Leave the iterator's `with` block, or close it, to stop reading. What batch_at or to_device
    raises is raised where its batch is asked for.

    Args:
        batch_at: (step) -> batch.
        start: the first step.
        stop: one more than the last step.
        threads: read a batch each; no more than threads + 1 batches lie ready or are being read.
        workers: processes that read in place of the threads, each a few batches ahead. They take
            seconds to start, and pay where threads wait for one another because of what batch_at
            does in Python. It travels to them by cloudpickle, memory-mapped arrays in it by the
            names of their files.
        to_device: moves a batch to the devices, as jax.device_put does; called in a thread of this
            process.

    Returns:
        An iterator over to_device(batch_at(step)) for the steps from start to stop - 1, in order.

    Raises:
        ValueError: threads or workers are below 0.
    """
    if min(threads, workers) < 0:
        raise ValueError(f"threads and workers must be 0 or more, got {threads} and {workers}")

    def opened(step: int) -> grain.IterDataset:
        steps = grain.MapDataset.range(step, stop)
        if workers:
            return by_workers(steps, batch_at, workers, to_device)

        def read(at: int) -> Any:
            batch = batch_at(at)
            return batch if to_device is None else to_device(batch)

        # grain takes a buffer of 0 for no reading ahead
        return steps.map(read).to_iter_dataset(grain.ReadOptions(threads, threads and threads + 1))

    return Prefetcher(opened, start, stop, shared=workers > 0)


class Prefetcher(grain.DatasetIterator):
    """The iterator that `prefetch` returns.

    Its state is the step of the batch that comes next, whoever reads: grain.checkpoint saves and
    restores it.
    """

    def __init__(
        self, opened: Callable[[int], grain.IterDataset], start: int, stop: int, shared: bool
    ) -> None:
        """Iterate over opened(step) from the step start on.

        shared: batches lie in memory shared with other processes.
        """
        super().__init__()
        self._opened, self._shared = opened, shared
        self._step, self._stop = start, stop
        self._source: grain.DatasetIterator | None = None

    def __enter__(self) -> Prefetcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __next__(self) -> Any:
        try:
            batch = next(self._reading())
        except BaseException as error:
            if self._shared:
                forget_frames(error)
            self._drop()  # what was read beyond a failure is out of step
            raise
        self._step += 1
        return batch

    def get_state(self) -> dict[str, int]:
        return {"step": self._step}

    def set_state(self, state: dict[str, int]) -> None:
        if not 0 <= state["step"] <= self._stop:
            raise ValueError(f"step {state['step']} is not among the {self._stop} of this iterator")
        self._drop()
        self._step = int(state["step"])

    def start_prefetch(self) -> None:
        self._reading().start_prefetch()

    def close(self) -> None:
        super().close()
        self._drop()

    def _reading(self) -> grain.DatasetIterator:
        """Return grain's iterator, started where there is none."""
        if self._closed:
            raise ValueError("this iterator is closed")
        if self._source is None:
            if not self._shared:
                self._source = iter(self._opened(self._step))
            else:
                with interruption.unheard_by_children():  # which end with this process
                    self._source = iter(self._opened(self._step))
                    self._source.start_prefetch()
        return self._source

    def _drop(self) -> None:
        """Stop reading; what was read and not taken yet is lost."""
        source, self._source = self._source, None
        if source is not None:
            source.close()
            if self._shared:
                # grain's iterators hang on to batches in memory shared with the workers,
                # which has to be given back before Python ends
                del source
                gc.collect()
