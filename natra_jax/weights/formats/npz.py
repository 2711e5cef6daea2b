"""NumPy archives (.npz): plain arrays.

    checkpoint = npz.read(file, path)

They are zip archives of .npy members; no pickle in them is ever read. One text that is called
'config' is the configuration of the network whose tensors lie beside it, a JSON object. An archive
that has a 'config' and names that start with 'p/' is told by both: each 'p/NAME' gives the tensor
NAME, and whatever else is there is not looked at. Any other archive gives all of its arrays.

Refused, so that a small file cannot fill the memory:
- members that are neither stored nor deflated, or encrypted; that overlap; that are there twice;
  whose
  names are absolute or climb out;
- a stored member whose two sizes differ, a deflated one of more than 1032 times its compressed size
  (deflate cannot do that);
- members that unpack to more than 256 MiB and to more than 32 times the file;
- an array whose shape and type do not come to exactly the size that its member declares.
"""

from __future__ import annotations

import io
import re
import struct
import zipfile
import zlib
from collections import Counter
from pathlib import PurePath
from typing import IO, Any

import numpy as np

from natra_jax.printable import reason, shown
from natra_jax.types import UserError
from natra_jax.weights.formats.bounded import json_object, num_bytes, require_plausible
from natra_jax.weights.tensors import Checkpoint

DAMAGED = (  # what zipfile raises for damaged archives, of many kinds
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OverflowError,
    OSError,
)
_DEFLATE = 1032  # the most bytes that deflate packs into one
_CHUNK = 2**20  # bytes read at once
_DIRECTORY = 2**25  # bytes of directory, some 500,000 members
_MAGIC = b"\x93NUMPY"
_TYPES = re.compile(
    r"(\|b1|[|<>=][iu]1|[<>=](?:[iu][248]|f[248]|c(?:8|16))|[|<>=]S[1-9]\d{0,8}|[<>=]U[1-9]\d{0,8})"
)
_ITEM = (
    r"'(descr|fortran_order|shape)': *"
    r"('[^'\\]{1,20}'|True|False|\((?:\d{1,19}L?(?:, *\d{1,19}L?)*,? *)?\))"
)
_HEADER = re.compile(rf"\{{ *{_ITEM}, *{_ITEM}, *{_ITEM} *,? *\}} *\n?")


def open_zip(file: io.BufferedIOBase, path: PurePath) -> zipfile.ZipFile:
    """Open the archive, after the checks above that need no member's content. Raises UserError."""
    _require_small_directory(file, path)
    try:
        archive = zipfile.ZipFile(file)
    except DAMAGED as error:
        raise UserError(
            f"{path}: the zip archive is damaged or cut off ({_reason(error)}): get it again"
        ) from error
    members = archive.infolist()
    for member in members:
        _check_member(member, path)
    if twice := [
        name for name, count in Counter(member.filename for member in members).items() if count > 1
    ]:
        raise UserError(
            f"{path}: holds {shown(twice[0])} twice: the archive is damaged or was tampered with"
        )
    ordered = sorted(members, key=lambda member: member.header_offset)
    starts = [member.header_offset for member in ordered] + [archive.start_dir]
    for member, end in zip(ordered, starts[1:], strict=True):
        # 30: a member's own header, without its name
        if member.header_offset + 30 + member.compress_size > end:
            raise UserError(
                f"{path}: {shown(member.filename)} overlaps what follows: the archive is damaged "
                "or was tampered with"
            )
    require_plausible(sum(member.file_size for member in members), file.seek(0, 2), path)
    return archive


