"""Save directions as files: arrays, and beside them a text that people read and may rename in.

save(directions, directory)  # directions.npz, directions.json
load(directory, fingerprint="...")
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NotRequired, TypedDict

import numpy as np
from etils import epath

from natra_jax import json_files, trees
from natra_jax.types import Directions, UserError

_ARRAYS = ("vectors", "sigma", "mean", "mask", "useful")
_ADVICE = "run the directions stage again"


class _Row(TypedDict):
    """A direction, for people; its number and name are read again."""

    number: int
    name: str
    range: NotRequired[str]
    layers: NotRequired[list[int]]
    sigma: NotRequired[float]
    useful: NotRequired[float | None]  # None: not measured


class _Readable(TypedDict):
    """The content of directions.json."""

    generator_fingerprint: str
    method: str
    directions: list[_Row]
    notes: NotRequired[list[str]]


def save(directions: Directions, directory: epath.Path, notes: Sequence[str] = ()) -> None:
    """Write directions.npz and directions.json into directory.

    The first holds the arrays; the second is for people, who may change names in it. notes: say
    what people should know of how the directions were found.
    """
    arrays = {name: getattr(directions, name) for name in _ARRAYS}
    with (directory / "directions.npz").open("wb") as file:
        np.savez(file, **arrays)
    readable: _Readable = {
        "generator_fingerprint": directions.generator_fingerprint,
        "method": directions.method,
        "directions": [
            {
                "number": number,
                "name": directions.names[number],
                "range": ranges_text(directions.mask[number]),
                "layers": np.flatnonzero(directions.mask[number]).tolist(),
                "sigma": float(directions.sigma[number]),
                "useful": None
                if np.isinf(directions.useful[number])
                else float(directions.useful[number]),
            }
            for number in range(len(directions.names))
        ],
    }
    if notes:
        readable["notes"] = list(notes)
    (directory / "directions.json").write_text(json.dumps(readable, indent=2) + "\n")


def load(directory: epath.Path, fingerprint: str) -> Directions:
    """Read the directions that `save` wrote.

    Raises UserError if they are missing, no directions, or made for another generator than
    fingerprint.
    """
    path = directory / "directions.json"
    readable = json_files.read(path, _Readable, _ADVICE)
    made_for = readable["generator_fingerprint"]
    if made_for != fingerprint:
        raise UserError(
            f"{directory}: these directions belong to another generator ({made_for[:80]}, not "
            f"{fingerprint}): {_ADVICE}"
        )
    loaded = _arrays(directory / "directions.npz")
    rows = sorted(readable["directions"], key=lambda row: row["number"])
    if [row["number"] for row in rows] != list(range(len(loaded["vectors"]))):
        raise UserError(
            f"{path}: has other numbers than 0 to {len(loaded['vectors']) - 1}, each once, which "
            f"are those of the vectors in directions.npz: {_ADVICE}"
        )
    return Directions(
        names=tuple(row["name"] for row in rows),
        generator_fingerprint=made_for,
        method=readable["method"],
        **loaded,
    )


def _arrays(path: epath.Path) -> dict[str, np.ndarray]:
    """Read directions.npz. Raises UserError if it lacks an array, or they do not fit together."""
    try:
        arrays = trees.read(path)
    except UserError as error:
        raise UserError(f"{error}: {_ADVICE}") from error
    if missing := [name for name in _ARRAYS if name not in arrays]:
        raise UserError(f"{path}: has no array {missing[0]}: {_ADVICE}")
    vectors = arrays["vectors"]
    k, l, d = vectors.shape if vectors.ndim == 3 else (0, 0, 0)
    wanted = {"vectors": (k, l, d), "sigma": (k,), "mean": (l, d), "mask": (k, l), "useful": (k,)}
    for name, shape in wanted.items():
        array, kind = arrays[name], bool if name == "mask" else np.floating
        if array.shape != shape or not np.issubdtype(array.dtype, kind):
            raise UserError(
                f"{path}: {name} is {list(array.shape)} {array.dtype}, which does not fit vectors "
                f"of {list(vectors.shape)}: {_ADVICE}"
            )
    return {name: arrays[name] for name in _ARRAYS}


def ranges_text(mask: np.ndarray) -> str:
    """Return the layers of a mask [L] as text: '4-5', or '0-1, 4-5' where they have gaps."""
    layers = np.flatnonzero(mask)
    runs = np.split(layers, np.flatnonzero(np.diff(layers) > 1) + 1)
    return ", ".join(f"{run[0]}-{run[-1]}" for run in runs if len(run))
