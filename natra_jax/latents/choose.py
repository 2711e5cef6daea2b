"""Choose directions by hand: by name, by number, or by a file.

select(directions, "umap0_layers4-5,3")
# a copy of directions.json in which entries were deleted, moved or renamed
select(directions, "mine.json")
"""

from __future__ import annotations

import difflib
from typing import NotRequired, TypedDict

import numpy as np
from etils import epath

from natra_jax import json_files
from natra_jax.printable import shown
from natra_jax.types import Directions, UserError

_LARGEST = float(np.finfo(np.float32).max)
_SAME = 1e-2  # relative: sigmas that differ by more are not of one direction
_DIGITS = 9  # of a number: Python reads no more than a few thousand


class _Chosen(TypedDict):
    """A direction of the file."""

    number: int
    name: NotRequired[str | None]
    sigma: NotRequired[float | None]
    useful: NotRequired[float | None]


class _Choice(TypedDict):
    """A copy of directions.json, or the least of it that chooses."""

    generator_fingerprint: NotRequired[str]
    directions: list[_Chosen]


def select(directions: Directions, choice: str) -> Directions:
    """Return the chosen directions, in the order of the choice.

    Of a file, the entries that are there are chosen, by their number. They take the name that they
    have there, and the useful range where that is a number. A number means another direction
    elsewhere: where the file has a generator_fingerprint, or an entry a sigma, they have to be
    those of `directions`.

    choice: names and numbers (from 0) separated by commas, or the path of a .json file in the
    format of directions.json.

    Raises UserError, one line, for names and numbers that are not there, a direction or name that
    is there twice, a file that cannot be read or belongs to other directions, and an empty choice.
    """
    names: dict[int, str] = {}
    useful = directions.useful.copy()
    if is_file(choice):
        for number, name, reach in _from_file(directions, epath.Path(choice.strip()).expanduser()):
            names[number] = name
            useful[number] = useful[number] if reach is None else reach
    else:
        for word in filter(None, map(str.strip, choice.split(","))):
            number = _number(directions, word)
            if number in names:
                raise UserError(
                    f"direction {number}, {directions.names[number]}, is chosen twice in {choice!r}"
                )
            names[number] = directions.names[number]
    if not names:
        raise UserError(f"{choice!r} chooses no direction: name some of {_valid(directions)}")
    index = np.array(list(names))
    arrays = {field: getattr(directions, field)[index] for field in ("vectors", "sigma", "mask")}
    return directions._replace(names=tuple(names.values()), useful=useful[index], **arrays)


def is_file(choice: str) -> bool:
    """Tell whether a choice is the path of a file."""
    return choice.strip().endswith(".json")


def _number(directions: Directions, word: str) -> int:
    """Return the number of the direction with that name or number."""
    if word in directions.names:
        return directions.names.index(word)
    if word.isdecimal() and len(word) <= _DIGITS and int(word) < len(directions.names):
        return int(word)
    near = difflib.get_close_matches(word, directions.names, n=1)
    hint = f"did you mean {near[0]}?" if near else f"valid: {_valid(directions)}"
    raise UserError(f"no direction {shown(word)} ({hint}); a file's name ends in .json")


def _from_file(directions: Directions, path: epath.Path) -> list[tuple[int, str, float | None]]:
    """Read (number, name, useful range or None) of the entries of a file like directions.json."""
    readable = json_files.read(path, _Choice, "it has to be like directions/directions.json")
    made_for = readable.get("generator_fingerprint", directions.generator_fingerprint)
    entries = [
        (entry["number"], entry.get("name"), entry.get("sigma"), entry.get("useful"))
        for entry in readable["directions"]
    ]
    if made_for != directions.generator_fingerprint:
        raise UserError(
            f"{path}: it was made for another generator ({made_for[:80]}, not "
            f"{directions.generator_fingerprint}): start from a new copy"
        )
    chosen: list[tuple[int, str, float | None]] = []
    for number, name, sigma, useful in entries:
        if not 0 <= number < len(directions.names):
            raise UserError(
                f"{path}: no direction has the number {shown(number)}: valid are "
                f"{_valid(directions)}"
            )
        name = directions.names[number] if name is None else name
        if not name.strip() or name.strip().isdecimal() or "," in name:
            raise UserError(
                f"{path}: direction {number} is named {shown(name)}: a name is a text that is no "
                "number and has no comma"
            )
        if sigma is not None and not np.isclose(
            sigma, float(directions.sigma[number]), rtol=_SAME, atol=0
        ):
            other = f"has a sigma of {shown(sigma)} there and {directions.sigma[number]:.6g} here"
            raise UserError(
                f"{path}: direction {number} {other}: it belongs to other directions, "
                "start from a copy of directions/directions.json"
            )
        if useful is not None and not 0 <= useful <= _LARGEST:
            raise UserError(
                f"{path}: direction {number} has a useful range of {shown(useful)}: "
                "it is null or a multiple of sigma from 0 on"
            )
        if any(number == other or name.strip() == taken for other, taken, _ in chosen):
            raise UserError(f"{path}: direction {number}, {name[:80]}, or its name, is there twice")
        chosen.append((number, name.strip(), useful))
    return chosen


def _valid(directions: Directions) -> str:
    """List numbers and names."""
    return ", ".join(f"{number} {name}" for number, name in enumerate(directions.names))