def _require_small_directory(file: io.BufferedIOBase, path: PurePath) -> None:
    """Raise UserError if the archive's directory, whose size its last bytes tell, is too large.

    zipfile makes an object of a kilobyte of every entry before anything can be asked.
    """
    # where the end record, its 64-bit version and a comment may begin
    file.seek(max(0, file.seek(0, 2) - 2**16 - 100))
    tail = file.read()
    short, long = (
        # of all such records, since more than one may be there and zipfile has its own choice
        [
            int.from_bytes(tail[found.start() + at : found.start() + at + width], "little")
            for found in re.finditer(signature, tail)
        ]
        for signature, at, width in ((rb"PK\x05\x06", 12, 4), (rb"PK\x06\x06", 40, 8))
    )
    # the largest number stands for the one in the 64-bit record
    sizes = [size for size in short if not (long and size == 2**32 - 1)] + long
    if max(sizes, default=0) > _DIRECTORY:
        raise UserError(
            f"{path}: its directory of members takes {max(sizes):,} bytes, as no weights' does: it "
            "is damaged or was tampered with"
        )
    file.seek(0)


def _check_member(member: zipfile.ZipInfo, path: PurePath) -> None:
    """Raise UserError if the member breaks a rule above that its directory entry tells of."""
    name = member.filename
    if member.header_offset < 0:
        raise UserError(
            f"{path}: {shown(name)} begins before the archive does: it is damaged or was tampered "
            "with"
        )
    if name.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", name):
        raise UserError(
            f"{path}: holds {shown(name)}, a name that leads out of the archive: it was tampered "
            "with"
        )
    if member.flag_bits & 1 or member.compress_type not in (
        zipfile.ZIP_STORED,
        zipfile.ZIP_DEFLATED,
    ):
        raise UserError(
            f"{path}: {shown(name)} is encrypted or packed in a way that no weights are: save it "
            "again without"
        )
    stored = member.compress_type == zipfile.ZIP_STORED
    if (
        member.file_size != member.compress_size
        if stored
        else member.file_size > _DEFLATE * member.compress_size
    ):
        raise UserError(
            f"{path}: {shown(name)} cannot have the size that it declares: the archive is damaged "
            "or was tampered with"
        )


def is_npz(archive: zipfile.ZipFile) -> bool:
    """Tell whether a member is a NumPy array, by its first bytes."""
    try:
        return any(
            archive.open(member).read(len(_MAGIC)) == _MAGIC for member in archive.infolist()[:100]
        )
    except DAMAGED:
        return False


def read(file: io.BufferedIOBase, path: PurePath) -> Checkpoint:
    """Read the arrays, in native byte order. path: for messages alone.

    Raises UserError if the archive is damaged, breaks a rule above, or holds arrays of anything but
    numbers, truth values and text.
    """
    with open_zip(file, path) as archive:
        members = {
            info.filename.removesuffix(".npy"): info
            for info in archive.infolist()
            if not info.is_dir()
        }
        if len(members) != sum(not info.is_dir() for info in archive.infolist()):
            raise UserError(
                f"{path}: holds an array twice, with .npy and without: the archive is damaged or "
                "was tampered with"
            )
        parameters = [name for name in members if name.startswith("p/")]
        if not ("config" in members and parameters):
            found = _read_all(archive, members, path)
            if not _is_text(found.tensors.get("config")):
                return found
            tensors = dict(found.tensors)
            return found._replace(tensors=tensors, config=_config(tensors.pop("config"), path))
        config = _read_array(archive, members["config"], path)
        if not _is_text(config):
            raise UserError(
                f"{path}: 'config' has to be one text, JSON, but is {config.dtype} of shape "
                f"{list(config.shape)}"
            )
        tensors = {
            name.removeprefix("p/"): _read_array(archive, members[name], path)
            for name in parameters
        }
        return Checkpoint(tensors, _config(config, path))


def _is_text(array: np.ndarray | None) -> bool:
    """Tell whether an array is one text."""
    return array is not None and array.dtype.kind in "US" and not array.ndim


def _config(text: np.ndarray, path: PurePath) -> dict[str, Any]:
    """Return the JSON object that one text holds. Raise UserError for anything else."""
    data = text.item() if text.dtype.kind == "S" else text.item().encode(errors="surrogatepass")
    return json_object(data, f"{path}: 'config'")


