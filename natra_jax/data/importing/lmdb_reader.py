"""An LMDB database, read by a process that may die of it.

    python -P lmdb_reader.py

LMDB maps a file and follows what stands in it, so that a forged or cut database ends whoever reads
it by a signal. This file runs alone, without the rest of natra_jax. It is told the folder and the
most bytes of a value on its standard input. It writes the number of keys and the keys to its
standard output, then the value of each key that it is asked for, all in `FRAME`s. It ends with its
standard input, or by SIGALRM where LMDB does not come back within `PATIENCE`.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import struct
import sys
from typing import Any, BinaryIO

PATIENCE = 60  # seconds that one look into the database may take
FRAME = struct.Struct("<cQ")  # kind of what follows, and its bytes
VALUE, MISSING, TOO_LARGE, REFUSED = b"v", b"m", b"l", b"r"
_ADDRESSES = 2**30  # bytes of addresses beside those of the mapped file
_NODE = 10  # bytes of a database that an entry takes, at least
_TOGETHER = 1000  # keys that are read before they are written


def main() -> None:
    """Serve the database that the first request names."""
    import lmdb

    requests, replies = sys.stdin.buffer, sys.stdout.buffer
    try:
        _serve(lmdb, requests, replies)
    except (ValueError, MemoryError, lmdb.Error) as error:
        text = " ".join(str(error).split())[:200] or type(error).__name__
        _write(replies, REFUSED, text.encode(errors="replace"))
    replies.flush()


def _serve(lmdb: Any, requests: BinaryIO, replies: BinaryIO) -> None:
    """Write the keys, then answer requests until there are no more."""
    folder, most = os.fsdecode(_asked(requests)), int(_asked(requests))
    size = os.stat(os.path.join(folder, "data.mdb")).st_size
    _limit(size)
    signal.alarm(PATIENCE)
    environment = lmdb.open(folder, readonly=True, lock=False, create=False, readahead=True)
    transaction, count = environment.begin(buffers=True), environment.stat()["entries"]
    if size < (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]:
        raise ValueError(f"it ends too early, at {size} bytes")
    if count * _NODE > size:
        raise ValueError(f"{count} entries in {size} bytes")
    _write(replies, VALUE, count.to_bytes(8, "little"))
    listed = written = 0
    cursor = transaction.cursor().iternext(keys=True, values=False)
    while keys := [bytes(key) for key in itertools.islice(cursor, _TOGETHER)]:
        signal.alarm(0)
        listed, written = listed + len(keys), written + sum(map(len, keys))
        if listed > count or written > size:  # pages that lead to one another
            raise ValueError(f"more than its {count} entries")
        for key in keys:
            _write(replies, VALUE, key)
        signal.alarm(PATIENCE)
    signal.alarm(0)
    _write(replies, MISSING)
    replies.flush()
    while key := _asked(requests):
        signal.alarm(PATIENCE)
        value = transaction.get(key)
        if value is None:
            kind, data = MISSING, b""
        else:
            kind, data = (TOO_LARGE, b"") if len(value) > most else (VALUE, bytes(value))
        signal.alarm(0)
        _write(replies, kind, data)
        replies.flush()


def _limit(size: int) -> None:
    """Bound the memory, and leave no image of it where the process dies."""
    import resource

    for what, most in ((resource.RLIMIT_AS, size + _ADDRESSES), (resource.RLIMIT_CORE, 0)):
        with contextlib.suppress(ValueError, OSError):  # not every system can
            resource.setrlimit(what, (most, most))


def _asked(requests: BinaryIO) -> bytes:
    """Return the next request, empty where there are no more: no key is."""
    head = requests.read(FRAME.size)
    return requests.read(FRAME.unpack(head)[1]) if len(head) == FRAME.size else b""


def _write(replies: BinaryIO, kind: bytes, data: bytes = b"") -> None:
    replies.write(FRAME.pack(kind, len(data)))
    replies.write(data)


if __name__ == "__main__":
    main()
