"""Reads that never reach past a stranger's file's end, sizes that cannot overflow, JSON, bfloat16.

What every reader of a format needs, whatever the format.
"""

from __future__ import annotations

import io
import math
from pathlib import PurePath
from typing import Any

import numpy as np

from natra_jax.json_files import decode
from natra_jax.types import UserError

# bytes of one array: more than any machine has, and far from where whole numbers of 64 bits end
MAX_BYTES = 2**48
_FLOOR, _RATIO = 2**28, 32  # weights hardly compress
# values, names and containers in a JSON text: each takes some 100 bytes of memory, for 2 of text
_MOST_JSON = 2**21


class Bounded(io.BufferedIOBase):
    """A seekable file, of which a read asks for no more than is left.

    Python's own readers of zip archives and pickles take lengths from the file and would allocate
    them at once.
    """

    def __init__(self, file: io.BufferedIOBase) -> None:
        self._file = file
        self.size = file.seek(0, io.SEEK_END)
        file.seek(0)

    def _at_most(self, size: int | None) -> int:
        left = max(0, self.size - self._file.tell())
        return left if size is None or size < 0 else min(size, left)

    def read(self, size: int | None = -1) -> bytes:
        return self._file.read(self._at_most(size))

    def readline(self, size: int | None = -1) -> bytes:
        return self._file.readline(self._at_most(size))

    def readinto(self, buffer: Any) -> int:
        return self._file.readinto(buffer)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True


def require_plausible(total: int, file_bytes: int, path: PurePath) -> None:
    """Raise UserError if a file of file_bytes unpacks to more bytes than weights do.

    That is a total over 256 MiB and over 32 times file_bytes. path: for the message.
    """
    if total > (most := max(_FLOOR, _RATIO * file_bytes)):
        raise UserError(
            f"{path}: unpacks to {total} bytes, more than the {most} that are plausible for "
            "weights in a file of its size"
        )


def num_bytes(shape: tuple[int, ...], itemsize: int) -> int | None:
    """Return the number of bytes of an array, or None if there can be no such array.

    That is one of a negative side, of more than 32 sides, or, its empty sides left out, of more
    bytes than any machine has.
    """
    if (
        len(shape) > 32
        or any(side < 0 for side in shape)
        or math.prod(side or 1 for side in shape) * itemsize > MAX_BYTES
    ):
        return None
    return math.prod(shape) * itemsize


def from_bfloat16(bits: np.ndarray) -> np.ndarray:
    """Return the bfloat16 values with these bits [...] (uint16) as float32 [...], which holds each.

    Their bits are the upper half of a float32's.
    """
    return np.asarray(bits.astype(np.uint32) << 16).view(np.float32)


def json_object(data: bytes, what: str) -> dict[str, Any]:
    """Return the JSON object in the data.

    Raises UserError, beginning with `what` the data is, for anything else and for a name that an
    object gives twice.
    """
    if sum(map(data.count, (b",", b":", b"{", b"["))) > _MOST_JSON:
        raise UserError(f"{what} has more entries than that of any network, and is not read")
    try:
        found = decode(data, loose=True)
    except ValueError as error:
        raise UserError(f"{what} cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise UserError(f"{what} holds no JSON object, but a {type(found).__name__}")
    return found
