"""LSUN (Yu et al. 2015): scenes and objects, each category in an LMDB database of images.

These are JPEG or WebP. The source holds CATEGORY_train_lmdb/ and CATEGORY_val_lmdb/ as the scenes'
archives unpack, CATEGORY/ as the objects' do, or is one of these itself. The label is the category.
LMDB is read by a C library that trusts its files: what is cut off is refused here, but a database
that someone forged is not safe to read.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from natra_jax.data.importing import containers
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
        import lmdb
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
        opened_ = {name: _open(lmdb, database.path, stack) for name, database in databases.items()}

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


def _open(lmdb: Any, path: Path, stack: contextlib.ExitStack) -> _Opened:
    """Open a database until the stack is left.

    Raise UserError for what is none, or not all of one.
    """
    file = path / "data.mdb"
    with containers.reading(file), open_file(file):
        size = file.stat().st_size
    if not size:
        raise UserError(f"{file}: is empty: download it again")
    try:
        environment = lmdb.open(str(path), readonly=True, lock=False, create=False, readahead=True)
        stack.callback(environment.close)
        if size < (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]:
            # reading on would end the process
            raise UserError(f"{file}: ends too early, at {size} bytes: download it again")
        transaction = stack.enter_context(environment.begin(buffers=True))
        with transaction.cursor() as cursor:
            keys = [bytes(key) for key in cursor.iternext(keys=True, values=False)]
        count = environment.stat()["entries"]
    except lmdb.InvalidError as error:
        raise UserError(f"{file}: is no LMDB database: put LSUN's file in its place") from error
    except lmdb.Error as error:
        raise UserError(
            f"{file}: cannot be read as LMDB ({error}): it is none, or not whole"
        ) from error
    if not keys or len(keys) != count or not all(map(bytes.isascii, keys)):
        raise UserError(
            f"{file}: holds {len(keys)} images of {count}, or some without a name: "
            "it is not as LSUN's are"
        )

    def get(key: bytes) -> bytes:
        value = transaction.get(key)
        if len(value) > MOST_BYTES:
            raise Corrupt(f"more than {MOST_BYTES} bytes")
        return bytes(value)

    return _Opened(keys, get, size)
