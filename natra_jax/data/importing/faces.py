"""CelebA's tables, which CelebA-HQ uses too, by the names of the images.

They are attributes, identities and the partition into splits. Liu et al. 2015, "Deep Learning Face
Attributes in the Wild".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from natra_jax.data.importing import containers
from natra_jax.types import UserError

PUBLISHER = (
    "CelebA, MMLAB of the Chinese University of Hong Kong, "
    "mmlab.ie.cuhk.edu.hk/projects/CelebA.html"
)
ATTRIBUTES, IDENTITY = "list_attr_celeba.txt", "identity_CelebA.txt"
PARTITION = "list_eval_partition.txt"
SUBDIRECTORIES = ("Anno", "Eval", "Img")  # of the publisher's share
SPLITS = ("train", "validation", "test")  # 0, 1 and 2 of the partition
_T = TypeVar("_T")


class Attributes(NamedTuple):
    """The names of A attributes, and for each image A bytes of 0 or 1."""

    names: Sequence[str]
    rows: Mapping[str, bytes]

    def of(self, image: str) -> dict[str, bool]:
        """Return {attribute: whether the image has it}."""
        return {name: bool(value) for name, value in zip(self.names, self.rows[image], strict=True)}


def directories(*roots: Path) -> list[Path]:
    """Return the directories below the roots that the publisher's files may lie in."""
    return [root / sub for root in roots for sub in ("", *SUBDIRECTORIES)]


def attributes(path: Path) -> Attributes:
    """Read list_attr_celeba.txt.

    It has the number of images, the attributes' names, then rows of an image and 1 or -1 for each
    attribute. Raise UserError for what is otherwise.
    """
    lines = containers.rows(path)
    _, count = next(lines, (1, []))
    _, names = next(lines, (2, []))
    if len(count) != 1 or not count[0].isdecimal() or not names or len(set(names)) < len(names):
        raise UserError(
            f"{path}: does not begin with the number of images and the names of attributes: "
            "get it again"
        )
    rows: dict[str, bytes] = {}
    for number, (image, *values) in lines:
        if len(values) != len(names) or not set(values) <= {"1", "-1"}:
            raise UserError(
                f"{path}: line {number}, of {image}, is not {len(names)} values of 1 or -1: "
                "get it again"
            )
        _add(path, rows, image, bytes(value == "1" for value in values))
    if len(rows) != int(count[0]):
        raise UserError(
            f"{path}: promises {count[0]} images and lists {len(rows)}: "
            "it is not whole, get it again"
        )
    return Attributes(names, rows)


def identities(path: Path) -> dict[str, int]:
    """Read identity_CelebA.txt: rows of an image and the number of its person, from 1."""
    return _numbers(path, "a person's number, from 1", range(1, 2**31))


def partition(path: Path) -> dict[str, int]:
    """Read list_eval_partition.txt: rows of an image and the number of its split."""
    return _numbers(path, "0 (train), 1 (validation) or 2 (test)", range(len(SPLITS)))


def _numbers(path: Path, wanted: str, allowed: range) -> dict[str, int]:
    """Read rows of an image and an allowed number. Raise UserError, naming the line, for others."""
    rows: dict[str, int] = {}
    for number, words in containers.rows(path):
        if (
            len(words) != 2
            or not (words[1].isascii() and words[1].isdecimal())
            or int(words[1]) not in allowed
        ):
            raise UserError(
                f"{path}: line {number} ({' '.join(words)[:60]}) is not an image and {wanted}: "
                "get it again"
            )
        _add(path, rows, words[0], int(words[1]))
    if not rows:
        raise UserError(f"{path}: is empty: get it again")
    return rows


def _add(path: Path, rows: dict[str, _T], image: str, value: _T) -> None:
    """Add a row to a table. Raise UserError if there is one of that image."""
    if image in rows:
        raise UserError(f"{path}: lists {image} twice: get it again")
    rows[image] = value
