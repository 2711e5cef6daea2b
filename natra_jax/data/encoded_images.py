"""Images that stay in the files they came in and are decoded where they are asked for."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, TypedDict

import numpy as np

from natra_jax import interruption
from natra_jax.data.decoding import Preprocess, check, decode
from natra_jax.printable import printable

_SOME = 100  # images


class Encoded(Protocol):
    """Encoded images by their place in a data set.

    They can be pickled: processes that read open the files anew.
    """

    def __len__(self) -> int: ...

    def read(self, i: int) -> bytes | str:
        """Return the content of image i, or the path of its file."""
        ...

    def location(self, i: int) -> str:
        """Name the place of image i in one line, for people."""
        ...

    def select(self, index: np.ndarray) -> Encoded:
        """Return the images at index [n]."""
        ...

    def description(self) -> Mapping[str, Any]:
        """Return JSON values from which `natra_jax.data.reopen` makes the images again."""
        ...


class FilesDescription(TypedDict):
    """The description of `Files`."""

    kind: Literal["files"]
    root: str
    names: list[str]


class Files:
    """Image files below a directory."""

    def __init__(self, root: str, names: Sequence[str]) -> None:
        """Take the files of these names, relative to root."""
        self.root, self.names = root, names

    def __len__(self) -> int:
        return len(self.names)

    def read(self, i: int) -> str:
        return os.path.join(self.root, self.names[i])

    def location(self, i: int) -> str:
        return printable(self.read(i))

    def select(self, index: np.ndarray) -> Files:
        return Files(self.root, [self.names[int(i)] for i in index])

    def description(self) -> FilesDescription:
        return {"kind": "files", "root": self.root, "names": list(self.names)}


class Decoded:
    """Encoded images as an array [N, resolution, resolution, channels] of uint8.

    Rows are decoded where they are asked for.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, encoded: Encoded, preprocess: Preprocess) -> None:
        """Take N encoded images, each of which is brought to one size and one kind of colours."""
        self.encoded, self.preprocess = encoded, preprocess
        side = preprocess.resolution
        self.shape = (len(encoded), side, side, preprocess.channels)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | np.ndarray | int) -> np.ndarray:
        if isinstance(rows, int | np.integer):
            return self[np.array([rows])][0]
        index = _indices(rows, len(self))
        images = np.empty((len(index), *self.shape[1:]), np.uint8)
        for place, i in enumerate(index.tolist()):
            interruption.check()
            location = self.encoded.location(i)
            images[place] = decode(self.encoded.read(i), self.preprocess, location)
        return images

    def select(self, index: np.ndarray) -> Decoded:
        """Return the images at index [n], not decoded yet."""
        return Decoded(self.encoded.select(index), self.preprocess)

    def check(self) -> None:
        """Raise UserError for the first image whose head tells that it cannot be decoded.

        About 30,000 images are checked in a second.
        """
        from PIL import Image

        # here and not in decode, which several threads run at a time
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # check raises for them
            for i in range(len(self)):
                interruption.check()
                check(self.encoded.read(i), self.encoded.location(i))

    def description(self) -> dict[str, Any]:
        """Return JSON values from which `natra_jax.data.reopen` makes the images again."""
        return {"form": self.preprocess._asdict(), **self.encoded.description()}


def typical_side(encoded: Encoded) -> int:
    """Return the median of the images' shorter sides in pixels, by the heads of some of them.

    Raise UserError for one that cannot be read.
    """
    some = np.linspace(0, len(encoded) - 1, min(len(encoded), _SOME)).astype(int).tolist()
    return int(np.median([min(check(encoded.read(i), encoded.location(i))) for i in some]))


def _indices(rows: slice | np.ndarray, count: int) -> np.ndarray:
    """Return the indices of rows of an array of so many, as NumPy reads them."""
    if isinstance(rows, slice):
        return np.arange(*rows.indices(count))
    index = np.asarray(rows)
    if index.dtype == bool:
        return np.arange(count)[index]
    if index.ndim != 1 or (index.size and not np.issubdtype(index.dtype, np.integer)):
        raise TypeError(
            "images are taken by a slice or an array [n] of their indices, "
            f"not by {index.dtype} {index.shape}"
        )
    if index.size and not -count <= index.min() <= index.max() < count:
        raise IndexError(
            f"index {index.min() if index.min() < -count else index.max()} of {count} images"
        )
    return index.astype(np.int64) % count if index.size else np.zeros(0, np.int64)
