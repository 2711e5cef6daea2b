"""The commands from their first moment on: signals and standard streams, then the imports.

These take seconds, in which Ctrl-C has its one line already.
"""

from __future__ import annotations

import importlib
import io
import logging
import os
import sys
import warnings

from natra_jax import interruption

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
    interruption.install()
    quiet_pillow()
    importlib.import_module(module).run()


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
