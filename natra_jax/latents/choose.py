"""A person's choice of directions: by name, by number, or by a file.

select(directions, "umap0_layers4-5,3")
select(directions, "mine.json")             # a copy of directions.json in which entries were deleted, moved or renamed
"""

from __future__ import annotations

import difflib
import json

import numpy as np
from etils import epath

from natra_jax.types import Directions, UserError

_SAME = 1e-2  # relative: sigmas that differ by more are not of one direction


def select(along: Directions, choice: str) -> Directions:
    """The chosen directions, in the order of the choice.

    choice: names and numbers (from 0) separated by commas, or the path of a .json file in the format of directions.json. Of such a file
    the entries that are there are chosen, by their number, and take the name that they have there, and the useful range where that is
    a number. Where it has a generator_fingerprint, or an entry a sigma, they have to be those of along: a number means another direction
    elsewhere.

    Raises UserError, one line, for names and numbers that are not there, a direction or name that is there twice, a file that cannot be
    read or belongs to other directions, and a choice of none.
    """
    names: dict[int, str] = {}
    useful = along.useful.copy()
    if is_file(choice):
        for number, name, reach in _from_file(along, epath.Path(choice.strip()).expanduser()):
            names[number] = name
            useful[number] = useful[number] if reach is None else reach
    else:
        for word in filter(None, map(str.strip, choice.split(","))):
            number = _number(along, word)
            if number in names:
                raise UserError(
                    f"direction {number}, {along.names[number]}, is chosen twice in {choice!r}"
                )
            names[number] = along.names[number]
    if not names:
        raise UserError(f"{choice!r} chooses no direction: name some of {_valid(along)}")
    index = np.array(list(names))
    arrays = {field: getattr(along, field)[index] for field in ("vectors", "sigma", "mask")}
    return along._replace(names=tuple(names.values()), useful=useful[index], **arrays)


def is_file(choice: str) -> bool:
    """Whether a choice is the path of a file."""
    return choice.strip().endswith(".json")


def _number(along: Directions, word: str) -> int:
    if word in along.names:
        return along.names.index(word)
    if word.isdecimal() and int(word) < len(along.names):
        return int(word)
    near = difflib.get_close_matches(word, along.names, n=1)
    hint = f"did you mean {near[0]}?" if near else f"valid: {_valid(along)}"
    raise UserError(f"no direction {word!r} ({hint}); a file's name ends in .json")


def _from_file(along: Directions, path: epath.Path) -> list[tuple[int, str, float | None]]:
    """(number, name, useful range or None) of the entries of a file like directions.json, in their order."""
    try:
        readable = json.loads(path.read_text())
        made_for = readable.get("generator_fingerprint", along.generator_fingerprint)
        entries = [
            (entry["number"], entry.get("name"), entry.get("sigma"), entry.get("useful"))
            for entry in readable["directions"]
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{path}: cannot be read as a copy of directions.json ({said})") from error
    if made_for != along.generator_fingerprint:
        raise UserError(
            f"{path}: it was made for another generator ({made_for}, not {along.generator_fingerprint}): start from a new copy"
        )
    chosen: list[tuple[int, str, float | None]] = []
    for number, name, sigma, useful in entries:
        if type(number) is not int or not 0 <= number < len(along.names):
            raise UserError(
                f"{path}: no direction has the number {number!r}: valid are {_valid(along)}"
            )
        name = along.names[number] if name is None else name
        if not isinstance(name, str) or not name.strip() or name.strip().isdecimal() or "," in name:
            raise UserError(
                f"{path}: direction {number} is named {name!r}: a name is a text that is no number and has no comma"
            )
        if sigma is not None and not (
            isinstance(sigma, int | float)
            and np.isclose(sigma, along.sigma[number], rtol=_SAME, atol=0)
        ):
            other = f"has a sigma of {sigma} there and {along.sigma[number]:.6g} here"
            raise UserError(
                f"{path}: direction {number} {other}: it belongs to other directions, start from a copy of directions/directions.json"
            )
        if useful is not None and not (type(useful) in (int, float) and 0 <= useful < np.inf):
            raise UserError(
                f"{path}: direction {number} has a useful range of {useful!r}: it is null or a multiple of sigma from 0 on"
            )
        if any(number == other or name.strip() == taken for other, taken, _ in chosen):
            raise UserError(f"{path}: direction {number}, {name}, or its name, is there twice")
        chosen.append((number, name.strip(), useful))
    return chosen


def _valid(along: Directions) -> str:
    return ", ".join(f"{number} {name}" for number, name in enumerate(along.names))
