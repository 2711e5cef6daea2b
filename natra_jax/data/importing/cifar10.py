"""CIFAR-10 (Krizhevsky 2009) in its binary version.

That has records of a label and 3 x 32 x 32 bytes, 10,000 in each file. The source is
cifar-10-binary.tar.gz, a directory that holds it, or the unpacked one with data_batch_1.bin to
data_batch_5.bin, test_batch.bin and batches.meta.txt.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from natra_jax.data.importing import containers
from natra_jax.data.importing.dataset import DataSet, Entries, Entry, difference_note
from natra_jax.types import UserError

PUBLISHER = "CIFAR-10 binary version, Alex Krizhevsky, www.cs.toronto.edu/~kriz/cifar.html"
_ARCHIVE, _UNPACKED, _NAMES = "cifar-10-binary.tar.gz", "cifar-10-batches-bin", "batches.meta.txt"
_PYTHON = ("cifar-10-python.tar.gz", "cifar-10-batches-py", "data_batch_1")
_FILES = {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]}
_PUBLISHED = {"train": 50_000, "test": 10_000}
_RECORD = 1 + 3 * 32 * 32
_MOST = 10_000 * _RECORD  # bytes of a file


@contextlib.contextmanager
def opened(source: Path) -> Iterator[DataSet]:
    """Open CIFAR-10, with the feature label and the images as PNG.

    Raise UserError for what is missing or damaged.
    """
    place, files = _files(source)
    classes = files[_NAMES].decode("utf-8", "replace").split()
    if len(classes) != 10 or len(set(classes)) < 10:
        raise UserError(
            f"{place}: {_NAMES} lists {len(set(classes))} classes in {len(classes)} words, not "
            "ten: it is not CIFAR-10's"
        )
    for names in _FILES.values():
        for name in names:
            _require_records(place, name, files[name])

    def entry(key: tuple[str, int]) -> Entry:
        name, i = key
        return Entry(f"{name}/{i}", {"label": files[name][i * _RECORD]}, pixels=_pixels)

    def read(entry: Entry) -> bytes:
        name, i = entry.name.split("/")
        return files[name][int(i) * _RECORD + 1 : (int(i) + 1) * _RECORD]

    keys = {
        split: [(name, i) for name in names for i in range(len(files[name]) // _RECORD)]
        for split, names in _FILES.items()
    }
    splits = {split: Entries(its, entry) for split, its in keys.items()}
    stamp = [hashlib.sha256(files[name]).hexdigest() for name in sorted(files)]
    yield DataSet(
        {"label": classes}, splits, read, stamp=stamp, notes=difference_note(_PUBLISHED, splits)
    )


def _pixels(data: bytes) -> np.ndarray:
    """Convert red, green and blue planes to [32, 32, 3] uint8."""
    return np.frombuffer(data, np.uint8).reshape(3, 32, 32).transpose(1, 2, 0)


def _files(source: Path) -> tuple[Path, dict[str, bytes]]:
    """Return (the directory or archive, {file name: its bytes}) of the files wanted.

    Raise UserError where one is missing.
    """
    wanted = [_NAMES, *(name for names in _FILES.values() for name in names)]
    found = (
        containers.look([source, source / _UNPACKED], [_NAMES, _ARCHIVE, _ARCHIVE[: -len(".gz")]])
        if not source.is_file()
        else source
    )
    python = source if source.is_file() else containers.look([source], _PYTHON)
    if (found is None or found == source) and python is not None and python.name in _PYTHON:
        raise UserError(
            f"{python}: is CIFAR-10's Python version, of pickles, which are not read: "
            f"get {_ARCHIVE}, its binary version, from {PUBLISHER}"
        )
    place = containers.require(source, found, f"{_ARCHIVE} or {_NAMES}", PUBLISHER)
    if place.name == _NAMES:
        place = place.parent
        files = {
            name: containers.whole(place / name, _MOST)
            for name in wanted
            if containers.look([place], [name])
        }
    else:
        files = _unpacked(place, wanted)
    if missing := next((name for name in wanted if name not in files), None):
        raise UserError(f"{place}: holds no {missing}: had from {PUBLISHER}")
    return place, files


def _unpacked(path: Path, wanted: list[str]) -> dict[str, bytes]:
    """Return {file name: its bytes} of the files wanted that an archive holds."""
    files: dict[str, bytes] = {}
    with containers.parsing(path, "tar archive", "download it again"):
        # all of it first, since what streams a tar reads on for ever where a size is forged, and no
        # other compression: LZMA allocates what the file asks for
        data = io.BytesIO(containers.expanded(path))
        with tarfile.open(fileobj=data, mode="r:") as archive:
            for member in archive:
                name = member.name.rsplit("/", 1)[-1]
                if name in wanted and member.isreg():
                    if name in files or member.issparse() or member.size > _MOST:
                        raise UserError(
                            f"{path}: {member.name} is there twice, "
                            f"or larger than {_MOST} bytes: it is not as {PUBLISHER} has it"
                        )
                    if (file := archive.extractfile(member)) is not None:  # never of a whole file
                        files[name] = file.read()
    return files


def _require_records(place: Path, name: str, data: bytes) -> None:
    """Raise UserError unless the file's bytes are records with labels from 0 to 9."""
    if not data or len(data) % _RECORD:
        raise UserError(
            f"{place}: {name} has {len(data)} bytes, not a multiple of {_RECORD}: "
            "it is not whole, download it again"
        )
    labels = np.frombuffer(data, np.uint8)[::_RECORD]
    if (wrong := np.flatnonzero(labels > 9)).size:
        raise UserError(
            f"{place}: {name}: image {wrong[0]} has the label {labels[wrong[0]]}, not 0 to 9: "
            "it is not CIFAR-10's"
        )
