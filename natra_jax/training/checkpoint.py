"""Checkpoints of any state that is a pytree of arrays, on orbax's CheckpointManager.

They are saved while training goes on, and resumed exactly.
"""

from __future__ import annotations

from typing import Any

import jax
import orbax.checkpoint as ocp
from etils import epath

from natra_jax.orbax_tree import hushed, require_room
from natra_jax.types import UserError

History = list[dict[str, float]]  # the metrics logged so far, with their step


class Checkpoints:
    """The newest state of one fit, in a directory of its own.

    Close it (or leave its `with` block) to finish what is being written.
    """

    def __init__(self, directory: epath.Path) -> None:
        self.directory = directory
        self._manager = ocp.CheckpointManager(
            directory, options=ocp.CheckpointManagerOptions(max_to_keep=1)
        )

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *_: object) -> None:
        self._manager.close()

    def save(self, step: int, state: Any, history: History) -> None:
        """Copy the state at once and write it in the background. A step is saved only once.

        Raises:
            UserError: the disk has no room for it. This is found out before writing, since a
                failure in the background would surface late and in many lines.
        """
        if self._manager.latest_step() != step:
            require_room(self.directory, state, "--workdir")
            logged = list(history)  # the caller's list grows while this is being written
            items = {
                "state": ocp.args.StandardSave(state),
                "history": ocp.args.JsonSave({"logged": logged}),
            }
            self._manager.save(step, args=ocp.args.Composite(**items))

    def restore(self, like: Any) -> tuple[Any, History] | None:
        """Read the newest state and its history. Return None if there is none yet.

        like: a state of the same structure, shapes and types.

        Raises:
            UserError: the checkpoint is damaged or holds something else.
        """
        step = self._manager.latest_step()
        if step is None:
            return None
        target = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        items = {"state": ocp.args.StandardRestore(target), "history": ocp.args.JsonRestore()}
        try:
            with hushed():
                restored = self._manager.restore(step, args=ocp.args.Composite(**items))
        except Exception as error:  # orbax and tensorstore raise many types for a damaged file
            reason = str(error).splitlines()[0][:200]
            raise UserError(
                f"{self.directory}: the checkpoint of step {step} cannot be read ({reason}): "
                f"delete {self.directory}"
            ) from error
        return restored["state"], restored["history"]["logged"]