class _NotPlain(UserError):
    """A member that is no array of numbers, truth values or text; it may be sound."""


def _read_all(
    archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], path: PurePath
) -> Checkpoint:
    """Read all plain arrays; what is none is left unread, where it lies beside some."""
    tensors: dict[str, np.ndarray] = {}
    unread: dict[str, str] = {}
    odd: _NotPlain | None = None
    for name, info in members.items():
        try:
            tensors[name] = _read_array(archive, info, path)
        except _NotPlain as error:
            odd = odd or error
            unread[name] = f"{shown(info.filename)}, which is no array of numbers or text,"
    if odd and not tensors:
        raise odd
    return Checkpoint(tensors, unread=unread)


def _read_array(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: PurePath) -> np.ndarray:
    """Read a member as an array of its shape and type, in native byte order."""
    where = f"{path}: {shown(info.filename)}"
    try:
        with archive.open(info) as member:
            dtype, fortran, shape, offset = _read_header(member, where)
            size = num_bytes(shape, dtype.itemsize)
            if size is None or offset + size != info.file_size:
                raise UserError(
                    f"{where} is {list(shape)} of {dtype}, which is not the size it has: the array "
                    "is damaged"
                )
            array = np.empty(size, np.uint8)
            done = 0
            while chunk := member.read(_CHUNK):  # to the end, where zipfile compares the checksum
                array[done : done + len(chunk)] = np.frombuffer(chunk, np.uint8)
                done += len(chunk)
            if done != size:
                raise UserError(f"{where} is cut off: get the archive again")
            if dtype.kind == "U":
                letters = array.view(np.dtype(np.uint32).newbyteorder(dtype.byteorder))
                if letters.max(initial=0) > 0x10FFFF:  # Python itself would stop at such letters
                    raise UserError(f"{where} is no Unicode text: the array is damaged")
            array = array.view(dtype).reshape(shape, order="F" if fortran else "C")
            return np.ascontiguousarray(array, dtype.newbyteorder("=")).reshape(shape)
    except DAMAGED as error:
        raise UserError(
            f"{where} cannot be read ({_reason(error)}): the archive is damaged; get it again"
        ) from error


def _read_header(member: IO[bytes], where: str) -> tuple[np.dtype, bool, tuple[int, ...], int]:
    """Read (type, whether in Fortran order, shape, offset of the values).

    A header is a Python expression; it is read by a pattern. where: begins the messages.
    """
    start = member.read(8)
    if start[:6] != _MAGIC or len(start) < 8 or start[6] not in (1, 2, 3):
        raise _NotPlain(
            f"{where} is no NumPy array: only .npz archives of plain arrays can be read"
        )
    width = 2 if start[6] == 1 else 4
    length = int.from_bytes(member.read(width), "little")
    text = member.read(min(length, 2**16)).decode("latin1")
    items = re.findall(_ITEM, text) if _HEADER.fullmatch(text) else []
    entries = dict(items)
    descr, order, shape = (
        entries.get("descr", ""),
        entries.get("fortran_order"),
        entries.get("shape", ""),
    )
    if (
        len(entries) != 3
        or order not in ("True", "False")
        or not shape.startswith("(")
        or not descr.startswith("'")
    ):
        raise _NotPlain(
            f"{where} has no header of a plain array ({shown(text[:60])}): structured types cannot "
            "be read"
        )
    if not _TYPES.fullmatch(descr.strip("'")):
        raise _NotPlain(
            f"{where} is of type {descr}: only numbers, truth values and text can be read, and no "
            "Python objects"
        )
    sides = tuple(int(side) for side in re.findall(r"\d+", shape))
    return np.dtype(descr.strip("'")), order == "True", sides, 8 + width + length


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {reason(error, 100)}"
