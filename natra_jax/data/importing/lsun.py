"""LSUN (Yu et al. 2015): scenes and objects, each category in an LMDB database of images.

These are JPEG or WebP. The source holds CATEGORY_train_lmdb/ and CATEGORY_val_lmdb/ as the scenes'
archives unpack, CATEGORY/ as the objects' do, or is one of these itself. The label is the category.
LMDB's library trusts its files and dies of a forged one: each database has a process of its own
that reads it (`lmdb_reader`).
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from natra_jax.data.importing import containers, lmdb_reader
from natra_jax.data.importing.dataset import DataSet, Entries, Entry
from natra_jax.data.importing.images import MOST_BYTES, Corrupt
from natra_jax.files import open_file
from natra_jax.types import UserError

PUBLISHER = "LSUN, www.yf.io/p/lsun"
_SPLITS = {"train": "train", "val": "validation"}


class _Database(NamedTuple):
    path: Path
    category: str
    split: str


class _Opened(NamedTuple):
    keys: Sequence[bytes]
    get: Callable[[bytes], bytes]
    size: int


@contextlib.contextmanager
def opened(source: Path) -> Iterator[DataSet]:
    """Open LSUN, its images as they are.

    Its features are label (the category) and id (the key in the database). Raise UserError for what
    is missing or damaged.
    """
    try:
        import lmdb  # noqa: F401  # the process that reads needs it
    except ImportError as error:
        raise UserError(
            "LSUN is read with the package lmdb, which is not installed: "
            "pip install 'natra_jax[lsun]'"
        ) from error
    databases = {database.path.name: database for database in _databases(source)}
    labels = {
        category: i
        for i, category in enumerate(sorted({database.category for database in databases.values()}))
    }
    with contextlib.ExitStack() as stack:
        opened_ = {name: _open(database.path, stack) for name, database in databases.items()}

        def entry(key: tuple[str, bytes]) -> Entry:
            name, id_ = key[0], key[1].decode()
            return Entry(f"{name}/{id_}", {"label": labels[databases[name].category], "id": id_})

        def read(entry: Entry) -> bytes:
            name, id_ = entry.name.split("/", 1)
            return opened_[name].get(id_.encode())

        splits = {}
        for split in _SPLITS.values():
            keys = [
                (name, key)
                for name, database in databases.items()
                if database.split == split
                for key in opened_[name].keys
            ]
            if keys:
                splits[split] = Entries(keys, entry)
        sizes = [f"{name} {opened_[name].size}" for name in databases]
        yield DataSet({"label": list(labels), "id": "text"}, splits, read, stamp=sizes)


def _databases(source: Path) -> list[_Database]:
    """Return the databases in the source, by category and split.

    Raise UserError where there are none, or two of the same category and split.
    """
    with containers.reading(source):
        around = [source.resolve(), *sorted(source.iterdir())] if source.is_dir() else []
        paths = [path for path in around if (path / "data.mdb").exists()]
    found: dict[tuple[str, str], _Database] = {}
    for path in paths:
        scene = re.fullmatch(r"(.+)_(train|val)_lmdb", path.name)
        if path.name == "test_lmdb":  # unlabelled
            continue
        database = _Database(
            path, *((scene[1], _SPLITS[scene[2]]) if scene else (path.name, "train"))
        )
        if other := found.get(database[1:]):
            raise UserError(
                f"{path}: is of the same category and split as {other.path}: move one away"
            )
        found[database[1:]] = database
    if not found:
        containers.require(
            source, None, "CATEGORY_train_lmdb/ or CATEGORY/ with a data.mdb", PUBLISHER
        )
    return [found[key] for key in sorted(found)]


def _open(path: Path, stack: contextlib.ExitStack) -> _Opened:
    """Open a database until the stack is left.

    Raise UserError for what is none, or not all of one.
    """
    file = path / "data.mdb"
    with containers.reading(file), open_file(file):
        size = file.stat().st_size
    if not size:
        raise UserError(f"{file}: is empty: download it again")
    reader = stack.enter_context(_Reader(file))
    count = int.from_bytes(reader.value() or b"", "little")
    keys = list(iter(reader.value, None))
    if not keys or len(keys) != count or not all(map(bytes.isascii, keys)):
        raise UserError(
            f"{file}: holds {len(keys)} images of {count}, or some without a name: "
            "it is not as LSUN's are"
        )
    return _Opened(keys, reader.get, size)


class _Reader(contextlib.AbstractContextManager["_Reader"]):
    """The process that reads a database, and that may die of it."""

    def __init__(self, file: Path) -> None:
        self._file = file
        process = subprocess.Popen(
            [sys.executable, "-P", lmdb_reader.__file__],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},  # where lmdb is found
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # what LMDB says of itself while it dies
            start_new_session=True,  # Ctrl-C reaches this process alone, which ends the other
        )
        assert process.stdin is not None and process.stdout is not None
        self._process, self._requests, self._replies = process, process.stdin, process.stdout
        self._ask(os.fsencode(file.parent))
        self._ask(b"%d" % MOST_BYTES)

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        with contextlib.suppress(BrokenPipeError):  # where it is dead already
            self._process.communicate()

    def get(self, key: bytes) -> bytes:
        """Return the value of a key. Raise Corrupt where there is none, or too large a one."""
        self._ask(key)
        if (value := self.value()) is None:
            raise Corrupt("it is listed in the database and not to be found there")
        return value

    def _ask(self, request: bytes) -> None:
        with contextlib.suppress(BrokenPipeError):  # then there is no reply either
            self._requests.write(lmdb_reader.FRAME.pack(lmdb_reader.VALUE, len(request)) + request)
            self._requests.flush()

    def value(self) -> bytes | None:
        """Return what the process says next; None for the end of the keys and a missing value.

        Raise UserError where it could not read the database, or ended.
        """
        frame = lmdb_reader.FRAME
        kind, size = frame.unpack(self._read(frame.size))
        data = self._read(size)
        if kind == lmdb_reader.REFUSED:
            raise self._refused(data.decode())
        if kind == lmdb_reader.TOO_LARGE:
            raise Corrupt(f"more than {MOST_BYTES} bytes")
        return None if kind == lmdb_reader.MISSING else data

    def _read(self, size: int) -> bytes:
        data = self._replies.read(size)
        if len(data) == size:
            return data
        ended = self._process.wait()
        if ended == -signal.SIGALRM:
            raise self._refused(f"no answer within {lmdb_reader.PATIENCE} s")
        raise self._refused(f"its reader ended with {ended}")

    def _refused(self, reason: str) -> UserError:
        return UserError(
            f"{self._file}: cannot be read as LMDB ({reason}): "
            "look what it is, or download it again"
        )
