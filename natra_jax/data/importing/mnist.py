"""MNIST (LeCun et al. 1998): 28 x 28 digits in four idx files, compressed or not.

They are all in the source or in its raw/ or MNIST/raw/. Kaggle's mnist_train.csv and mnist_test.csv
are read in their place: rows of a label and 784 grey values, with or without a head. So is Keras'
mnist.npz, with x_train, y_train, x_test and y_test.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import re
import struct
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from etils import epath

from natra_jax import trees
from natra_jax.data import image_kinds
from natra_jax.data.importing import containers
from natra_jax.data.importing.dataset import DataSet, Entries, Entry, difference_note
from natra_jax.printable import shown
from natra_jax.types import UserError

PUBLISHER = (
    "MNIST, Yann LeCun, yann.lecun.com/exdb/mnist, "
    "or its copy at storage.googleapis.com/cvdf-datasets/mnist"
)
_FILES = {"train": "train", "test": "t10k"}
_SIDE = 28  # pixels
_ROWS = "each row has to be a label and 784 grey values from 0 to 255, between commas"
_PUBLISHED = {"train": 60_000, "test": 10_000}


@contextlib.contextmanager
def opened(source: Path) -> Iterator[DataSet]:
    """Open MNIST, with the feature label and the images as grey PNG.

    Raise UserError for what is missing or damaged.
    """
    images, labels, stamp = {}, {}, []
    archive = source if source.is_file() else containers.look([source], ["mnist.npz"])
    arrays = {} if archive is None else _arrays(archive)
    for split, prefix in _FILES.items():
        table = containers.look([source], [f"mnist_{split}.csv"])
        if archive is not None:
            images_path = labels_path = archive
            images[split], labels[split] = arrays[f"x_{split}"], arrays[f"y_{split}"]
        elif table is not None:
            images_path = labels_path = table
            images[split], labels[split] = _table(table)
        else:
            images_path = _found(source, f"{prefix}-images", 3)
            labels_path = _found(source, f"{prefix}-labels", 1)
            images[split], labels[split] = _idx(images_path, 3), _idx(labels_path, 1)
        if len(images[split]) != len(labels[split]):
            raise UserError(
                f"{labels_path}: has {len(labels[split])} labels "
                f"for the {len(images[split])} images of {images_path.name}: "
                "put the files of one data set together"
            )
        if (wrong := np.flatnonzero(labels[split] > 9)).size:
            raise UserError(
                f"{labels_path}: label {wrong[0]} is {labels[split][wrong[0]]}, not 0 to 9: "
                "it is not MNIST's"
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
    wanted = f"{names[0]} or {names[1]} (nor mnist_train.csv or mnist.npz)"
    return containers.require(source, path, wanted, PUBLISHER)


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """Read x_train [N, 28, 28], y_train [N], x_test and y_test uint8. Raise UserError for others.

    path: of an .npz file, or of what is taken for one.
    """
    if path.suffix != ".npz":
        containers.require(path, None, "train-images-idx3-ubyte.gz or mnist.npz", PUBLISHER)
    with containers.reading(path):
        arrays = trees.read(epath.Path(path))
    for split in _FILES:
        for name, shape in ((f"x_{split}", (_SIDE, _SIDE)), (f"y_{split}", ())):
            array = arrays.get(name)
            if array is None or array.dtype != np.uint8 or array.shape[1:] != shape:
                raise UserError(f"{path}: has no {name} of uint8 {['N', *shape]}: it is not Keras'")
            if not array.size:
                raise UserError(f"{path}: {name} is empty: it is not Keras'")
            arrays[name] = np.ascontiguousarray(array)
    return arrays


def _table(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read (images [N, 28, 28], labels [N]) uint8 of a table separated by commas."""
    data = containers.whole(path)
    head = data[:100].decode("latin-1").partition(",")[0]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # NumPy only warns of a table without rows
            rows = np.loadtxt(
                io.BytesIO(data),
                np.uint8,
                comments=None,
                delimiter=",",
                skiprows=0 if head.isdecimal() else 1,
                ndmin=2,
            )
    except (ValueError, UserWarning, DeprecationWarning) as error:
        raise UserError(f"{path}: {_odd_line(data)}: {_ROWS}") from error
    if not len(rows) or rows.shape[1] != 1 + _SIDE * _SIDE:
        raise UserError(f"{path}: {_odd_line(data)}: {_ROWS}")
    images = np.ascontiguousarray(rows[:, 1:]).reshape(-1, _SIDE, _SIDE)
    return images, np.ascontiguousarray(rows[:, 0])


def _odd_line(data: bytes) -> str:
    """Say which line of a table is the first that is not a label and 784 grey values."""
    lines = data.decode("latin-1").rstrip().split("\n")
    for number, line in enumerate(lines, start=1):
        words = line.split(",")
        if number == 1 and not words[0].isdecimal() and len(lines) > 1:
            continue  # the head
        if line.strip() and len(words) != 1 + _SIDE * _SIDE:
            return f"line {number} has {len(words)} values, not {1 + _SIDE * _SIDE}"
        for column, word in enumerate(words if line.strip() else (), start=1):
            if not re.fullmatch(r"\s*[0-9]{1,9}\s*", word) or int(word) > 255:
                return f"value {column} of line {number} is {shown(word)}, not 0 to 255"
    return "is no table with rows of numbers"


def _idx(path: Path, dimensions: int) -> np.ndarray:
    """Read a uint8 array of so many axes, none of them empty."""
    with containers.parsing(path, "idx file", "look what it is, or download it again"):
        data = containers.expanded(path)
        magic, *shape = struct.unpack_from(f">{1 + dimensions}I", data)
    body = data[4 * (1 + dimensions) :]
    if magic != 0x800 + dimensions:
        kind = image_kinds.name(data[: image_kinds.HEAD])
        raise UserError(
            f"{path}: is no idx file of bytes with {dimensions} axes, "
            f"but {kind if kind not in ('', 'text') else f'begins with {magic:#x}'}: "
            "look whether names were exchanged"
        )
    if 0 in shape:
        raise UserError(
            f"{path}: is empty, by its head {shape}: put the file of all examples in its place"
        )
    if len(body) < (wanted := int(np.prod(shape, dtype=object))):
        raise UserError(
            f"{path}: is no whole idx file of bytes ({len(body)} of them for {shape}): "
            "download it again"
        )
    if len(body) > wanted:
        raise UserError(
            f"{path}: has {len(body) - wanted} bytes more than the {wanted} that its head tells, "
            f"{shape}: look what it is"
        )
    return np.frombuffer(body, np.uint8).reshape(shape)
