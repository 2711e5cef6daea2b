"""Files of torch.save (.pt, .pth, .bin), read without PyTorch.

    found = read_zip(file, path)  # the saved object, with NumPy arrays in the place of tensors

Since PyTorch 1.6 they are zip archives, before that streams. An archive has one folder of any name:
data.pkl, the object; data/KEY, the values of a storage; byteorder, where it is not little-endian. A
stream has five pickles, which are a magic number, the protocol, the machine, the object and a list
of keys; then each key's storage as a number of values (int64) and the values, little-endian. In
both a tensor is a view of a storage: offset, size and strides. bfloat16 comes as float32, which
holds each of its values. Devices, gradients and hooks are not looked at.

The layout is that of torch.serialization in PyTorch's source.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Literal, NamedTuple

import numpy as np

from natra_jax.printable import shown
from natra_jax.weights.formats.bounded import MAX_BYTES, Bounded, from_bfloat16, num_bytes
from natra_jax.weights.formats.npz import open_zip
from natra_jax.weights.formats.pickle_globals import (
    containers,
    instance,
    numpy_arrays,
    stand_in,
)
from natra_jax.weights.formats.pickle_origin import LEGACY_TORCH
from natra_jax.weights.formats.restricted_unpickler import (
    Global,
    Globals,
    StandIn,
    Unknown,
    Unreadable,
    load,
    malformed,
    naming,
    take,
)

_PROTOCOL = 1001
_BFLOAT16 = "bfloat16"
_SCRIPTED = (
    "is a TorchScript archive, which holds a program: save the state_dict() of the module alone"
)


class _Kind(NamedTuple):
    """The type of a storage's values."""

    code: str  # NumPy's, without byte order, or _BFLOAT16

    @property
    def itemsize(self) -> int:
        """Bytes of a value in the file."""
        return 2 if self.code == _BFLOAT16 else np.dtype(self.code).itemsize

    @property
    def dtype(self) -> np.dtype:
        """The type of a value in memory."""
        return np.dtype(np.float32 if self.code == _BFLOAT16 else self.code)

    def values(self, data: bytes, order: Literal["<", ">"]) -> np.ndarray:
        """Return the values [numel] of type `dtype`. order: of the data's bytes."""
        if self.code == _BFLOAT16:
            return from_bfloat16(np.frombuffer(data, f"{order}u2"))
        if self.code == "?":
            return np.frombuffer(data, np.uint8) != 0
        return np.frombuffer(data, f"{order}{self.code}").astype(self.dtype, copy=False)


_KINDS = {
    "Float": "f4",
    "Half": "f2",
    "BFloat16": _BFLOAT16,
    "Double": "f8",
    "Long": "i8",
    "Int": "i4",
    "Short": "i2",
    "Char": "i1",
    "Byte": "u1",
    "Bool": "?",
}


@dataclass(eq=False)
class Storage:
    """Values [numel] that tensors are views of."""

    kind: _Kind
    array: np.ndarray


def storages() -> dict[tuple[str, str], Global]:
    """Return the globals of the types of storages."""
    return {
        ("torch", f"{name}Storage"): Global(f"torch.{name}Storage", value=_Kind(code))
        for name, code in _KINDS.items()
    }


def tensors() -> dict[tuple[str, str], Global]:
    """Return the globals that make tensors of `Storage`s, and parameters of tensors."""
    made = {
        "_rebuild_tensor": _tensor,
        "_rebuild_tensor_v2": _tensor,
        "_rebuild_parameter": _parameter,
    }
    return {
        ("torch._utils", name): Global(f"torch._utils.{name}", make) for name, make in made.items()
    }


def _saved() -> Globals:
    """Return the globals of a file of torch.save, new ones for each file."""
    return {
        **containers(),
        **numpy_arrays(lenient=True),
        **storages(),
        **tensors(),
        ("argparse", "Namespace"): instance("argparse.Namespace"),
    }


