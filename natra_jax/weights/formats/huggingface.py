"""Hugging Face folders: config.json beside the weights, one file or shards that an index names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from natra_jax.files import read_bytes, require_regular
from natra_jax.printable import shown
from natra_jax.types import UserError
from natra_jax.weights.formats.bounded import json_object
from natra_jax.weights.tensors import Checkpoint

_WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # where both are there, the first is read
_MAX_JSON = 2**25  # bytes


def read(folder: Path, read_file: Callable[[Path], Checkpoint]) -> Checkpoint:
    """Read the folder's tensors, and its config.json as their config.

    read_file: (path) -> what a weights file holds, in any format. Raises UserError if config.json
    or the weights are missing, if an index does not agree with its shards, or if a file leads out
    of the folder. A snapshot in Hugging Face's own cache may lead to the cache's blobs.
    """
    if not (folder / "config.json").exists():
        raise UserError(
            f"{folder}: is a folder without config.json: give a checkpoint file, or a folder as "
            "Hugging Face has it"
        )
    config = _json(folder, "config.json")
    for name in _WEIGHTS:
        if (folder / name).exists():
            return read_file(_inside(folder, name))._replace(config=config)
        if (folder / f"{name}.index.json").exists():
            return _shards(folder, f"{name}.index.json", read_file)._replace(config=config)
    raise UserError(f"{folder}: holds neither {' nor '.join(_WEIGHTS)}: get the weights, too")


def _shards(folder: Path, index: str, read_file: Callable[[Path], Checkpoint]) -> Checkpoint:
    """Read the tensors of all shards that the index names."""
    where = f"{folder / index}"
    shard_of = _json(folder, index).get("weight_map")
    if (
        not isinstance(shard_of, dict)
        or not shard_of
        or not all(isinstance(name, str) for name in shard_of.values())
    ):
        raise UserError(
            f"{where}: its weight_map has to name a file for each tensor: the index is damaged"
        )
    paths = {name: _inside(folder, name) for name in sorted(set(shard_of.values()))}
    tensors, unread = {}, {}
    for name, path in paths.items():
        shard = read_file(path)
        there = shard.tensors
        expected = {tensor for tensor, shard in shard_of.items() if shard == name}
        if differing := sorted(expected ^ set(there)):
            what = "lacks" if differing[0] in expected else "holds, unlike the index,"
            raise UserError(
                f"{where}: {shown(name)} {what} {shown(differing[0])}: index and shards are of "
                "different checkpoints"
            )
        tensors |= there
        unread |= shard.unread
    return Checkpoint(tensors, unread=unread)


def _inside(folder: Path, name: str) -> Path:
    """Return the path of the file of that name in the folder.

    Raises UserError if it is not there, or if the name or a link leads out of the folder.
    """
    if name in ("", ".", "..") or "/" in name or "\\" in name or "\0" in name:
        raise UserError(
            f"{folder}: names a file {shown(name)}, which leads out of the folder: it was tampered "
            "with"
        )
    root = folder.resolve()
    allowed = [root, root.parents[1] / "blobs"] if root.parent.name == "snapshots" else [root]
    path = folder / name
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError) as error:  # a RuntimeError where links go round in a circle
        raise UserError(f"{folder}: {shown(name)} is missing: get it, too") from error
    if not any(target.is_relative_to(directory) for directory in allowed):
        raise UserError(
            f"{folder}: {shown(name)} is a link that leads out of the folder: put the file itself "
            "there"
        )
    require_regular(path)
    return path


def _json(folder: Path, name: str) -> dict[str, Any]:
    """Read the JSON object in the file of that name in the folder."""
    path = _inside(folder, name)
    return json_object(read_bytes(path, _MAX_JSON), f"{path}: this")
