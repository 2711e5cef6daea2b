"""What a source of data delivers, and how it lies on disk."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Split(NamedTuple):
    """Examples of one split. An example's index is its place here, fixed before any shuffling."""

    image: np.ndarray  # [N, H, W, C] uint8
    label: np.ndarray  # [N] int32


class Source(NamedTuple):
    """A data set with the five splits train, val_iid, val_shift, test_iid, test_shift."""

    num_classes: int
    splits: dict[str, Split]
    renderings: dict[str, np.ndarray]  # split -> [N, V, H, W, C] uint8, true variations of each example; empty if none can be made
    wild: Split  # what generator and encoder see; its labels are for the independent judge alone


def to_float(image: np.ndarray) -> np.ndarray:
    """uint8 [0, 255] -> float32 [-1, 1]."""
    return image.astype(np.float32) / np.float32(127.5) - np.float32(1.0)


def to_uint8(image: np.ndarray) -> np.ndarray:
    """Float [-1, 1], clipped -> uint8 [0, 255]."""
    return np.rint((np.clip(image, -1.0, 1.0) + 1.0) * 127.5).astype(np.uint8)