def read_zip(stream: io.BufferedIOBase, path: PurePath) -> Any:
    """Read the object saved in the archive. stream: seekable. path: for messages alone.

    Raises UserError if the archive is damaged or malicious, is TorchScript's, or holds anything but
    plain containers and tensors.
    """
    with naming(path):
        file = Bounded(stream)
        archive = open_zip(file, path)
        members = {info.filename: info for info in archive.infolist()}
        roots = [
            name.removesuffix("data.pkl")
            for name in members
            if name.count("/") == 1 and name.endswith("/data.pkl")
        ]
        if len(roots) != 1:
            raise Unreadable(
                "is a zip archive without the one data.pkl that torch.save puts there: give a file "
                "that torch.save wrote"
            )
        (root,) = roots
        if f"{root}constants.pkl" in members or any(
            name.startswith(f"{root}code/") for name in members
        ):
            raise Unreadable(_SCRIPTED)

        def contents(name: str) -> bytes:
            if root + name not in members:
                raise Unreadable(f"lacks {shown(root + name)}: it is damaged, get it again")
            return _contents(file, members[root + name])

        order = contents("byteorder") if f"{root}byteorder" in members else b"little"
        if order not in (b"little", b"big"):
            raise malformed("the byte order")
        found: dict[str, Storage] = {}

        def storage(identity: Any) -> Storage | StandIn:
            if unread := _unread(identity):
                return unread
            kind, key, numel, _ = _identity(identity)
            if key not in found:
                data = contents(f"data/{key}")
                if len(data) != numel * kind.itemsize:
                    raise malformed(f"a storage of {numel} values in {len(data)} bytes")
                found[key] = Storage(kind, kind.values(data, "<" if order == b"little" else ">"))
            return _same(found[key], kind, numel)

        return load(Bounded(io.BytesIO(contents("data.pkl"))), _saved(), storage, stand_in)


def read_legacy(stream: io.BufferedIOBase, path: PurePath) -> Any:
    """Read the object saved in the stream. stream: seekable. path: for messages alone.

    Raises UserError if the stream is damaged or malicious, or holds anything but plain containers
    and tensors.
    """
    with naming(path):
        return load_legacy(Bounded(stream), _saved(), stand_in)


def load_legacy(file: Bounded, names: Globals, unknown: Unknown | None = None) -> Any:
    """Read a stream as `read_legacy` does, with these globals alone. Raises Unreadable.

    unknown: gives what stands for any other global; None: it is refused.
    """
    if file.read(262)[257:] == b"ustar":
        raise Unreadable(
            "is a tar archive, as PyTorch saved before 0.2: load it with that PyTorch and save it "
            "again"
        )
    file.seek(0)
    if load(file, {}) != LEGACY_TORCH or load(file, {}) != _PROTOCOL:
        raise Unreadable("is no file that torch.save wrote, or one damaged at its start")
    load(file, {})  # the machine's byte order and sizes, on which the values do not depend
    found: dict[str, Storage] = {}
    left = file.size

    def storage(identity: Any) -> Storage:
        nonlocal left
        kind, key, numel, view = _identity(identity)
        if key not in found:
            left -= numel * kind.itemsize
            if left < 0:
                raise Unreadable(
                    "has fewer bytes than its storages need: it is cut off or damaged, get it again"
                )
            # tensors are made of it before its values come
            found[key] = Storage(kind, np.empty(numel, kind.dtype))
        whole = _same(found[key], kind, numel)
        match view:
            case None:
                return whole
            case (str(), int() as offset, int() as size) if (
                type(offset) is type(size) is int and 0 <= offset <= offset + size <= numel
            ):
                return Storage(kind, whole.array[offset : offset + size])
        raise malformed("a view of a storage")

    saved, keys = load(file, names, storage, unknown), load(file, {})
    if (
        type(keys) is not list
        or not all(isinstance(key, str) for key in keys)
        or sorted(keys) != sorted(found)
    ):
        raise malformed("the list of storages")
    for key in keys:
        kind, array = found[key].kind, found[key].array
        if int.from_bytes(take(file, 8), "little", signed=True) != len(array):
            raise malformed("a storage's size")
        array[...] = kind.values(take(file, len(array) * kind.itemsize), "<")
    return saved


