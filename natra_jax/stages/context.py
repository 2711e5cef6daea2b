"""The context that every stage is handed, and how stages read each other's arrays."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from etils import epath
from ml_collections import ConfigDict, FrozenConfigDict

from natra_jax.data import Source
from natra_jax.files import local, open_file, reading, require_regular
from natra_jax.inputs import Inputs
from natra_jax.printable import reason
from natra_jax.types import Generator, UserError

Config = ConfigDict | FrozenConfigDict
# The variant of encoder, shift, encode, directions and screen for natra_ol
SINGLE, SINGLE_CODE = "-ol", {"encoder.codes": "w", "encoder.num_codes": 1}


class Context(NamedTuple):
    """One run of the pipeline."""

    config: FrozenConfigDict
    workdir: epath.Path
    scratch: Path  # for memory-mapped copies of files in a bucket
    devices: Sequence[Any]
    log: Callable[[str], None]
    fingerprints: Mapping[str, str]  # task -> fingerprint
    inputs: Inputs
    source: Source | None = None  # data handed over in Python; None: as config.data says
    variant: str = ""  # behind the names of the tasks from encoder to screen: '', or SINGLE
    generator: Generator | None = None  # that the config describes; None: the experiment has none
    single_code: FrozenConfigDict | None = None  # the config of the variant SINGLE, if it is used

    def task_name(self, stage: str) -> str:
        """Return the name of the stage's task, which is that of its directory, in this variant."""
        return stage + self.variant


def is_single(config: Config) -> bool:
    """Return whether the experiment itself has a single code an image, without any expansion."""
    return config.encoder.codes == "w" and config.encoder.num_codes == 1


def with_single_code(config: Config) -> FrozenConfigDict:
    """Return the config with latent codes expansion off (NaTra-OL)."""
    single_code = ConfigDict(config.to_dict())
    single_code.update_from_flattened_dict(SINGLE_CODE)
    return FrozenConfigDict(single_code)


def single(context: Context) -> Context:
    """Return the context of the variant in which latent codes expansion is off (NaTra-OL)."""
    if context.variant == SINGLE or is_single(context.config):
        return context
    config = context.single_code or with_single_code(context.config)
    return context._replace(config=config, variant=SINGLE)


def open_array(
    context: Context, name: str, shape: tuple[int | None, ...] | None = None
) -> np.ndarray:
    """Open the array in workdir/name (.npy) memory-mapped.

    Of a file in a bucket, a copy in scratch is mapped. Raises UserError if it cannot be read, or is
    not of the shape, in which None is any length.
    """
    path = context.workdir / name
    found = _open_array(context, path, name)
    if shape is not None and (
        found.ndim != len(shape)
        or any(wanted not in (None, side) for wanted, side in zip(shape, found.shape, strict=True))
    ):
        wanted = ", ".join("any" if side is None else str(side) for side in shape)
        raise UserError(
            f"{path}: its shape is {list(found.shape)}, expected [{wanted}]: run its stage again"
        )
    return found


def _open_array(context: Context, path: epath.Path, name: str) -> np.ndarray:
    try:
        with reading(path):
            if (on_disk := local(path)) is not None:
                return _mapped(on_disk)
            copy = context.scratch / name
            if not copy.exists() or copy.stat().st_size != path.stat().length:
                copy.parent.mkdir(parents=True, exist_ok=True)
                with open_file(path) as file, copy.open("wb") as written:
                    shutil.copyfileobj(file, written)
            return _mapped(copy)
    except ValueError as error:
        raise UserError(
            f"{path}: cannot be read as an array ({reason(error)}): delete {path.parent} and "
            "run again"
        ) from error


def _mapped(path: Path) -> np.ndarray:
    """Map an array, once its file is seen to be as long as its head says."""
    require_regular(path)
    return np.lib.format.open_memmap(path, mode="r")


class _Writer:
    """An open file of which NumPy sees the method write alone.

    Handed a real file, NumPy writes past Python's file object, and a full disk loses its errno.
    """

    def __init__(self, file: IO[bytes]):
        self._file = file

    def write(self, data: bytes) -> int:
        """Write bytes and return their number."""
        return self._file.write(data)


def save_array(path: epath.Path, array: np.ndarray) -> None:
    """Write an array as a .npy file."""
    with path.open("wb") as file:
        np.lib.format.write_array(_Writer(file), np.asarray(array), allow_pickle=False)


def save_rows(path: epath.Path, count: int, chunks: Iterable[np.ndarray]) -> None:
    """Write arrays, one behind the other along their first axis, as one .npy file.

    Nothing is mapped: a map that is written to ends the process where the disk is full.

    Args:
      path: of the file.
      count: rows of all chunks together.
      chunks: at least one array, each of the same dtype and the same shape behind the first axis.
    """
    rest = iter(chunks)
    first = next(rest)
    header = np.lib.format.header_data_from_array_1_0(first[:0])
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(
            _Writer(file), header | {"shape": (count, *first.shape[1:])}
        )
        for chunk in itertools.chain([first], rest):
            file.write(chunk.tobytes())
