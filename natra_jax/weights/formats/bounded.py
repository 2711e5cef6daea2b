"""What every reader of a stranger's file needs: reads that never reach past its end, sizes that cannot overflow, JSON, names to print."""

from __future__ import annotations

import io
import json
import math
from collections import Counter
from pathlib import PurePath
from typing import Any, BinaryIO

from natra_jax.types import UserError

MAX_BYTES = (
    2**48
)  # of one array: more than any machine has, and far from where whole numbers of 64 bits end
_FLOOR, _RATIO = 2**28, 32  # weights hardly compress


class Bounded(io.BufferedIOBase):
    """A seekable file, of which a read asks for no more than is left. Python's own readers of zip archives and pickles take lengths
    from the file and would allocate them at once.
    """

    def __init__(self, file: BinaryIO):
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


def shown(text: object) -> str:
    """A name from the file as one short line, whatever it holds."""
    text = repr(text)
    return text if len(text) <= 80 else f"{text[:77]}..."


def require_plausible(total: int, file_bytes: int, path: PurePath) -> None:
    """Raises UserError if a file of file_bytes comes to a total of bytes that weights do not come to: over 256 MiB and over 32 times it."""
    if total > (most := max(_FLOOR, _RATIO * file_bytes)):
        raise UserError(
            f"{path}: unpacks to {total} bytes, more than the {most} that are plausible for "
            "weights in a file of its size"
        )


def num_bytes(shape: tuple[int, ...], itemsize: int) -> int | None:
    """Of an array; None if it has a negative side, more than 32 sides, or more bytes than any machine, its empty sides left out."""
    if (
        len(shape) > 32
        or any(side < 0 for side in shape)
        or math.prod(side or 1 for side in shape) * itemsize > MAX_BYTES
    ):
        return None
    return math.prod(shape) * itemsize


def json_object(data: bytes, what: str) -> dict:
    """The JSON object in the data. Raises UserError, beginning with what the data is, for anything else and for names given twice."""
    try:
        found = json.loads(data.decode(), object_pairs_hook=_each_once)
    except UserError as error:
        raise UserError(f"{what} {error}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{what} is no JSON that can be read: it is damaged; get it again"
        ) from error
    if not isinstance(found, dict):
        raise UserError(f"{what} holds no JSON object: it is damaged; get it again")
    return found


def _each_once(pairs: list[tuple[str, Any]]) -> dict:
    found = dict(pairs)
    if len(found) != len(pairs):
        ((twice, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise UserError(f"gives {shown(twice)} twice: it is damaged; get it again")
    return found
