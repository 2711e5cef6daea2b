"""Opening files, and walking through folders, that somebody else may have put there.

A pipe makes its reader wait for a writer, a device has no end and a socket cannot be read. All are
refused before they are opened: only a regular file is read. Links to folders are followed; since a
few of them can make a tree without end, no folder is walked through twice.
"""

from __future__ import annotations

import contextlib
import errno
import io
import mmap
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np
from etils import epath

from natra_jax.types import UserError

_DEEPEST = 100  # folders in folders
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_TOO_MANY = tuple(map(os.strerror, (errno.EMFILE, errno.ENFILE)))  # open files, at once
MORE_OPEN_FILES = "allow more open files (ulimit -n), or close what has many of them open"

AnyPath = epath.Path | Path | str


def local(path: AnyPath) -> Path | None:
    """Return the path as one of this machine's file system; None if it lies in a bucket."""
    return None if "://" in os.fspath(path) else Path(os.fspath(path))


def require_regular(path: AnyPath) -> None:
    """Raise UserError if something other than a regular file is at the path, OSError if nothing is.

    For a library that opens paths itself; what can take an open file gets that of `open_file`.
    """
    if (on_disk := local(path)) is not None:
        _require_regular(on_disk.stat().st_mode, str(path))


def require_regular_below(root: epath.Path | Path) -> None:
    """Raise UserError if something other than regular files is in a folder, at any depth.

    For a library that opens what is in the folder itself. A bucket holds nothing else; a folder
    that is not there holds nothing.
    """
    if (on_disk := local(root)) is not None and on_disk.exists():
        for path in below(epath.Path(on_disk)):
            if path.exists():  # a link to nothing is for the library to miss
                require_regular(path)


def open_file(path: AnyPath, named: str = "") -> io.BufferedReader:
    """Open a regular file to read its bytes.

    named: the file as error messages name it; by default its path. Raises UserError if it is no
    regular file, and OSError if it is missing or may not be read.
    """
    if (on_disk := local(path)) is None:
        return cast("io.BufferedReader", epath.Path(path).open("rb"))  # which has what we use
    named = named or str(path)
    _require_regular(os.stat(on_disk).st_mode, named)

    def opener(name: str, flags: int) -> int:
        # without waiting: a pipe may have taken the file's place since
        return os.open(name, flags | os.O_NONBLOCK | os.O_NOCTTY)

    file = open(on_disk, "rb", opener=opener)  # noqa: SIM115, the caller closes it
    try:
        _require_regular(os.fstat(file.fileno()).st_mode, named)
    except BaseException:
        file.close()
        raise
    return file


@contextlib.contextmanager
def reading(path: AnyPath) -> Iterator[None]:
    """Raise UserError in one line for why path cannot be read."""
    try:
        yield
    except OSError as error:
        named = isinstance(error.filename, str | bytes)
        raise UserError(
            f"{os.fsdecode(error.filename) if named else path}: "
            f"cannot be read ({error.strerror or error}): "
            + remedy(error, "check what it is, its permissions and its disk")
        ) from error


def remedy(error: BaseException, usual: str) -> str:
    """Return what to do about an error: `usual`, unless too many files were open at once.

    A library's errors tell that in their text alone.
    """
    return MORE_OPEN_FILES if any(text in str(error) for text in _TOO_MANY) else usual


def read_bytes(path: AnyPath, most: int) -> bytes:
    """Return the bytes of a regular file. Raise UserError if it is none, or has more than `most`.

    A missing file raises OSError.
    """
    with open_file(path) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise UserError(f"{path}: is larger than {most} bytes, and is not read")
    return data


class Walk:
    """One walk through a tree of folders, which enters each of them once, however links lead."""

    def __init__(self, root: AnyPath) -> None:
        """Begin at the folder root, without entering it."""
        self._root = root
        self._depth = len(Path(os.fspath(root)).parts)
        self._entered: set[tuple[int, int]] = set()

    def enter(self, folder: AnyPath, named: str = "") -> None:
        """Raise UserError for a folder that was entered before, or lies too deep.

        named: the folder as error messages name it; by default its path. Raises OSError if the
        folder is not there.
        """
        if (on_disk := local(folder)) is None:  # a bucket has no links
            return
        named = named or str(folder)
        if len(on_disk.parts) > self._depth + _DEEPEST:
            raise UserError(f"{named}: is more than {_DEEPEST} folders deep: move it further up")
        status = on_disk.stat()
        if (same := (status.st_dev, status.st_ino)) in self._entered:
            raise UserError(f"{named}: is in {self._root} twice, by a link: remove the link")
        self._entered.add(same)


def below(root: epath.Path) -> Iterator[epath.Path]:
    """Yield all that is no folder, at any depth below root.

    Raises UserError as `Walk` does.
    """
    walk, waiting = Walk(root), [root]
    while waiting:
        folder = waiting.pop()
        walk.enter(folder)
        for path in folder.iterdir():
            if path.is_dir():
                waiting.append(path)
            else:
                yield path


def require_whole(array: object) -> None:
    """Raise UserError if the file of a memory-mapped array was cut off since it was mapped.

    To read the array would end the process. Other arrays are as whole as they were.
    """
    mapped: mmap.mmap | None = getattr(array, "_mmap", None)  # NumPy's, of views of it too
    if isinstance(array, np.memmap) and mapped is not None:
        first = array.offset - array.offset % mmap.ALLOCATIONGRANULARITY
        if mapped.size() < first + len(mapped):
            raise UserError(
                f"{array.filename}: was cut off by another program since it was opened: "
                "run again with the whole file"
            )


def _require_regular(mode: int, named: str) -> None:
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "no regular file")
        raise UserError(f"{named}: is {kind}, where a file is wanted: name a regular file")
