"""What every stage is handed, and how stages read each other's files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from etils import epath
from ml_collections import FrozenConfigDict

from natra_jax.types import UserError
from natra_jax.workdir import local


class Context(NamedTuple):
    """One run of the pipeline."""

    config: FrozenConfigDict
    workdir: epath.Path
    scratch: Path  # for memory-mapped copies of files in a bucket
    devices: Sequence[Any]
    say: Callable[[str], None]
    fingerprints: dict[str, str]  # piece -> fingerprint


def open_array(context: Context, name: str) -> np.ndarray:
    """The array in workdir/name (.npy), memory-mapped; from a bucket, through a copy in scratch. Raises UserError if it cannot be read."""
    path = context.workdir / name
    try:
        if (on_disk := local(path)) is not None:
            return np.load(on_disk, mmap_mode="r", allow_pickle=False)
        copy = context.scratch / name
        if not copy.exists() or copy.stat().st_size != path.stat().length:
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
        return np.load(copy, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path}: cannot be read as an array ({error}): delete {path.parent} and run again") from error


def save_array(path: epath.Path, array: np.ndarray) -> None:
    """Writes one .npy file."""
    with path.open("wb") as file:
        # handed a real file, NumPy writes past Python's file object, and a full disk loses its errno
        np.lib.format.write_array(SimpleNamespace(write=file.write), np.asarray(array), allow_pickle=False)