def _unread(identity: Any) -> StandIn | None:
    """Return what stands for the type of a storage that is not read, such as complex numbers."""
    if type(identity) is tuple:
        return next((part for part in identity if isinstance(part, StandIn)), None)
    return None


def _identity(identity: Any) -> tuple[_Kind, str, int, Any]:
    """Return (kind, key, number of values, view) of a storage's persistent id.

    view: (key, offset, size) in very old files, or None.
    """
    match identity:
        case (str(), Global(value=_Kind() as kind), str() as key, _, int() as numel, *rest) if (
            type(numel) is int and 0 <= numel <= MAX_BYTES and len(rest) <= 1
        ):
            return kind, key, numel, rest[0] if rest else None
    raise malformed("a storage")


def _same(storage: Storage, kind: _Kind, numel: int) -> Storage:
    """Return the storage, if a second mention of it agrees with the first."""
    if storage.kind != kind or len(storage.array) != numel:
        raise malformed("a storage that is named twice")
    return storage


def _tensor(arguments: tuple) -> np.ndarray | StandIn:
    """Make a tensor of (storage, offset, size, stride, ..), as torch._utils._rebuild_tensor."""
    match arguments:
        case (Storage() as storage, int() as offset, tuple() as size, tuple() as stride, *_) if (
            len(size) == len(stride) <= 32
        ):
            if all(type(n) is int and n >= 0 for n in (offset, *size, *stride)):
                return _view(storage.array, offset, size, stride)
    raise malformed("a tensor")


def _view(
    array: np.ndarray, offset: int, size: tuple[int, ...], stride: tuple[int, ...]
) -> np.ndarray | StandIn:
    """Return the view [*size] of a storage's values. offset, stride: in values, from any file.

    A `StandIn` if two of its values share memory. Raises Unreadable if it reaches past the storage.
    """
    if 0 in size:
        if num_bytes(size, array.itemsize) is None:
            raise malformed("an empty tensor")
        return np.empty(size, array.dtype)
    last = 0  # the farthest value of the sides so far, from the shortest stride on
    for step, side in sorted(
        (step, side) for step, side in zip(stride, size, strict=True) if side > 1
    ):
        if step <= last:
            return StandIn("a tensor whose values share memory (save a clone() of it)")
        last += (side - 1) * step
    if offset + last >= len(array):
        raise malformed("a tensor that reaches past its storage")
    strides = [
        step * array.itemsize if side > 1 else array.itemsize
        for step, side in zip(stride, size, strict=True)
    ]
    return np.ndarray(size, array.dtype, array, offset * array.itemsize, strides)


def _parameter(arguments: tuple) -> np.ndarray:
    """Return a parameter's tensor, as torch._utils._rebuild_parameter does: of (tensor, ..)."""
    match arguments:
        case (np.ndarray() as data, *_):
            return data
    raise malformed("a parameter")


def _contents(file: Bounded, info: zipfile.ZipInfo) -> bytes:
    """Read a member's bytes.

    Not by zipfile, which compares checksums: PyTorch can be told to leave these out.
    """
    if info.compress_type != zipfile.ZIP_STORED:
        raise Unreadable(
            f"has {shown(info.filename)} compressed, as torch.save does not: unpack it, and pack "
            "it again without"
        )
    file.seek(info.header_offset)
    header = take(file, 30)
    if header[:4] != b"PK\3\4":
        raise malformed(f"what the archive has in the place of {shown(info.filename)}")
    take(file, int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little"))
    return take(file, info.file_size)
