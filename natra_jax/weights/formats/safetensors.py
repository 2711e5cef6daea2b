"""Safetensors files, the format of github.com/huggingface/safetensors.

A file has the header's length (8 bytes, little endian), the header as JSON, {name: {"dtype": ..,
"shape": [..], "data_offsets": [begin, end]}}, then the values. The format's own rules hold: the
values lie one after another without overlap or gap from the header to the end of the file, and no
name is given twice.
"""

from __future__ import annotations

import io
from pathlib import PurePath
from typing import Any

import numpy as np

from natra_jax.printable import shown
from natra_jax.types import UserError
from natra_jax.weights.formats.bounded import from_bfloat16, json_object, num_bytes
from natra_jax.weights.tensors import Checkpoint

MAX_HEADER = 100_000_000  # bytes, the format's own bound
_TYPES = {
    "BOOL": "|u1",
    "U8": "|u1",
    "I8": "|i1",
    "U16": "<u2",
    "I16": "<i2",
    "U32": "<u4",
    "I32": "<i4",
    "U64": "<u8",
    "I64": "<i8",
    "F16": "<f2",
    "BF16": "<u2",
    "F32": "<f4",
    "F64": "<f8",
}


def read(file: io.BufferedIOBase, path: PurePath) -> Checkpoint:
    """Read the tensors; bfloat16 comes as float32, which holds each of its values.

    path: for messages alone. Raises UserError if the file breaks one of the format's rules, or
    holds a type other than numbers of 8 to 64 bits and truth values.
    """
    size = file.seek(0, 2)
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > min(MAX_HEADER, size - 8):
        raise UserError(
            f"{path}: its header ends past the end of the file or is over {MAX_HEADER} bytes: cut "
            "off or damaged, get it again"
        )
    header = json_object(file.read(length), f"{path}: the safetensors header")
    header.pop("__metadata__", None)
    start, at = 8 + length, 0
    entries = {name: _entry(entry, f"{path}: {shown(name)}") for name, entry in header.items()}
    for name, (_, _, begin, end) in sorted(entries.items(), key=lambda item: item[1][2:]):
        if begin != at:
            what = "overlaps another tensor" if begin < at else "follows a gap"
            raise UserError(
                f"{path}: {shown(name)} {what}: the file is damaged or was tampered with"
            )
        at = end
    if start + at > size:
        raise UserError(
            f"{path}: {start + at - size} bytes are missing at its end: the file is cut off, get "
            "it again"
        )
    if start + at < size:
        raise UserError(
            f"{path}: {size - start - at} bytes follow the last tensor: the file is damaged or was "
            "tampered with"
        )
    return Checkpoint(
        {
            name: _values(file, start + begin, dtype, shape)
            for name, (dtype, shape, begin, _) in entries.items()
        }
    )


def _entry(entry: Any, where: str) -> tuple[str, tuple[int, ...], int, int]:
    """Check a header's entry and return its (dtype, shape, begin, end).

    Raises UserError if one is of the wrong kind, or if begin and end are not the shape's size
    apart.
    """
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise UserError(
            f"{where} needs a dtype, a shape and data_offsets, and nothing else: the file is "
            "damaged"
        )
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _TYPES:
        raise UserError(
            f"{where} is of type {shown(dtype)}, which cannot be read: save it as F32, F16 or BF16"
        )
    if (
        not all(
            isinstance(value, list) and all(type(n) is int for n in value)
            for value in (shape, offsets)
        )
        or len(offsets) != 2
    ):
        raise UserError(
            f"{where} has a shape or offsets that are no whole numbers: the file is damaged"
        )
    begin, end = offsets
    size = num_bytes(tuple(shape), np.dtype(_TYPES[dtype]).itemsize)
    if size is None or begin < 0 or end - begin != size:
        raise UserError(
            f"{where} is {shown(shape)} of {dtype}, which is not the size of its bytes: the file "
            "is damaged"
        )
    return dtype, tuple(shape), begin, end


def _values(file: io.BufferedIOBase, at: int, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """Read the tensor whose values begin at the offset `at`."""
    values = np.empty(shape, _TYPES[dtype])
    file.seek(at)
    file.readinto(values.reshape(-1).view(np.uint8).data)
    if dtype == "BF16":
        return from_bfloat16(values)
    return values.astype(bool if dtype == "BOOL" else values.dtype.newbyteorder("="), copy=False)
