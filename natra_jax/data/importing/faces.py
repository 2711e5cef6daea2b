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
# each may come as Kaggle's .csv: separated by commas, with a head that begins with image_id
ATTRIBUTES, IDENTITY = "list_attr_celeba.txt", "identity_CelebA.txt"
PARTITION = "list_eval_partition.txt"
SUBDIRECTORIES = ("Anno", "Eval", "Img")  # of the publisher's share
SPLITS = ("train", "validation", "test")  # 0, 1 and 2 of the partition
_IMAGE_ID = "image_id"
_NOT_AS_PUBLISHED = "it is not the table as it was published, nor Kaggle's"
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


def names(table: str) -> tuple[str, str]:
    """Return the file names that a table comes under."""
    return table, table.removesuffix(".txt") + ".csv"


def attributes(path: Path) -> Attributes:
    """Read list_attr_celeba.txt.

    It has the number of images, the attributes' names, then rows of an image and 1 or -1 for each
    attribute; or image_id and the names, then the rows. Raise UserError for what is otherwise.
    """
    lines = containers.rows(path)
    _, count = next(lines, (1, []))
    if _is_head(count):
        count, names = [], count[1:]
    else:
        _, names = next(lines, (2, []))
        if len(count) != 1 or not (count[0].isascii() and count[0].isdecimal()):
            names = []
    if not names or len(set(names)) < len(names):
        raise UserError(
            f"{path}: begins neither with the number of images and the names of attributes, "
            f"nor with {_IMAGE_ID} and these: {_NOT_AS_PUBLISHED}"
        )
    rows: dict[str, bytes] = {}
    for number, (image, *values) in lines:
        if len(values) != len(names) or not set(values) <= {"1", "-1"}:
            raise UserError(
                f"{path}: line {number}, of {image[:60]}, is not {len(names)} values of 1 or -1: "
                f"{_NOT_AS_PUBLISHED}"
            )
        _add(path, rows, image, bytes(value == "1" for value in values))
    if count and len(rows) != int(count[0][:20]):
        raise UserError(
            f"{path}: promises {count[0][:20]} images and lists {len(rows)}: it is not whole"
        )
    return Attributes(names, rows)


def identities(path: Path) -> dict[str, int]:
    """Read identity_CelebA.txt: rows of an image and the number of its person, from 1."""
    return _numbers(path, "a person's number, from 1", range(1, 2**31))


def partition(path: Path) -> dict[str, int]:
    """Read list_eval_partition.txt: rows of an image and the number of its split."""
    return _numbers(path, "0 (train), 1 (validation) or 2 (test)", range(len(SPLITS)))


def _is_head(words: Sequence[str]) -> bool:
    return bool(words) and words[0].lower() == _IMAGE_ID


def _numbers(path: Path, wanted: str, allowed: range) -> dict[str, int]:
    """Read rows of an image and an allowed number. Raise UserError, naming the line, for others."""
    rows: dict[str, int] = {}
    for i, (number, words) in enumerate(containers.rows(path)):
        if i == 0 and _is_head(words):
            continue
        if (
            len(words) != 2
            or not (words[1].isascii() and words[1].isdecimal())
            or int(words[1][:20]) not in allowed
        ):
            raise UserError(
                f"{path}: line {number} ({' '.join(words)[:60]}) is not an image and {wanted}: "
                f"{_NOT_AS_PUBLISHED}"
            )
        _add(path, rows, words[0], int(words[1]))
    if not rows:
        raise UserError(f"{path}: lists no image: {_NOT_AS_PUBLISHED}")
    return rows


def _add(path: Path, rows: dict[str, _T], image: str, value: _T) -> None:
    """Add a row to a table. Raise UserError if there is one of that image."""
    if image in rows:
        raise UserError(f"{path}: lists {image} twice: {_NOT_AS_PUBLISHED}")
    rows[image] = value
