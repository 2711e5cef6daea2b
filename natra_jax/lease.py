"""The lease of a work directory: one run writes into it at a time.

lease.json there names the run that holds it, and is written anew every few seconds. It ends with
the run. One that a killed run left is taken over: on the same machine as soon as its process is
gone, from another one when it is not renewed any more. Clocks need not agree: what looks old, or
from the future, is watched for a while, and counts as held if it changes.

The directory may lie in a bucket, where nothing is created exclusively or locked: there, and where
a lease is taken over, a run writes its own, waits, and holds it if it then reads its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from etils import epath

from natra_jax import json_files
from natra_jax import workdir as files
from natra_jax.files import read_bytes, remedy
from natra_jax.types import UserError

_BEAT = 10.0  # seconds between renewals
_EXPIRY = 60.0  # a lease that was renewed so many seconds ago is held
_WATCH = 30  # seconds in which a lease that is held is renewed
_SETTLE = 1.0  # seconds in which a rival that saw the same free lease has written its own
_LONGEST = 10_000  # bytes of such a file


@dataclass
class Machine:
    """This machine's clocks and processes; tests have others."""

    host: str = field(default_factory=socket.gethostname)
    process: int = field(default_factory=os.getpid)

    def processes(self) -> str:
        """Name the table of processes: two with the same name see each other's."""
        try:
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
            return f"{self.host} {boot} {os.readlink('/proc/self/ns/pid')}"
        except OSError:
            return self.host

    def is_running(self, process: int) -> bool:
        """Tell whether there is a process of this number."""
        try:
            os.kill(process, 0)
        except (ProcessLookupError, OverflowError):
            return False
        except OSError:  # of another user
            return True
        return True

    def born(self, process: int) -> str:
        """Return when a process was started, in the kernel's ticks; '' where that is not told."""
        try:
            text = Path(f"/proc/{process}/stat").read_text(errors="replace")
            return text.rpartition(")")[2].split()[19]
        except (OSError, IndexError):
            return ""

    def now(self) -> float:
        """Return the time in seconds, by a clock that other machines have too."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


class Holder(NamedTuple):
    """The run that a lease names."""

    host: str
    process: int
    since: str
    token: str
    processes: str
    born: str
    directory: int
    beats: int
    time: float


class Lease:
    """The right to write into a work directory, held inside its `with` block."""

    def __init__(self, workdir: epath.Path, machine: Machine | None = None) -> None:
        """Take the work directory. Nothing is written before the block is entered."""
        self._workdir, self._path = workdir, workdir / files.LEASE
        self._local = files.local(self._path)
        self._machine = machine or Machine()
        self._token = secrets.token_hex(8)
        self._since = datetime.now().astimezone().isoformat(" ", "seconds")
        self._beats = 0
        self._ended = threading.Event()
        self._beating = threading.Thread(target=self._beat, name="lease", daemon=True)

    def require_free(self) -> None:
        """Raise UserError, naming the other run, if one holds the work directory."""
        while (text := self._read()) is not None:
            holder = _parsed(text)
            held = None if holder is None else self._is_held(holder)
            if held is None and self._changes(text):
                changed = _parsed(self._read() or "")
                if holder is None or changed is None or changed.token != holder.token:
                    continue  # somebody else's: judged anew
                held = True
            if held and holder is not None:
                raise self._refusal(holder)
            return

    def __enter__(self) -> Lease:
        """Take the lease. Raise UserError if another run holds it, or it cannot be written."""
        try:
            while not self._taken():
                pass
        except OSError as error:
            raise UserError(
                f"{self._path} cannot be written ({error.strerror or error}): "
                + remedy(error, "choose another --workdir")
            ) from error
        self._beating.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Give the work directory back."""
        self._ended.set()
        if self._beating.is_alive():  # else it might be renewed just behind its end
            self._beating.join(_SETTLE)
        with contextlib.suppress(OSError):
            if self._is_own():
                self._path.unlink()

    def require_own(self) -> None:
        """Raise UserError if another run took the work directory over.

        It may where this one did not renew its lease for long: the machine slept, or the network
        was gone.
        """
        holder = _parsed(self._read() or "")
        if holder is not None and holder.token != self._token:
            raise self._refusal(holder)

    def renew(self) -> bool:
        """Write the lease anew, and return whether it is this run's still."""
        holder = _parsed(self._read() or "")
        if holder is not None and holder.token != self._token:
            return False
        self._beats += 1
        with contextlib.suppress(OSError):  # a disk may be full for a while
            files.write(self._path, self._text())
        return True

    def _beat(self) -> None:
        while not self._ended.wait(_BEAT) and self.renew():
            pass

    def _taken(self) -> bool:
        """Take a free lease; False where another run was at it meanwhile."""
        before = self._read()
        self.require_free()
        if before is None and self._local is not None:
            try:
                with self._local.open("x", encoding="utf-8") as file:
                    file.write(self._text())
                return True
            except FileExistsError:
                return False
        if self._read() != before:
            return False
        try:
            files.write(self._path, self._text())
        except FileNotFoundError:  # a rival has moved the new text to its place
            return False
        self._machine.sleep(_SETTLE)
        return self._is_own()

    def _text(self) -> str:
        machine = self._machine
        holder = Holder(
            host=machine.host,
            process=machine.process,
            since=self._since,
            token=self._token,
            processes=machine.processes(),
            born=machine.born(machine.process),
            directory=self._directory(),
            beats=self._beats,
            time=machine.now(),
        )
        return json.dumps(holder._asdict(), indent=1)

    def _directory(self) -> int:
        """Return a number that a copy of the directory does not have; 0 in a bucket."""
        return 0 if self._local is None else self._local.parent.stat().st_ino

    def _read(self) -> str | None:
        """Return what the file says; None where there is none."""
        try:
            return read_bytes(self._path, _LONGEST).decode()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, UserError):
            nowhere = self._local is not None and not os.path.isdir(self._local.parent)
            return None if nowhere else ""

    def _is_own(self) -> bool:
        holder = _parsed(self._read() or "")
        return holder is not None and holder.token == self._token

    def _is_held(self, holder: Holder) -> bool | None:
        """Tell whether a lease is held; None where only watching it can tell."""
        machine = self._machine
        if holder.processes == machine.processes():
            if not machine.is_running(holder.process):
                return False
            born = machine.born(holder.process)
            if born and holder.born:
                if born != holder.born:  # a later process has got the number
                    return False
                # the lease of a copy is never renewed
                return True if holder.directory == self._directory() else None
        return True if 0 <= machine.now() - holder.time < _EXPIRY else None

    def _changes(self, text: str) -> bool:
        """Tell whether the file changes in the time in which a lease is renewed."""
        for _ in range(_WATCH):
            self._machine.sleep(1.0)
            if self._read() != text:
                return True
        return False

    def _refusal(self, holder: Holder) -> UserError:
        return UserError(
            f"--workdir={self._workdir}: process {holder.process} on {holder.host} writes into it "
            f"since {holder.since}: wait until it has ended, or choose another --workdir (what a "
            f"machine that is gone has left is free after {_EXPIRY:.0f} seconds)"
        )


def _parsed(text: str) -> Holder | None:
    """Return who a lease's file names; None where it is half written or none."""
    try:
        holder = json_files.check(json_files.decode(text.encode()), Holder)
    except ValueError:
        return None
    return holder if (holder.host + holder.since).isprintable() else None
