"""A process that forks for each reader of LMDB: a Python of its own for each would take longest.

    python -P lmdb_server.py SOCKET LMDB_READER

For each pair of descriptors that comes by the socket a child reads and writes there as the reader
does on its standard input and output. How it ended goes back, in four bytes.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import struct
import subprocess
import sys
from typing import Any

ENDED = struct.Struct("<i")  # a return code, as `subprocess` has it


def main() -> None:
    """Serve until the socket is closed."""
    import lmdb  # noqa: F401  # once, for all readers

    spec = importlib.util.spec_from_file_location("lmdb_reader", sys.argv[2])
    assert spec is not None and spec.loader is not None
    reader = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reader)
    with socket.socket(fileno=int(sys.argv[1])) as asked:
        while (descriptors := socket.recv_fds(asked, 1, 2)[1]) != []:
            if (child := os.fork()) == 0:
                for number, descriptor in enumerate(descriptors):
                    os.dup2(descriptor, number)
                    os.close(descriptor)
                reader.main()
                os._exit(0)
            for descriptor in descriptors:
                os.close(descriptor)
            _, status = os.waitpid(child, 0)
            asked.sendall(ENDED.pack(os.waitstatus_to_exitcode(status)))


class Server:
    """The other end: `popen` stands in place of subprocess.Popen, one process at a time."""

    def __init__(self, reader: str) -> None:
        self._socket, other = socket.socketpair()
        with other:
            self._process = subprocess.Popen(
                [sys.executable, "-P", __file__, str(other.fileno()), reader],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
                pass_fds=[other.fileno()],
                stdin=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._process.wait()

    def popen(self, *_: Any, **__: Any) -> _Child:
        theirs, stdin = os.pipe()
        stdout, answers = os.pipe()
        socket.send_fds(self._socket, [b"."], [theirs, answers])
        for descriptor in (theirs, answers):
            os.close(descriptor)
        return _Child(self._socket, stdin, stdout)


class _Child:
    """What the reader's owner uses of a Popen."""

    def __init__(self, ended: socket.socket, stdin: int, stdout: int) -> None:
        self._ended = ended
        self.stdin, self.stdout = os.fdopen(stdin, "wb"), os.fdopen(stdout, "rb")
        self._code: int | None = None

    def wait(self) -> int:
        if self._code is None:
            (self._code,) = ENDED.unpack(self._ended.recv(ENDED.size, socket.MSG_WAITALL))
        return self._code

    def kill(self) -> None:
        """Nothing: it ends with its requests."""

    def communicate(self) -> None:
        try:
            self.stdin.close()
        finally:
            self.stdout.close()
            self.wait()


if __name__ == "__main__":
    main()
