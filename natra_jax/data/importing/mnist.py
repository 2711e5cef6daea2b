"""MNIST (LeCun et al. 1998): 28 x 28 digits in four idx files, compressed or not.

They are all in the source or in its raw/ or MNIST/raw/.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from natra_jax.data.importing import containers
from natra_jax.data.importing.dataset import DataSet, Entries, Entry, difference_note
from natra_jax.data.importing.images import MOST_BYTES
from natra_jax.types import UserError

PUBLISHER = (
    "MNIST, Yann LeCun, yann.lecun.com/exdb/mnist, "
    "or its copy at storage.googleapis.com/cvdf-datasets/mnist"
)
_FILES = {"train": "train", "test": "t10k"}
_PUBLISHED = {"train": 60_000, "test": 10_000}


@contextlib.contextmanager
def opened(source: Path) -> Iterator[DataSet]:
    """Open MNIST, with the feature label and the images as grey PNG.

    Raise UserError for what is missing or damaged.
    """
    images, labels, stamp = {}, {}, []
    for split, prefix in _FILES.items():
        images_path = _found(source, f"{prefix}-images", 3)
        labels_path = _found(source, f"{prefix}-labels", 1)
        images[split], labels[split] = _idx(images_path, 3), _idx(labels_path, 1)
        if len(images[split]) != len(labels[split]):
            raise UserError(
                f"{labels_path}: has {len(labels[split])} labels "
                f"for the {len(images[split])} images of {images_path.name}"
            )
        if (wrong := np.flatnonzero(labels[split] > 9)).size:
            raise UserError(
                f"{labels_path}: label {wrong[0]} is {labels[split][wrong[0]]}, not 0 to 9: "
                "download it again"
            )
        stamp += [hashlib.sha256(array).hexdigest() for array in (images[split], labels[split])]

    def entry(key: tuple[str, int]) -> Entry:
        split, i = key
        size = images[split].shape[1:]
        return Entry(
            f"{split}/{i}",
            {"label": int(labels[split][i])},
            pixels=lambda data: np.frombuffer(data, np.uint8).reshape(size),
        )

    def read(entry: Entry) -> bytes:
        split, i = entry.name.split("/")
        return images[split][int(i)].tobytes()

    splits = {
        split: Entries([(split, i) for i in range(len(images[split]))], entry) for split in _FILES
    }
    names = [str(digit) for digit in range(10)]
    yield DataSet(
        {"label": names},
        splits,
        read,
        channels=1,
        stamp=stamp,
        notes=difference_note(_PUBLISHED, splits),
    )


def _found(source: Path, stem: str, dimensions: int) -> Path:
    """Return the path of an idx file, by any of its names. Raise UserError if there is none."""
    names = [
        f"{stem}{mark}idx{dimensions}-ubyte{suffix}" for mark in "-." for suffix in ("", ".gz")
    ]
    path = containers.look([source, source / "raw", source / "MNIST" / "raw"], names)
    return containers.require(source, path, f"{names[0]} or {names[1]}", PUBLISHER)


def _idx(path: Path, dimensions: int) -> np.ndarray:
    """Read a uint8 array of so many axes, none of them empty."""
    try:
        data = _expanded(path)
        magic, *shape = struct.unpack_from(f">{1 + dimensions}I", data)
    except (EOFError, zlib.error, gzip.BadGzipFile, struct.error) as error:
        raise UserError(f"{path}: is no whole idx file ({error}): download it again") from error
    body = data[4 * (1 + dimensions) :]
    if magic != 0x800 + dimensions or 0 in shape or len(body) != np.prod(shape, dtype=object):
        raise UserError(
            f"{path}: is no whole idx file of bytes ({len(body)} of them for {shape}): "
            "download it again"
        )
    return np.frombuffer(body, np.uint8).reshape(shape)


def _expanded(path: Path) -> bytes:
    """Return a file's bytes, expanded if its name ends in .gz. Raise UserError for too many."""
    data = containers.whole(path)
    if path.suffix != ".gz":
        return data
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
        expanded = file.read(MOST_BYTES + 1)
    if len(expanded) > MOST_BYTES:
        raise UserError(
            f"{path}: is larger than {MOST_BYTES} bytes when expanded: it is not what its name says"
        )
    return expanded
