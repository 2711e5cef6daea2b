"""What an importer delivers: the features, the examples of each split in their order, and how an image's bytes are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from natra_jax.types import UserError


class Entry(NamedTuple):
    """An example before its image is read."""

    name: str  # of the image in its source, for people
    facts: Mapping[str, Any]  # the features beside the image
    stamp: Sequence[
        int | str
    ] = ()  # what tells this image from another of the same name: its size, its checksum
    pixels: Callable[[bytes], np.ndarray] | None = (
        None  # bytes -> [H, W, 3] or [H, W] uint8; None: the bytes are an encoded image
    )


class Entries(Sequence):
    """Entries made when they are asked for, since data sets of millions would not fit: make(keys[i])."""

    def __init__(self, keys: Sequence[Any], make: Callable[[Any], Entry]):
        self._keys, self._make = keys, make

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, i: int) -> Entry:
        return self._make(self._keys[i])


class DataSet(NamedTuple):
    """A published data set as it was found, open for reading.

    features: {name: kind} beside the image, where kind is 'text', 'int64', 'bool', a list of class names, or such a mapping again.
    read: raises images.Corrupt where only that image is at fault, UserError where the source is.
    """

    features: Mapping[str, Any]
    splits: Mapping[str, Sequence[Entry]]  # none of them empty
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
    """Raises UserError with the first name that the table lists and the place does not hold, or the other way round."""
    for verb, odd in (
        (f"lists {{}}, which is not in {place}", set(listed) - set(found)),
        (f"does not list {{}}, which is in {place}", set(found) - set(listed)),
    ):
        if odd:
            more = f" ({len(odd)} such images)" if len(odd) > 1 else ""
            raise UserError(
                f"{table}: {verb.format(min(odd))}{more}: the two are not of the same data set, or one is not whole"
            )


def difference_note(
    published: Mapping[str, int], splits: Mapping[str, Sequence[Entry]]
) -> list[str]:
    """A note if the splits are not as long as the publisher's."""
    here = {name: len(entries) for name, entries in splits.items()}
    if here == published:
        return []
    said = (
        ", ".join(f"{name} {count}" for name, count in counts.items())
        for counts in (published, here)
    )
    return ["published are {} images, here are {}".format(*said)]
