"""What a source of data delivers."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, overload

import numpy as np

from natra_jax.types import Images

if TYPE_CHECKING:
    import jax

UNLABELLED = -1  # in place of a label


class Split(NamedTuple):
    """The examples of one split.

    An example's index is its place here, fixed before any shuffling.
    """

    image: Images  # [N, H, W, C] uint8
    label: np.ndarray  # [N] int32


class Source(NamedTuple):
    """A data set with the splits train, val_iid and test_iid, and perhaps their shifted twins.

    Those are val_shift and test_shift.
    """

    classes: tuple[str, ...]  # the names of the labels 0, 1, ...
    splits: dict[str, Split]
    # split -> [N, V, H, W, C] uint8, true variations of each example; empty if none can be made
    renderings: dict[str, np.ndarray] = {}
    # what generator and encoder see, where that is not train; its labels are for the judge alone
    domain: Split | None = None
    unlabelled: Images | None = None  # images of the same domain that nobody has labelled
    domain_object: np.ndarray | None = None  # [N] which images of the domain show the same object

    @property
    def num_classes(self) -> int:
        return len(self.classes)


@overload
def to_float(image: np.ndarray) -> np.ndarray: ...


@overload
def to_float(image: jax.Array) -> jax.Array: ...


def to_float(image: np.ndarray | jax.Array) -> np.ndarray | jax.Array:
    """Convert uint8 in [0, 255] to float32 in [-1, 1], of any shape."""
    if not isinstance(image, np.ndarray):
        return image.astype(np.float32) / np.float32(127.5) - np.float32(1.0)
    # the same in one array's memory: fresh pages cost more than the arithmetic
    converted = np.divide(np.asarray(image), np.float32(127.5), dtype=np.float32)
    converted -= np.float32(1.0)
    return converted


def to_uint8(image: np.ndarray) -> np.ndarray:
    """Convert float in [-1, 1], clipped, to uint8 in [0, 255], of any shape."""
    return np.rint((np.clip(image, -1.0, 1.0) + 1.0) * 127.5).astype(np.uint8)
