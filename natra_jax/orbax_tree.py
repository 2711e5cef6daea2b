"""Trees of arrays in directories that orbax wrote.

save(directory, params)
require_same(directory, stored(directory), like, "generator")
params = load(directory, like)
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import re
import shutil
import sys
import traceback
import warnings
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from natra_jax import shortage
from natra_jax.files import local, remedy, require_regular_below
from natra_jax.printable import printable
from natra_jax.trees import leaf_name, shapes
from natra_jax.types import UserError

_OVERHEAD = 1_000_000  # bytes of metadata beside a checkpoint's arrays, generously
_ARRAY = r'"([^"]+)/[^"/]+" in OCDBT'
_MET = {  # a word of tensorstore's or orbax's: what it stands for
    "Too many open files": "cannot be opened (Too many open files)",
    "PERMISSION_DENIED": "may not be read",
    "RESOURCE_EXHAUSTED": "takes more memory or space than there is",
    "No space left": "finds no space on the disk",
    "NOT_FOUND": "is missing",
    "does not exist": "is missing",
    **dict.fromkeys(
        ("DATA_LOSS", "FAILED_PRECONDITION", "OUT_OF_RANGE"), "is cut off or was altered"
    ),
}


def save(directory: epath.Path, tree: Any) -> None:
    """Write the arrays of tree into the directory, which must not exist yet."""
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(directory, jax.tree.map(np.asarray, tree))


def require_room(directory: epath.Path, tree: Any, choice: str) -> None:
    """Raise UserError if the directory's disk has no room for tree's arrays.

    The directory must exist. Remote directories are not checked. choice: the option by which the
    user names another place, such as "DEST".
    """
    if (on_disk := local(directory)) is not None:
        free = shutil.disk_usage(on_disk).free
        needed = 2 * sum(leaf.nbytes for leaf in jax.tree.leaves(tree)) + _OVERHEAD
        if free < needed:
            room = f"{needed / 1e6:.0f} MB, and {free / 1e6:.0f} MB are free"
            raise UserError(
                f"{directory}: a checkpoint needs {room}: free some space, or choose another "
                f"{choice}"
            )


def stored(path: epath.Path) -> Any:
    """Return the tree at path with each array's metadata (shape, type) in the array's place.

    What is no array, such as text, has metadata without a shape.

    Raises UserError if it cannot be read, or has chunks larger than their arrays: what reads these
    makes room for a whole chunk at once, and ends the process where there is none.
    """
    require_regular_below(path)
    try:
        with hushed():
            tree = ocp.PyTreeCheckpointHandler().metadata(path).tree
            leaves = jax.tree.flatten_with_path(tree)[0]
    except Exception as error:  # orbax and tensorstore raise many types for a damaged file
        shortage.require_none(error, str(path))
        raise _unreadable(path, error) from error
    for where, leaf in leaves:
        storage = getattr(leaf, "storage", None)
        chunk = None if storage is None else storage.chunk_shape
        if chunk and any(
            part > max(side, 1) for part, side in zip(chunk, leaf.shape, strict=False)
        ):
            raise UserError(
                f"{path}: {leaf_name(where)} is {list(leaf.shape)} in chunks of {list(chunk)}: it "
                "is damaged or was tampered with"
            )
    return tree


def load(path: epath.Path, target: Any) -> Any:
    """Read the arrays that target has from path, as NumPy arrays of target's types.

    The shapes must agree already: see `require_same`. Raises UserError if the checkpoint cannot
    be read.
    """
    require_regular_below(path)
    as_numpy = jax.tree.map(
        lambda leaf: ocp.RestoreArgs(restore_type=np.ndarray, dtype=leaf.dtype), target
    )
    try:
        with hushed():
            wanted = ocp.args.PyTreeRestore(target, as_numpy, partial_restore=True)
            return ocp.PyTreeCheckpointHandler().restore(path, args=wanted)
    except Exception as error:
        shortage.require_none(error, str(path))
        raise _unreadable(path, error) from error


def require_same(path: epath.Path, found: Any, target: Any, owner: str) -> None:
    """Raise UserError, naming the first leaf, where found differs from target in names or shapes.

    Args:
        path: of the checkpoint, for the message.
        found: the stored tree, as `stored` gives it.
        target: the tree that is needed.
        owner: the network that target's arrays belong to, such as 'classifier'; for the message.
    """
    there = {
        leaf_name(where): tuple(leaf.shape) if hasattr(leaf, "shape") else None
        for where, leaf in jax.tree.flatten_with_path(found)[0]
    }
    wanted = shapes(target)
    for name in sorted(there.keys() | wanted.keys()):
        if name not in wanted or there.get(name) != wanted[name]:
            shape = there.get(name)
            is_ = "missing" if name not in there else "no array" if shape is None else list(shape)
            has = f"{name} is {is_}"
            expected = (
                f"expected {list(wanted[name])}"
                if name in wanted
                else f"which the {owner} does not have"
            )
            raise UserError(f"{path}: {has}, {expected}: these are another {owner}'s weights")


@contextlib.contextmanager
def hushed() -> Iterator[None]:
    """Silence what orbax's and tensorstore's other threads print about a read that fails.

    They go on printing after the failure; so where the body raises, the hook that keeps their
    unraisable exceptions quiet stays in place.
    """
    log = logging.getLogger("asyncio")
    level, report = log.level, sys.unraisablehook

    def report_others(unraisable: sys.UnraisableHookArgs) -> None:
        frames = traceback.extract_tb(unraisable.exc_traceback)
        if not any("orbax" in frame.filename or "asyncio" in frame.filename for frame in frames):
            report(unraisable)

    log.setLevel(logging.CRITICAL + 1)
    sys.unraisablehook = report_others
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="coroutine .* was never awaited")
        try:
            yield
        except BaseException as error:
            _release(error)
            gc.collect()  # a failed task speaks up when it is collected
            raise
        else:
            sys.unraisablehook = report
        finally:
            log.setLevel(level)


def _release(error: BaseException | None) -> None:
    """Let go of what the frames hold that an exception, and those before it, came through."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def fault(error: BaseException, otherwise: str = "is not as it was written") -> str:
    """Say in a few words of ours what orbax or tensorstore met: theirs list all of their options.

    What natra_jax raised is said as it is. otherwise: what to say of a file for what is not known.
    """
    if isinstance(error, UserError):
        return str(error) if error.__cause__ is None else fault(error.__cause__, otherwise)
    text = str(error).split(" [tensorstore_spec")[0]
    files, arrays = re.findall(r'local file "([^"]*[^"/])"', text), re.findall(_ARRAY, text)
    if isinstance(error, OSError) and error.filename:
        files = [os.fsdecode(error.filename)]
    what = "a file of it"
    if files:
        what = f"its file {os.path.basename(files[-1])}"
    elif arrays:
        what = f"its array {arrays[0]}"
    if isinstance(error, OSError) and error.strerror:
        return printable(f"{what}: {error.strerror}")
    said = [met for mark, met in _MET.items() if mark in text]
    return printable(f"{what} {said[0] if said else otherwise}")


def obstacle(error: BaseException) -> str:
    """Return what to do where a checkpoint may be whole, but may not be read now; '' elsewhere."""
    if isinstance(error, UserError) and error.__cause__ is not None:
        return obstacle(error.__cause__)
    if isinstance(error, PermissionError) or "PERMISSION_DENIED" in str(error):
        return "change its permissions"
    return remedy(error, "")


def _unreadable(path: epath.Path, error: Exception) -> UserError:
    advice = obstacle(error) or "put the whole checkpoint in its place, or name another"
    return UserError(f"{path}: the checkpoint cannot be read ({fault(error)}): {advice}")
