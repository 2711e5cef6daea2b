"""Opening files that somebody else may have put there.

A pipe makes its reader wait for a writer, a device has no end and a socket cannot be read. All are
refused before they are opened: only a regular file is read.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import IO, cast

from etils import epath

from natra_jax.types import UserError

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def local(path: epath.Path | Path) -> Path | None:
    """Return the path as one of this machine's file system; None if it lies in a bucket."""
    return None if "://" in os.fspath(path) else Path(os.fspath(path))


def require_regular(path: epath.Path | Path) -> None:
    """Raise UserError if something other than a regular file is at the path, OSError if nothing is.

    For a library that opens paths itself; what can take an open file gets that of `open_file`.
    """
    if (on_disk := local(path)) is not None:
        _require_regular(on_disk.stat().st_mode, path)


def open_file(path: epath.Path | Path) -> IO[bytes]:
    """Open a regular file to read its bytes.

    Raises UserError if it is none, and OSError if it is missing or may not be read.
    """
    if (on_disk := local(path)) is None:
        return cast("IO[bytes]", path.open("rb"))
    require_regular(path)

    def opener(name: str, flags: int) -> int:
        # without waiting: a pipe may have taken the file's place since
        return os.open(name, flags | os.O_NONBLOCK | os.O_NOCTTY)

    file = open(on_disk, "rb", opener=opener)  # noqa: SIM115, the caller closes it
    try:
        _require_regular(os.fstat(file.fileno()).st_mode, path)
    except BaseException:
        file.close()
        raise
    return file


def read_bytes(path: epath.Path | Path, most: int) -> bytes:
    """Return the bytes of a regular file. Raise UserError if it is none, or has more than `most`.

    A missing file raises OSError.
    """
    with open_file(path) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise UserError(f"{path}: is larger than {most} bytes, and is not read")
    return data


def _require_regular(mode: int, path: epath.Path | Path) -> None:
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "no regular file")
        raise UserError(f"{path}: is {kind}, where a file is wanted: name a regular file")
