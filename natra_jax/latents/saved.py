"""Save directions as files: arrays, and beside them a text that people read and may rename in.

save(directions, directory)  # directions.npz, directions.json
load(directory, fingerprint="...")
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
from etils import epath

from natra_jax import trees
from natra_jax.printable import reason
from natra_jax.types import Directions, UserError

_ARRAYS = ("vectors", "sigma", "mean", "mask", "useful")


def save(directions: Directions, directory: epath.Path, notes: Sequence[str] = ()) -> None:
    """Write directions.npz and directions.json into directory.

    The first holds the arrays; the second is for people, who may change names in it. notes: say
    what people should know of how the directions were found.
    """
    arrays = {name: getattr(directions, name) for name in _ARRAYS}
    with (directory / "directions.npz").open("wb") as file:
        np.savez(file, **arrays)
    readable = {
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

    Raises UserError if they are missing, damaged, or made for another generator than fingerprint.
    """
    try:
        readable = json.loads((directory / "directions.json").read_text())
        arrays = trees.read(directory / "directions.npz")
        loaded = {name: arrays[name] for name in _ARRAYS}
        made_for, method = readable["generator_fingerprint"], str(readable["method"])
        names = {d["number"]: str(d["name"]) for d in readable["directions"]}
        if sorted(names) != list(range(len(loaded["vectors"]))):
            raise ValueError(f"the numbers {list(names)} for {len(loaded['vectors'])} vectors")
    except (OSError, ValueError, KeyError, TypeError, UserError) as error:
        raise UserError(
            f"{directory}: directions cannot be read ({reason(error)}): run the directions "
            "stage again"
        ) from error
    if made_for != fingerprint:
        raise UserError(
            f"{directory}: these directions belong to another generator ({made_for}, not "
            f"{fingerprint}): run the directions stage again"
        )
    return Directions(
        names=tuple(names[i] for i in range(len(names))),
        generator_fingerprint=made_for,
        method=method,
        **loaded,
    )


def ranges_text(mask: np.ndarray) -> str:
    """Return the layers of a mask [L] as text: '4-5', or '0-1, 4-5' where they have gaps."""
    layers = np.flatnonzero(mask)
    runs = np.split(layers, np.flatnonzero(np.diff(layers) > 1) + 1)
    return ", ".join(f"{run[0]}-{run[-1]}" for run in runs if len(run))
