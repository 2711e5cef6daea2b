"""Bounds on a walk through folders in which links are followed."""

from __future__ import annotations

import os
from collections import Counter

from natra_jax.types import UserError

_MOST_WAYS, _MOST_DEEP = 100, 200
Above = frozenset[tuple[int, int]]
"""(device, inode) of the folders that one was reached through"""
NOTHING: Above = frozenset()


class FolderLinks:
    """The folders that one walk entered, so that links cannot make it long or endless."""

    def __init__(self) -> None:
        self._ways: Counter[tuple[int, int]] = Counter()

    def enter(self, folder: str | os.PathLike[str], above: Above = NOTHING) -> Above:
        """Return `above` for the folders in this one.

        Raise UserError, naming it, for a folder that lies in itself, that links lead to in very
        many ways, or that lies very deep.
        """
        status = os.stat(folder)
        this = (status.st_dev, status.st_ino)
        self._ways[this] += 1
        path = os.fspath(folder)
        shown = path if path.isprintable() else ascii(path)[1:-1]
        if this in above:
            raise UserError(f"{shown}: is a link to a folder that it lies in: remove the link")
        if self._ways[this] > _MOST_WAYS:
            raise UserError(
                f"{shown}: links lead here in more than {_MOST_WAYS} ways: name a folder without "
                "these links"
            )
        if len(above) >= _MOST_DEEP:
            raise UserError(
                f"{shown[:200]}...: lies in more than {_MOST_DEEP} folders: name one further in"
            )
        return above | {this}
