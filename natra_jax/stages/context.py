"""What every stage is handed, and how stages read each other's files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from etils import epath
from ml_collections import ConfigDict, FrozenConfigDict

from natra_jax.data import Source
from natra_jax.types import UserError
from natra_jax.workdir import local


class Context(NamedTuple):
    """One run of the pipeline."""

    config: FrozenConfigDict
    workdir: epath.Path
    scratch: Path  # for memory-mapped copies of files in a bucket
    devices: Sequence[Any]
    log: Callable[[str], None]
    fingerprints: dict[str, str]  # piece -> fingerprint
    source: Source | None = (
        None  # of data that were handed over in Python; None: as config.data says
    )
    variant: str = ""  # behind the names of the pieces from encoder to screen: '' the experiment's own, or SINGLE

    def task_name(self, task: str) -> str:
        """The name of the piece, which is that of its directory, in this variant."""
        return task + self.variant


SINGLE = (
    "-ol"  # encoder, shift, encode, directions and screen with a single code an image, for natra_ol
)


def is_single(config: ConfigDict | FrozenConfigDict) -> bool:
    """Whether the experiment itself has a single code an image, without any expansion."""
    return config.encoder.codes == "w" and config.encoder.num_codes == 1


def single(context: Context) -> Context:
    """The variant of the pieces from encoder to screen in which latent codes expansion is off."""
    if is_single(context.config):
        return context
    config = ConfigDict(context.config.to_dict())
    config.encoder.update(codes="w", num_codes=1)
    return context._replace(config=FrozenConfigDict(config), variant=SINGLE)


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
        raise UserError(
            f"{path}: cannot be read as an array ({error}): delete {path.parent} and run again"
        ) from error


def save_array(path: epath.Path, array: np.ndarray) -> None:
    """Writes one .npy file."""
    with path.open("wb") as file:
        # handed a real file, NumPy writes past Python's file object, and a full disk loses its errno
        np.lib.format.write_array(
            SimpleNamespace(write=file.write), np.asarray(array), allow_pickle=False
        )
