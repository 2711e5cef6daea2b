"""Parts of arrays, and several as one, read only where they are asked for.

Nothing here holds examples in memory.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from natra_jax.data.source import Images
from natra_jax.files import require_whole


class Subset:
    """Some rows of an array that may be memory-mapped or decoded on demand."""

    def __init__(self, array: Images, index: np.ndarray) -> None:
        """Take the rows of array at index [n]."""
        self.shape, self.dtype = (len(index), *array.shape[1:]), array.dtype
        self._array, self._index = array, np.asarray(index)

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        require_whole(self._array)
        return self._array[self._index[rows]]


class Concat:
    """Arrays of one shape but for their lengths, one behind the other."""

    def __init__(self, arrays: Sequence[Images]) -> None:
        """Join the arrays. Raise ValueError if their shapes or types differ."""
        first, *others = arrays
        if any(
            other.shape[1:] != first.shape[1:] or other.dtype != first.dtype for other in others
        ):
            raise ValueError(
                f"arrays of shapes {', '.join(str(a.shape) for a in arrays)} cannot be one"
            )
        self._arrays, self._ends = arrays, np.cumsum([len(array) for array in arrays])
        self.shape, self.dtype = (int(self._ends[-1]), *first.shape[1:]), first.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        index = np.arange(len(self))[rows] if isinstance(rows, slice) else np.asarray(rows)
        taken = np.empty((len(index), *self.shape[1:]), self.dtype)
        part = np.searchsorted(self._ends, index, side="right")
        for i, array in enumerate(self._arrays):
            if len(places := np.flatnonzero(part == i)):
                require_whole(array)
                taken[places] = array[index[places] - (self._ends[i] - len(array))]
        return taken
