"""Ctrl-C, SIGTERM and SIGHUP: a flag that is looked at between steps.

An exception that a signal handler raises lands anywhere: in a callback of the garbage collector,
which swallows it, or halfway through an import. So no handler raises. A thread hears of signals,
also while the main one computes, and

- ends the process at once where nothing is held that would have to be given back,
- else waits for the main thread to come to a `check`, which raises Interrupted there,
- and ends the process after all where none comes within seconds, or at a second signal. What is
  held is given back first.

Nothing is heard before `install`, which the commands call and no library function does.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
_PATIENCE = 5.0  # seconds until the main thread has to come to a check
_SAME = 0.5  # seconds in which a second signal is the first one, forwarded by a parent as well
_GIVING_BACK = 3.0  # seconds, at most


class Interrupted(KeyboardInterrupt):
    """The process has been asked to end; `signal` is the number of what asked."""

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.signal = number


class _Listener:
    """What has been heard, and what is held."""

    def __init__(self) -> None:
        self.received = 0  # number of the first signal
        self.line = "interrupted"
        self.noticed = threading.Event()  # the main thread ends the run
        self.held: list[Callable[[], object]] = []
        self._said = threading.Lock()

    def listen(self, pipe: int) -> None:
        """Hear signals, one byte each, until the process ends."""
        last = -_SAME
        while number := os.read(pipe, 1)[0]:
            if number not in _SIGNALS or time.monotonic() - last < _SAME:
                continue
            last = time.monotonic()
            if self.received or not self.held:
                self.received = self.received or number
                self.end()
            self.received = number
            threading.Thread(target=self._lose_patience, daemon=True).start()

    def end(self) -> None:
        """Give back what is held, say the line, and end the process."""
        giver = threading.Thread(target=self.give_back, daemon=True)
        giver.start()
        giver.join(_GIVING_BACK)
        self.say()
        os._exit(128 + self.received)

    def say(self) -> None:
        """Say the line, once."""
        if self._said.acquire(blocking=False):
            # past Python's streams, whose locks the main thread may hold
            with contextlib.suppress(OSError):
                after_control_c = "\n" if os.isatty(2) else ""
                os.write(2, f"{after_control_c}natra_jax: {self.line}\n".encode())

    def give_back(self) -> None:
        """Give back what is held, whatever fails."""
        for release in reversed(list(self.held)):
            with contextlib.suppress(Exception):
                release()

    def _lose_patience(self) -> None:
        if not self.noticed.wait(_PATIENCE):
            self.end()


_listener: _Listener | None = None


def install() -> None:
    """Hear signals from now on, until the process ends.

    Those that are ignored, as nohup has it, stay ignored.
    """
    global _listener
    if _listener is not None:
        return
    listener = _Listener()
    read, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _hear)
    threading.Thread(target=listener.listen, args=(read,), name="signals", daemon=True).start()
    os.register_at_fork(after_in_child=_uninstall)
    _listener = listener


def _hear(*_: object) -> None:
    """Do nothing: the wakeup pipe has the number already."""


def _uninstall() -> None:
    """Leave the parent's pipe alone in a forked child."""
    global _listener
    _listener = None
    signal.set_wakeup_fd(-1)
    for number in _SIGNALS:
        if signal.getsignal(number) is _hear:
            signal.signal(number, signal.SIG_DFL)


def announce(line: str) -> None:
    """Set what is said when the process is interrupted."""
    if _listener is not None:
        _listener.line = line


def requested() -> bool:
    """Tell whether the process has been asked to end.

    Whoever asks and is told so has to end soon, by way of `check`: there is no hurry any more.
    Other threads than the main one are never told.
    """
    asked = (
        _listener is not None
        and _listener.received > 0
        and threading.current_thread() is threading.main_thread()
    )
    if asked and _listener is not None:
        _listener.noticed.set()
    return asked


def check() -> None:
    """Raise Interrupted if the process has been asked to end. A place between two steps."""
    if requested() and _listener is not None:
        raise Interrupted(_listener.received)


@contextlib.contextmanager
def holding(release: Callable[[], object]) -> Iterator[None]:
    """Hold something inside the block that may not be left behind.

    release: gives it back where the process ends without leaving the block; called in another
      thread, while the main one goes on.
    """
    if _listener is None:
        yield
        return
    _listener.held.append(release)
    try:
        yield
    finally:
        _listener.held.remove(release)


def give_back() -> None:
    """Give back what is held, before the process ends for another reason than a signal."""
    if _listener is not None:
        _listener.give_back()


@contextlib.contextmanager
def unheard_by_children() -> Iterator[None]:
    """Let processes and threads that are started inside the block begin deaf to the signals."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def leave(error: KeyboardInterrupt) -> None:
    """Say the line and end the process: by its exit code, 128 and the signal's number."""
    if _listener is None:
        raise SystemExit(128 + signal.SIGINT) from error
    _listener.say()
    # at once: threads of libraries that still compute crash where Python ends under them
    os._exit(128 + getattr(error, "signal", signal.SIGINT))
