"""A foreign checkpoint's tensors: what readers hand over and converters take one by one.

Shared by `formats`, which makes a `Checkpoint` of a file, and `converters`, which make a
`Converted` of its `Tensors`. Each tensor is taken once; an error names the one that is missing,
left over or of another shape.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from natra_jax.types import Params, UserError


class Checkpoint(NamedTuple):
    """What a reader makes of a file: plain arrays under the names they have there."""

    tensors: dict[str, np.ndarray]
    # the constructor arguments that the file carries: plain values, lists and dicts
    config: dict[str, Any] | None = None
    # what else there is among the tensors, by name: what it is, behind "has"
    unread: Mapping[str, str] = MappingProxyType({})


class Converted(NamedTuple):
    """What a converter makes of a checkpoint."""

    # of the generator's function: plain values and lists, so that they can be written as JSON
    arguments: dict[str, Any]
    params: Params  # NumPy float32, of the shapes that the generator's init gives
    notes: tuple[str, ...] = ()  # what the user should know of the conversion, a line each


class Tensors:
    """The names and arrays of a state dict, each of which a converter takes once.

    Its methods raise UserError, naming the tensor, for everything that does not fit.
    """

    def __init__(self, tensors: Mapping[str, np.ndarray], family: str) -> None:
        """Keep the tensors. family: the name of the network, for messages."""
        self._left, self._all, self._family = dict(tensors), dict(tensors), family

    def __contains__(self, name: str) -> bool:
        return name in self._all

    def names(self) -> list[str]:
        """Return all names, taken or not."""
        return list(self._all)

    def shape(self, name: str, rank: int | None = None) -> tuple[int, ...]:
        """Return the tensor's shape, without taking the tensor.

        rank: the number of sides that it must have, none of them empty; None: any shape will do.
        """
        shape = self._get(name).shape
        if rank is not None and (len(shape) != rank or 0 in shape):
            sides = "one side" if rank == 1 else f"{rank} sides"
            raise UserError(
                f"{name} is {list(shape)}, expected {sides}: this is no {self._family} checkpoint, "
                "or one of another kind"
            )
        return shape

    def take(self, name: str, *shape: int | None) -> np.ndarray:
        """Return the tensor as float32, and count it as taken. Its values must be finite.

        shape: the shape that it must have, None for a side of any length; left out, any will do.
        """
        array = self._get(name)
        if shape and (
            len(shape) != array.ndim
            or any(s not in (None, n) for s, n in zip(shape, array.shape, strict=True))
        ):
            expected = ", ".join("any" if side is None else str(side) for side in shape)
            raise UserError(
                f"{name} is {list(array.shape)}, expected [{expected}]: this is no {self._family} "
                "checkpoint, or one of another kind"
            )
        if not (np.issubdtype(array.dtype, np.floating) or np.issubdtype(array.dtype, np.integer)):
            raise UserError(f"{name} is of type {array.dtype}, expected numbers")
        self._left.pop(name, None)
        with np.errstate(all="ignore"):  # what does not fit is infinite then, and refused
            array = np.asarray(array, np.float32)
        if not np.isfinite(array).all():
            raise UserError(
                f"{name} holds values that are not finite in float32: the checkpoint is damaged"
            )
        return array

    def drop(self, matches: Callable[[str], object]) -> None:
        """Count the tensors whose names match as taken: they are known and not needed."""
        self._left = {name: array for name, array in self._left.items() if not matches(name)}

    def close(self) -> None:
        """Raise UserError if any tensor was not taken: what it does would be missing."""
        if left := sorted(self._left):
            more = f" and {len(left) - 1} more" if len(left) > 1 else ""
            raise UserError(f"tensors that {self._family} has no place for: {left[0]}{more}")

    def _get(self, name: str) -> np.ndarray:
        if name not in self._all:
            raise UserError(
                f"{name} is missing: this is no {self._family} checkpoint, or one of another kind"
            )
        return self._all[name]
