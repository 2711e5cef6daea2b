"""What a source of data delivers."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

UNLABELLED = -1  # in place of a label


class Images(Protocol):
    """Images [N, H, W, C] uint8 that are read where they are asked for: an array, a memory-mapped one, or files that are decoded."""

    shape: tuple[int, ...]
    dtype: np.dtype

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray: ...


class Split(NamedTuple):
    """Examples of one split. An example's index is its place here, fixed before any shuffling."""

    image: Images  # [N, H, W, C] uint8
    label: np.ndarray  # [N] int32


class Source(NamedTuple):
    """A data set with the splits train, val_iid and test_iid, and perhaps val_shift and test_shift."""

    classes: tuple[str, ...]  # the names of the labels 0, 1, ...
    splits: dict[str, Split]
    renderings: dict[
        str, np.ndarray
    ] = {}  # split -> [N, V, H, W, C] uint8, true variations of each example; empty if none can be made
    domain: Split | None = (
        None  # of what generator and encoder see, where that is not train; its labels are for the independent judge alone
    )
    unlabelled: Images | None = None  # images of the same domain that nobody has labelled

    @property
    def num_classes(self) -> int:
        return len(self.classes)


def to_float(image: np.ndarray) -> np.ndarray:
    """uint8 [0, 255] -> float32 [-1, 1]; in JAX too."""
    if not isinstance(image, np.ndarray):
        return image.astype(np.float32) / np.float32(127.5) - np.float32(1.0)
    # the same in one array's memory: fresh pages cost more than the arithmetic
    converted = np.divide(np.asarray(image), np.float32(127.5), dtype=np.float32)
    converted -= np.float32(1.0)
    return converted


def to_uint8(image: np.ndarray) -> np.ndarray:
    """Float [-1, 1], clipped -> uint8 [0, 255]."""
    return np.rint((np.clip(image, -1.0, 1.0) + 1.0) * 127.5).astype(np.uint8)
