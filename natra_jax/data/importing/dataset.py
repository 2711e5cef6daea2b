"""The data set that an importer delivers: features, and the examples of each split in their order.

It also says how an image's bytes are read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from natra_jax.types import UserError


class Entry(NamedTuple):
    """An example before its image is read."""

    name: str  # of the image in its source, for people
    facts: Mapping[str, Any]  # the features beside the image
    # what tells this image from another of the same name: its size, its checksum
    stamp: Sequence[int | str] = ()
    # bytes -> [H, W, 3] or [H, W] uint8; None: the bytes are an encoded image
    pixels: Callable[[bytes], np.ndarray] | None = None


class Entries(Sequence[Entry]):
    """Entries made when they are asked for, since data sets of millions would not fit."""

    def __init__(self, keys: Sequence[Any], make: Callable[[Any], Entry]) -> None:
        """Make entry i of keys[i]."""
        self._keys, self._make = keys, make

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, i: int) -> Entry:
        return self._make(self._keys[i])


class DataSet(NamedTuple):
    """A published data set as it was found, open for reading."""

    # {name: kind} beside the image, where kind is 'text', 'int64', 'bool', a list of class names,
    # or such a mapping again
    features: Mapping[str, Any]
    splits: Mapping[str, Sequence[Entry]]  # none of them empty
    # raises images.Corrupt where only that image is at fault, UserError where the source is
    read: Callable[[Entry], bytes]
    channels: int = 3
    stamp: Sequence[str] = ()  # of the source as a whole, where its entries have none
    notes: Sequence[str] = ()  # what the user should know of the source


def require_agreement(
    table: Any,
    listed: Mapping[str, Any] | set[str],
    place: Any,
    found: Mapping[str, Any] | set[str],
) -> None:
    """Raise UserError unless a table lists the names that a place holds.

    Args:
        table: as error messages name it.
        listed: the names that the table lists.
        place: as error messages name it.
        found: the names that the place holds.
    """
    for verb, odd in (
        (f"lists {{}}, which is not in {place}", set(listed) - set(found)),
        (f"does not list {{}}, which is in {place}", set(found) - set(listed)),
    ):
        if odd:
            more = f" ({len(odd)} such images)" if len(odd) > 1 else ""
            raise UserError(
                f"{table}: {verb.format(min(odd))}{more}: "
                "the two are not of the same data set, or one is not whole"
            )


def difference_note(
    published: Mapping[str, int], splits: Mapping[str, Sequence[Entry]]
) -> list[str]:
    """Return a note if the splits are not as long as the publisher's."""
    here = {name: len(entries) for name, entries in splits.items()}
    if here == published:
        return []
    said = (
        ", ".join(f"{name} {count}" for name, count in counts.items())
        for counts in (published, here)
    )
    return ["published are {} images, here are {}".format(*said)]
