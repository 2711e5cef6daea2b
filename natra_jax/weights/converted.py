"""Converted generators on disk.

A directory holds an orbax checkpoint and, written last, generator.json: the family, the arguments
of the generator's function, a checksum of the parameters, and what the conversion had to note.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, TypedDict

import jax
import numpy as np
from etils import epath

from natra_jax import interruption, json_files, orbax_tree, trees
from natra_jax.files import remedy
from natra_jax.generators import build
from natra_jax.types import Params, UserError
from natra_jax.weights.families import FAMILIES, Loaded

_CARD, _PARAMS = "generator.json", "params"
_FORMAT = 1
_ADVICE = "convert the checkpoint again"


class _Version(TypedDict):
    """The entry of generator.json that tells how to read the others."""

    format: int


class _Converted(_Version):
    """The content of generator.json."""

    family: str  # a key of FAMILIES
    arguments: dict[str, Any]  # of the generator's function
    parameters: json_files.Count
    checksum: str
    source: str  # for people, as notes
    notes: list[str]


def is_saved(path: epath.Path) -> bool:
    """Tell whether path is a directory that `save` wrote."""
    return path.is_dir() and (path / _CARD).exists()


def save(destination: epath.Path, loaded: Loaded, source: str) -> None:
    """Write the generator into a new directory, or an empty one.

    source: where it is from, for people to read. Raises UserError if something is there already, or
    if it cannot be written; then nothing is left of it.
    """
    if destination.exists() and not (destination.is_dir() and not any(destination.iterdir())):
        raise UserError(f"{destination}: is there already: name a new directory")
    try:
        destination.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{destination}: cannot be made ({error.strerror or error}): "
            + remedy(error, "name another directory")
        ) from error
    try:
        with interruption.holding(destination.rmtree):
            orbax_tree.require_room(destination, loaded.params, "DEST")
            _write(destination, loaded, source)
            interruption.check()
    except BaseException:
        destination.rmtree()
        raise


def _write(destination: epath.Path, loaded: Loaded, source: str) -> None:
    try:
        with orbax_tree.hushed():
            orbax_tree.save(destination / _PARAMS, loaded.params)
    except Exception as error:  # orbax and tensorstore raise many types for a disk that fails them
        raise UserError(
            f"{destination}: cannot be written ({orbax_tree.fault(error, 'cannot be written')}): "
            + remedy(error, "name another directory")
        ) from error
    card = _Converted(
        format=_FORMAT,
        family=loaded.family,
        arguments=loaded.arguments,
        parameters=count(loaded.params),
        checksum=checksum(loaded.params),
        source=source,
        notes=list(loaded.notes),
    )
    # last, so that what was interrupted before is not taken for whole
    (destination / _CARD).write_text(json.dumps(card, indent=1) + "\n")


def load(path: epath.Path) -> Loaded:
    """Read what `save` wrote. Raises UserError if it is anything else."""
    version = json_files.read(path / _CARD, _Version, _ADVICE, loose=True)["format"]
    if version != _FORMAT:
        raise UserError(f"{path / _CARD}: is of another version of natra_jax: {_ADVICE}")
    # the name of the source may not be in UTF-8
    card = json_files.read(path / _CARD, _Converted, _ADVICE, loose=True)
    family, arguments = card["family"], card["arguments"]
    if family not in FAMILIES:
        raise UserError(f"{path / _CARD}: is of another version of natra_jax: {_ADVICE}")
    try:
        generator = build(FAMILIES[family].generator, arguments)
    except UserError as error:
        raise UserError(f"{path / _CARD}: {error}: {_ADVICE}") from error
    like, stored = jax.eval_shape(generator.init, jax.random.key(0)), path / _PARAMS
    orbax_tree.require_same(stored, orbax_tree.stored(stored), like, "generator")
    params = orbax_tree.load(stored, like)
    if checksum(params) != card["checksum"]:
        raise UserError(
            f"{path}: the parameters are not those that were written (checksum): {_ADVICE}"
        )
    return Loaded(family, generator, arguments, params, tuple(card["notes"]))


def count(params: Params) -> int:
    """Return the number of numbers in the tree."""
    return sum(int(np.size(leaf)) for leaf in jax.tree.leaves(params))


def checksum(params: Params) -> str:
    """Return SHA-256 over names, shapes and float32 bytes of the tree, 16 hex digits."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree.flatten_with_path(params)[0]:
        array = np.ascontiguousarray(leaf, "<f4")
        digest.update(f"{trees.leaf_name(path)} {array.shape}\n".encode())
        digest.update(array.data)
    return digest.hexdigest()[:16]
