"""JSON files: bounded in size and depth, each with a schema, whoever wrote them.

class Card(TypedDict):
    family: str
    notes: list[str]

card = read(path, Card, "convert the checkpoint again")

A schema is any type that `msgspec.convert` takes, or a NamedTuple of such, which is an object by
its fields' names. Entries that the schema does not name are left out. Python's parser takes the
text apart, since msgspec's takes the last of several values of one name, and no file name that is
not in UTF-8.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Annotated, Any, NotRequired, TypedDict, TypeVar, cast, get_type_hints

import msgspec
from etils import epath

from natra_jax.files import SMALL, read_bytes, remedy
from natra_jax.types import UserError

T = TypeVar("T")
Count = Annotated[int, msgspec.Meta(ge=0, le=2**48)]
Size = Annotated[int, msgspec.Meta(ge=1, le=2**16)]  # of an image's side, or of a layer
MOST_OF_LISTS = 2**30  # bytes of one that grows with a data set
_DEEPEST = 32
_MOST_CONTAINERS = 2**22  # each takes some 70 bytes of memory, for 3 of text
_DIGITS = 300  # of a whole number: as many as a float can have


def read(
    path: epath.Path | Path,
    schema: type[T],
    advice: str,
    *,
    most: int = SMALL,
    loose: bool = False,
) -> T:
    """Return what a JSON file holds.

    Args:
      path: of the file.
      schema: what it has to hold.
      advice: completes the message: what to do where it does not.
      most: bytes.
      loose: see `decode`.

    Raises:
      UserError: one line, for a file that is missing, no regular one, too large, no JSON or not
        of the schema.
    """
    data = _bytes(path, advice, most)
    try:
        return check(decode(data, loose), schema)
    except ValueError as error:
        raise UserError(f"{path}: cannot be read ({error}): {advice}") from error


def read_lines(path: epath.Path | Path, schema: type[T], advice: str) -> list[T]:
    """Return what each line of a file holds, as `read` does, loosely; raise UserError likewise."""
    found = []
    for number, line in enumerate(_bytes(path, advice, MOST_OF_LISTS).splitlines(), start=1):
        try:
            found.append(check(decode(line, loose=True), schema))
        except ValueError as error:
            raise UserError(f"{path}: line {number} cannot be read ({error}): {advice}") from error
    return found


def decode(data: bytes, loose: bool = False) -> Any:
    """Return the JSON value in the data, with a byte-order mark or without.

    Refused are names that an object gives twice, more than 32 levels, whole numbers of more than
    300 digits and, unless loose, what Python writes beyond JSON: numbers that are not finite, and
    halves of surrogate pairs, which stand for file names that are not in UTF-8.

    Raises ValueError, of one line that repeats nothing of the data but a name.
    """
    if data.count(b"[") + data.count(b"{") > _MOST_CONTAINERS:
        raise ValueError(f"it has more than {_MOST_CONTAINERS} lists and objects")
    number = float if loose else _finite
    try:
        found = json.loads(
            data.decode("utf-8-sig"),
            object_pairs_hook=_each_once,
            parse_int=_whole,
            parse_float=number,
            parse_constant=number,
        )
    except UnicodeDecodeError as error:
        raise ValueError(f"it is no text in UTF-8 from byte {error.start} on") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"it is no JSON: {error}") from error
    except RecursionError as error:
        raise ValueError(_too_deep()) from error
    _require_shallow(found)
    if not loose and b"\\u" in data:
        _require_text(found)
    return found


def check(value: Any, schema: type[T]) -> T:
    """Return the JSON value as the schema has it. Raises ValueError, naming the entry, otherwise.

    A number of type float may be whole, and comes back as a float; of type int | float it stays.
    """
    try:
        if _is_named_tuple(schema):
            return cast("Any", schema)(**msgspec.convert(value, _object(schema)))
        return msgspec.convert(value, schema)
    except msgspec.ValidationError as error:
        reason, _, place = str(error).replace("`", "").rpartition(" - at $")
        reason, place = (reason, place.removeprefix(".")) if reason else (place, "")
        reason = re.sub("^(Invalid enum value) .*", r"\1", reason, flags=re.DOTALL)  # the text
        raise ValueError(f"{place}: {reason}" if place else reason) from error


def _bytes(path: epath.Path | Path, advice: str, most: int) -> bytes:
    try:
        return read_bytes(path, most)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{path}: cannot be read ({reason}): {remedy(error, advice)}") from error
    except ValueError as error:  # of a path with a null character
        raise UserError(f"{str(path)!r}: cannot be a file's name: {advice}") from error


def _is_named_tuple(schema: Any) -> bool:
    return isinstance(schema, type) and issubclass(schema, tuple) and hasattr(schema, "_fields")


@cache
def _object(schema: Any) -> Any:
    """Return the type of the object that a NamedTuple's `_asdict` writes."""
    hints = get_type_hints(schema, include_extras=True)
    entries = {
        name: NotRequired[hint] if name in schema._field_defaults else hint
        for name, hint in hints.items()
    }
    return TypedDict(schema.__name__, entries)  # pyright: ignore[reportArgumentType]: not literal


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        ((twice, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"it gives {ascii(twice[:80])} twice")
    return found


def _whole(text: str) -> int:
    if len(text) > _DIGITS:
        raise ValueError(f"it has a whole number of more than {_DIGITS} digits")
    return int(text)


def _finite(text: str) -> float:
    if not math.isfinite(found := float(text)):
        raise ValueError("it has a number that is not finite")
    return found


def _too_deep() -> str:
    return f"it is nested more than {_DEEPEST} levels deep"


def _inner(containers: list[Any]) -> list[Any]:
    """Return all entries of dicts and lists."""
    return [
        entry
        for container in containers
        for entry in (container.values() if isinstance(container, dict) else container)
    ]


def _require_shallow(found: Any) -> None:
    level = [found]
    for _ in range(_DEEPEST + 1):
        level = [value for value in level if isinstance(value, dict | list)]
        if not level:
            return
        level = _inner(level)
    raise ValueError(_too_deep())


def _require_text(found: Any) -> None:
    """Raise ValueError for a text, or a name, that cannot be encoded."""
    level = [found]
    while level:
        containers = [value for value in level if isinstance(value, dict | list)]
        names = [name for value in containers if isinstance(value, dict) for name in value]
        for text in (*names, *(value for value in level if isinstance(value, str))):
            try:
                text.encode()
            except UnicodeEncodeError as error:
                raise ValueError("it has half a surrogate pair, which is no character") from error
        level = _inner(containers)
