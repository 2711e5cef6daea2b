"""Checkpoints of any state that is a pytree of arrays, on orbax's CheckpointManager.

They are saved while training goes on, and resumed exactly. Each carries a checksum of every array
and of the history, which are compared when it is restored: one that differs counts as unreadable,
and the newest whole one is taken instead.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from natra_jax.files import require_regular_below
from natra_jax.orbax_tree import fault, hushed, obstacle, require_room, stored
from natra_jax.types import UserError

History = list[dict[str, int | float]]  # the metrics logged so far, with their step
_KEPT = 2  # checkpoints: the newest, and one to fall back to


class Checkpoints:
    """The newest states of one fit, in a directory of its own.

    Close it (or leave its `with` block) to finish what is being written.
    """

    def __init__(self, directory: epath.Path) -> None:
        """Open the directory, which need not exist. Raise UserError if it holds odd files."""
        require_regular_below(directory)
        self.directory = directory
        self._unreadable: list[int] = []  # steps of checkpoints that the next one takes away
        self._saved = False
        self._manager = ocp.CheckpointManager(
            directory, options=ocp.CheckpointManagerOptions(max_to_keep=_KEPT)
        )

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, failure: type[BaseException] | None, *_: object) -> None:
        if failure is None and self._saved:  # the fit is done: one checkpoint says all
            self._manager.wait_until_finished()
            for step in sorted(self._manager.all_steps())[:-1]:
                self._manager.delete(step)
        self._manager.close()

    def save(self, step: int, state: Any, history: History) -> None:
        """Copy the state at once and write it in the background. A step is saved only once.

        Checkpoints that `restore` found unreadable are removed first: training has passed them.

        Raises:
            UserError: the disk has no room for it. This is found out before writing, since a
                failure in the background would surface late and in many lines.
        """
        while self._unreadable:
            self._manager.delete(self._unreadable.pop())
        if self._manager.latest_step() != step:
            require_room(self.directory, state, "--workdir")
            logged = list(history)  # the caller's list grows while this is being written
            items = {
                "state": ocp.args.StandardSave(state),
                "history": ocp.args.JsonSave(
                    {"logged": logged, "checksums": _checksums(state, logged)}
                ),
            }
            self._manager.save(step, args=ocp.args.Composite(**items))
            self._saved = True

    def restore(self, like: Any, log: Callable[[str], None]) -> tuple[Any, History] | None:
        """Read the newest whole state and its history. Return None if there is none.

        Args:
            like: a state of the same structure, shapes and types.
            log: takes a line for each checkpoint that cannot be read. These stay until the next
                one is saved.

        Raises:
            PermissionError: a file may not be read.
            UserError: likewise, or too many files were open.
        """
        target = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        restored, last, reasons = None, 0, {}
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                restored, last = self._read(step, target), step
                break
            except PermissionError:
                raise
            except Exception as error:  # orbax and tensorstore raise many types for a damaged file
                if advice := obstacle(error):
                    raise UserError(
                        f"{self.directory}: the checkpoint of step {step} cannot be read "
                        f"({fault(error)}): {advice}"
                    ) from error
                reasons[step] = fault(error)
        for step, why in reasons.items():
            log(
                f"{self.directory}: the checkpoint of step {step} cannot be read ({why}): "
                f"steps {last + 1} to {step} are trained again"
            )
        self._unreadable = list(reasons)
        return restored

    def _read(self, step: int, target: Any) -> tuple[Any, History]:
        """Read one checkpoint. Raise UserError, among others, where it is not as it was saved."""
        items = {"state": ocp.args.StandardRestore(target), "history": ocp.args.JsonRestore()}
        stored(self.directory / str(step) / "state")  # its chunks are within bounds
        with hushed():
            restored = self._manager.restore(step, args=ocp.args.Composite(**items))
        state, logged = restored["state"], restored["history"]["logged"]
        saved, found = restored["history"].get("checksums"), _checksums(state, logged)
        if not isinstance(saved, dict):
            raise UserError("it carries no checksums, as before natra_jax wrote such")
        if different := sorted(
            name for name in saved.keys() | found.keys() if saved.get(name) != found.get(name)
        ):
            raise UserError(f"its checksums differ, first that of {different[0]}")
        return state, logged


def _checksums(state: Any, logged: History) -> dict[str, int]:
    """Compute the CRC-32 of every array, by its path in the state, and of the history."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    sums = {jax.tree_util.keystr(path): zlib.crc32(_bytes(leaf)) for path, leaf in leaves}
    return sums | {"the history": zlib.crc32(json.dumps(logged).encode())}


def _bytes(leaf: Any) -> memoryview:
    if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    return np.ascontiguousarray(leaf).reshape(-1).view(np.uint8).data
