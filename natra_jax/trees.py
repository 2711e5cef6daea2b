"""Pytrees of arrays as .npz files: plain arrays under their paths, nothing that could run.

trees.save(path, {"layers": [{"kernel": kernel}]})  # the array 'layers/0/kernel'
params = trees.load(path, like=jax.eval_shape(init, key))
"""

from __future__ import annotations

import math
import zipfile
from typing import Any

import jax
import numpy as np
from etils import epath

from natra_jax import shortage
from natra_jax.files import open_file
from natra_jax.printable import reason
from natra_jax.types import UserError

_PACKED = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_FLOOR, _RATIO = 2**28, 32  # bytes that a small file may unpack to, and times a large one's size


def leaf_name(path: tuple) -> str:
    """Return the name, such as 'layers/0/kernel', of a path from jax.tree.flatten_with_path."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    """Return {name: shape} of the tree's leaves, which are arrays or ShapeDtypeStructs."""
    leaves, _ = jax.tree.flatten_with_path(tree)
    return {leaf_name(path): tuple(leaf.shape) for path, leaf in leaves}


def save(path: epath.Path, tree: Any) -> None:
    """Write every leaf under its name, such as 'layers/0/kernel'."""
    leaves, _ = jax.tree.flatten_with_path(tree)
    arrays: dict[str, Any] = {leaf_name(where): np.asarray(leaf) for where, leaf in leaves}
    with path.open("wb") as file:
        np.savez(file, **arrays)


def load(path: epath.Path, like: Any) -> Any:
    """Read a tree of the structure, shapes and types of like (arrays or ShapeDtypeStructs).

    Raises UserError if the file is missing or damaged, or holds other arrays than like has.
    """
    leaves, structure = jax.tree.flatten_with_path(like)
    loaded = read(path)
    names = [leaf_name(where) for where, _ in leaves]
    if set(names) != set(loaded):
        odd = sorted(set(names) ^ set(loaded))[0]
        raise UserError(
            f"{path}: holds other arrays than expected, {odd} for one: it belongs to another "
            "configuration"
        )
    for name, (_, leaf) in zip(names, leaves, strict=True):
        array = loaded[name]
        if array.shape != leaf.shape or array.dtype != leaf.dtype:
            found, expected = f"{array.shape} {array.dtype}", f"{leaf.shape} {leaf.dtype}"
            raise UserError(
                f"{path}: {name} is {found}, expected {expected}: it belongs to another "
                "configuration"
            )
    return jax.tree.unflatten(structure, [loaded[name] for name in names])


def read(path: epath.Path) -> dict[str, np.ndarray]:
    """Return the arrays of an .npz file by name.

    Raises UserError if the file is missing, damaged, or holds anything but plain arrays.
    """
    total = 0
    try:
        with open_file(path) as file:
            if file.read(2) != b"PK":  # NumPy would take it for a pickle, and tell how to run it
                raise ValueError("it is no zip archive, as an .npz file is")
            file.seek(0)
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile) or archive.zip is None:
                raise ValueError("it is no archive")
            members = archive.zip.infolist()
            # LZMA allocates what the file asks for
            if not {member.compress_type for member in members} <= _PACKED:
                raise ValueError("it is packed otherwise than NumPy does")
            total = sum(member.file_size for member in members)
            if total > max(_FLOOR, _RATIO * file.seek(0, 2)):
                raise ValueError(f"it unpacks to {total} bytes, more than arrays in it can be")
            loaded = {name: archive[name] for name in archive.files}
        for name, array in loaded.items():
            if not isinstance(array, np.ndarray):
                raise ValueError(f"{name} is no array")
    except Exception as error:  # NumPy and zipfile document few of the types that they raise
        if not _is_forged(error, total):
            shortage.require_none(error, str(path))
        why = reason(error)
        if "allow_pickle" in why:
            why = "it holds objects of Python, which are not read"
        raise UserError(f"{path}: cannot be read as an .npz of arrays ({why})") from error
    return loaded


def _is_forged(error: Exception, total: int) -> bool:
    """Return whether NumPy found no room for an array larger than all the bytes there are of it."""
    shape, dtype = getattr(error, "shape", ()), getattr(error, "dtype", None)
    return dtype is not None and math.prod(shape) * dtype.itemsize > total
