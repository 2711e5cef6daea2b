"""The content of a data set's files, by which it is known again, and what tells that it stayed.

Names and sizes are not enough: uncompressed photos that exchange their places have both in common.
All is read once for each work directory, in several threads. Later starts read nothing while sizes,
times and inodes are as they were (`natra_jax.inputs`); files that were copied or touched are read
again and found to be the same.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from natra_jax.files import open_file, remedy
from natra_jax.printable import printable
from natra_jax.types import UserError

_TOGETHER = 512  # files that are given to the threads at a time


class File(NamedTuple):
    """A file below a folder, without a look into it."""

    name: str  # relative to the folder
    size: int  # bytes
    changed: tuple[int, ...]  # ns: of the content, of the inode; the inode's number


def file(name: str, status: os.stat_result) -> File:
    """Return what the status of a file says of it."""
    return File(name, status.st_size, (status.st_mtime_ns, status.st_ctime_ns, status.st_ino))


Digest = Callable[[str, Sequence[File]], str]
"""(folder, its files) -> a digest of their names and contents, read now or remembered"""


def digest(root: str, files: Sequence[File]) -> str:
    """Return the SHA-256 of the files' names and contents, read now.

    Raise UserError, naming the file, for one that cannot be read.
    """
    from tqdm import tqdm

    whole = hashlib.sha256()
    with (
        ThreadPoolExecutor(os.cpu_count()) as pool,
        tqdm(
            total=len(files),
            desc="reading the data",
            unit="file",
            disable=not sys.stderr.isatty(),
            leave=False,
        ) as bar,
    ):
        for start in range(0, len(files), _TOGETHER):
            names = [found.name for found in files[start : start + _TOGETHER]]
            paths = [os.path.join(root, name) for name in names]
            for line in zip(names, pool.map(_sha256, paths), strict=True):
                whole.update(json.dumps(line).encode() + b"\n")
            bar.update(len(names))
    return whole.hexdigest()


def stamp(files: Sequence[File]) -> str:
    """Return the SHA-256 of all that is known of the files without a look into them."""
    return hashlib.sha256(json.dumps(files).encode()).hexdigest()


def _sha256(path: str) -> str:
    try:
        with open_file(path, printable(path)) as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        check = "check its permissions" if isinstance(error, PermissionError) else "check its disk"
        raise UserError(
            f"{printable(path)}: cannot be read ({error.strerror or error}): {remedy(error, check)}"
        ) from error
