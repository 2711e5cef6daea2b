"""Images that stay in the files they came in and are decoded where they are asked for."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from natra_jax.data.decoding import Preprocess, check, decode

_SOME = 100  # images


class Encoded(Protocol):
    """Encoded images by their place in a data set. They can be pickled: reading processes open their files anew."""

    def __len__(self) -> int: ...

    def read(self, i: int) -> bytes | str:
        """The content of image i, or the path of its file."""
        ...

    def where(self, i: int) -> str:
        """Where image i lies, in one line."""
        ...

    def select(self, index: np.ndarray) -> Encoded: ...

    def description(self) -> dict[str, Any]:
        """JSON values."""
        ...


class Files:
    """Image files below a directory."""

    def __init__(self, root: str, names: Sequence[str]):
        """names: of the files, relative to root."""
        self.root, self.names = root, names

    def __len__(self) -> int:
        return len(self.names)

    def read(self, i: int) -> str:
        return os.path.join(self.root, self.names[i])

    def where(self, i: int) -> str:
        return printable(self.read(i))

    def select(self, index: np.ndarray) -> Files:
        return Files(self.root, [self.names[i] for i in index])

    def description(self) -> dict[str, Any]:
        return {"kind": "files", "root": self.root, "names": list(self.names)}


class Decoded:
    """Encoded images as an array [N, resolution, resolution, channels] of uint8 that is decoded row by row."""

    dtype = np.dtype(np.uint8)

    def __init__(self, encoded: Encoded, form: Preprocess):
        self.encoded, self.form = encoded, form
        self.shape = (len(encoded), form.resolution, form.resolution, form.channels)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | np.ndarray | int) -> np.ndarray:
        if isinstance(rows, int | np.integer):
            return self[np.array([rows])][0]
        index = _indices(rows, len(self))
        images = np.empty((len(index), *self.shape[1:]), np.uint8)
        for place, i in enumerate(index.tolist()):
            images[place] = decode(self.encoded.read(i), self.form, self.encoded.where(i))
        return images

    def select(self, index: np.ndarray) -> Decoded:
        return Decoded(self.encoded.select(index), self.form)

    def check(self) -> None:
        """Raises UserError for the first image whose head tells that it cannot be decoded. About 30,000 images a second."""
        from PIL import Image

        with (
            warnings.catch_warnings()
        ):  # here and not in decode, which several threads run at a time
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # check raises for them
            for i in range(len(self)):
                check(self.encoded.read(i), self.encoded.where(i))

    def description(self) -> dict[str, Any]:
        """What `reopen` makes it again from: JSON values."""
        return {"form": self.form._asdict(), **self.encoded.description()}


def typical_side(encoded: Encoded) -> int:
    """The median of the images' shorter sides in pixels, by the heads of some of them. Raises UserError for one that cannot be read."""
    some = np.linspace(0, len(encoded) - 1, min(len(encoded), _SOME)).astype(int).tolist()
    return int(np.median([min(check(encoded.read(i), encoded.where(i))) for i in some]))


def _indices(rows: slice | np.ndarray, count: int) -> np.ndarray:
    """What rows of an array of count are meant, as NumPy reads them."""
    if isinstance(rows, slice):
        return np.arange(*rows.indices(count))
    index = np.asarray(rows)
    if index.dtype == bool:
        return np.arange(count)[index]
    if index.ndim != 1 or (index.size and not np.issubdtype(index.dtype, np.integer)):
        raise TypeError(
            f"images are taken by a slice or an array [n] of their indices, not by {index.dtype} {index.shape}"
        )
    if index.size and not -count <= index.min() <= index.max() < count:
        raise IndexError(
            f"index {index.min() if index.min() < -count else index.max()} of {count} images"
        )
    return index.astype(np.int64) % count if index.size else np.zeros(0, np.int64)


def printable(path: str | os.PathLike[str]) -> str:
    """A path in one line that every terminal and file can take: line breaks and bytes that are no UTF-8 written as escapes."""
    text = str(path)
    return (
        text
        if text.isprintable()
        else "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    )
