"""The commands from their first moment on: signals and standard streams, then the imports.

These take seconds, in which Ctrl-C has its one line already.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import os
import queue
import sys
import threading
import warnings
from typing import Any, NoReturn

from natra_jax import interruption, shortage
from natra_jax.printable import printable

STDOUT = "standard output"


class Output(io.TextIOWrapper):
    """Standard output whose errors name it, as those of other files do."""

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as error:
            error.filename = STDOUT
            raise

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            error.filename = STDOUT
            raise


def natra() -> None:
    """Run `natra`."""
    start("natra_jax.main")


def natra_data() -> None:
    """Run `natra-data`."""
    start("natra_jax.data.__main__")


def natra_predict() -> None:
    """Run `natra-predict`."""
    start("natra_jax.predict")


def natra_weights() -> None:
    """Run `natra-weights`."""
    start("natra_jax.weights.__main__")


def start(module: str) -> None:
    """Import a command's module and call its `run`."""
    _open_streams()
    try:
        interruption.install()
        _watch_threads()
        quiet_pillow()
        imported = importlib.import_module(module)
    except (MemoryError, ImportError, RuntimeError, OSError) as error:
        if not shortage.of(error):
            raise
        _end(shortage.line(error, "this command"))
    imported.run()


def _end(line: str) -> NoReturn:
    """Say why the command ends, and end the process with exit code 2.

    At once, past what Python does at its end: threads that did not start are waited for there.
    """
    with contextlib.suppress(OSError):
        os.write(2, f"natra_jax: {printable(line)}\n".encode())
    interruption.give_back()
    os._exit(2)


def _watch_threads() -> None:
    """End the process where a thread cannot begin, or is lost, since there is no memory for it.

    What started it would wait for it for ever. Such a thread can call no function of Python's, so
    its error goes to one that waits already.
    """
    errors: queue.SimpleQueue[Any] = queue.SimpleQueue()
    say, say_of_thread = sys.unraisablehook, threading.excepthook

    def watch() -> None:
        while True:
            error = errors.get()
            if error.exc_type is not None and issubclass(error.exc_type, MemoryError):
                _end(shortage.line(MemoryError("a thread could not go on"), "this command"))
            (say_of_thread if hasattr(error, "thread") else say)(error)
            del error  # what it holds may be ending

    def leave() -> None:
        sys.unraisablehook, threading.excepthook = say, say_of_thread

    threading.Thread(target=watch, name="errors of threads", daemon=True).start()
    sys.unraisablehook = threading.excepthook = errors.put
    os.register_at_fork(after_in_child=leave)  # where nobody watches


def quiet_pillow() -> None:
    """Leave unprinted, in this process, what Pillow says of damaged files.

    Our readers say in one line what cannot be read, and EXIF data that make no sense turn nothing.
    """
    warnings.filterwarnings("ignore", module=r"PIL\.")
    logging.getLogger("PIL").setLevel(logging.CRITICAL)


def _open_streams() -> None:
    """Give the process the standard streams that its parent closed, as files that take anything.

    Else the next file that is opened would get the number of one, and what is printed.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # which takes the lowest free number
    if not isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, open until the end
    encoding, by_line = sys.stdout.encoding, sys.stdout.line_buffering
    sys.stdout = Output(sys.stdout.detach(), encoding, line_buffering=by_line)
    sys.__stdout__ = sys.stdout
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
