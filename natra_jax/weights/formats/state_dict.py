"""Tensors by name out of what a pickle holds, and plain values out of its configuration."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

import numpy as np

from natra_jax.printable import shown
from natra_jax.weights.formats.pickle_globals import Instance, PickledArray
from natra_jax.weights.formats.restricted_unpickler import (
    StandIn,
    Unreadable,
    malformed,
    naming,
)
from natra_jax.weights.tensors import Checkpoint

_MAX_VALUES, _MAX_DEPTH = 10_000, 16  # in a configuration
_MAX_TENSORS, _MAX_NAME = 100_000, 500


def flatten(found: Any, path: PurePath) -> Checkpoint:
    """Return all tensors in what a pickle held, under their names in it, joined by dots.

    That is a state dict, or a training script's dict with some in it. What is no tensor is kept in
    `unread`, by its type alone: which of the networks is meant, and that it holds tensors alone, is
    told by their names (`natra_jax.weights.selection`). There is no config: what such files say of
    their training (such as argparse's arguments) is not what a network was made with.

    path: for messages alone. Raises UserError, naming what is there, if there are no tensors.
    """
    with naming(path):
        if type(found) is not dict:
            raise Unreadable(
                f"holds {_said(found).rstrip(',')}, no state dict: save the state_dict() of the "
                "generator (torch.save(model.state_dict(), FILE))"
            )
        tensors: dict[str, np.ndarray] = {}
        unread: dict[str, str] = {}
        entered: set[int] = set()  # dicts, each of which is looked at once, wherever it is

        def enter(inside: dict[Any, Any], prefix: str, depth: int) -> None:
            entered.add(id(inside))
            for key, value in inside.items():
                known = isinstance(key, str) and key.isprintable() and 0 < len(key) <= _MAX_NAME
                name = f"{prefix}{key if known else shown(key)}"
                if isinstance(value, PickledArray) and value.array is not None:
                    value = value.array
                if not known or len(name) > _MAX_NAME:
                    unread[name[:_MAX_NAME]] = f"{_said(value)} as {shown(key)}"
                elif type(value) is dict and id(value) not in entered and depth < _MAX_DEPTH:
                    enter(value, f"{name}.", depth + 1)
                elif isinstance(value, np.ndarray) and name not in tensors:
                    tensors[name] = value
                else:
                    unread[name] = f"{_said(value)} as {shown(key)}"

        enter(found, "", 0)
        if not tensors:
            there = ", ".join(shown(name) for name in list(found)[:8]) or "nothing"
            plain = "a value of type"
            inside = next(
                (f" but {said}" for said in unread.values() if not said.startswith(plain)), ""
            )
            raise Unreadable(
                f"holds no generator's tensors ({there}){inside}: save its state_dict(), "
                "alone or as 'g_ema' or 'state_dict'"
            )
        return Checkpoint(tensors, unread=unread)


def plain(value: Any, what: str) -> Any:
    """Return a copy of value, which may be of any type, as plain values.

    These are numbers, texts, truth values, None, lists (for tuples, too) and dicts by texts. Raises
    Unreadable, naming `what` the value is, if there is anything else in it, or if it is far larger
    than what a network is made with.
    """
    left = _MAX_VALUES

    def copied(value: Any, depth: int) -> Any:
        nonlocal left
        left -= 1
        if left < 0 or depth > _MAX_DEPTH:
            raise Unreadable(
                f"has more in {what} than any network is made with: it is damaged or was tampered "
                "with"
            )
        if isinstance(value, np.generic):
            value = value.item()
        if type(value) in (bool, int, float, str, type(None)):
            return value
        if type(value) in (list, tuple):
            return [copied(item, depth + 1) for item in value]
        if type(value) is dict and all(type(name) is str for name in value):
            return {name: copied(item, depth + 1) for name, item in value.items()}
        raise Unreadable(
            f"has {_said(value)} in {what}: only numbers, texts, lists and dicts by name are read"
        )

    return copied(value, 0)


class NamedTensors:
    """Tensors by name, collected from networks within networks.

    A stranger's networks may be one another's parts without end, so how many are entered is
    bounded.
    """

    def __init__(self) -> None:
        self.tensors: dict[str, np.ndarray] = {}
        self._left = _MAX_TENSORS

    def enter(self, prefix: str, entries: int) -> None:
        """Count a network with so many entries (tensors and parts), before it is looked at.

        prefix: the names that lead to it. Raises Unreadable if there were too many.
        """
        self._left -= 1 + entries
        if (
            self._left < 0
            or len(prefix) > _MAX_NAME
            or prefix.count("/") + prefix.count(".") > 2 * _MAX_DEPTH
        ):
            raise Unreadable(
                "has more networks within networks than any generator: it is damaged or was "
                "tampered with"
            )

    def add(self, name: str, array: np.ndarray) -> None:
        """Add a tensor. Raises Unreadable if the name is there already or is no network's."""
        if name in self.tensors or len(name) > 2 * _MAX_NAME:
            raise malformed(f"the tensor {shown(name)}")
        self.tensors[name] = array


def _said(value: Any) -> str:
    """Return a value's type, in words: the value itself may be endless."""
    if isinstance(value, StandIn):
        return value.said
    if isinstance(value, Instance):
        return f"an object of {value.name}"
    return f"a value of type {type(value).__name__}"
