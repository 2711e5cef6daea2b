"""Pieces of work that are done once: each writes into a directory of its own and is finished when its COMMIT file is there.

COMMIT names every file with its size and SHA-256, and the fingerprint of everything the piece depends on: its config fields and
the fingerprints of the pieces it reads. While that still holds, the piece is skipped. PENDING carries the same fingerprint from the
start, so that a killed piece continues from its own leftovers and never from another configuration's.

Directories may lie in a bucket: nothing here relies on renames, memory maps or file locks.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from etils import epath

from natra_jax.types import UserError

FORMAT = 2  # of the files in a work directory; another one makes all work new
_COMMIT, _PENDING = "COMMIT", "PENDING"


def fingerprint(piece: str, fields: Mapping[str, Any], depends_on: Mapping[str, str]) -> str:
    """Of a piece's name, its config fields {name: value} and the fingerprints {name: fingerprint} of what it reads; 16 hex digits."""
    text = json.dumps([FORMAT, piece, dict(fields), dict(depends_on)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def is_done(directory: epath.Path, wanted: str) -> bool:
    """Whether the piece with this fingerprint is there, complete and unaltered."""
    commit = read(directory / _COMMIT)
    try:
        return commit["fingerprint"] == wanted and all(
            (path := directory / name).exists()
            and path.stat().length == entry["size"]
            and sha256(path) == entry["sha256"]
            for name, entry in commit["files"].items()
        )
    except (KeyError, TypeError, AttributeError):  # a damaged COMMIT vouches for nothing
        return False


def changes(directory: epath.Path, fields: Mapping[str, Any]) -> list[str]:
    """How the fields differ from those the directory was last made with: 'name: old -> new' lines."""
    old = read(directory / _COMMIT).get("fields", {})
    new = json.loads(json.dumps(dict(fields)))
    return [
        f"{name}: {old[name]} -> {new[name]}"
        for name in sorted(old.keys() & new.keys())
        if old[name] != new[name]
    ]


def begin(directory: epath.Path, wanted: str) -> None:
    """Makes the directory ready: what an interrupted run of this fingerprint left stays, and no COMMIT stands.

    Everything else is removed: another fingerprint's files, and those of a finished piece that no longer are as its COMMIT says.
    """
    interrupted = (
        read(directory / _PENDING).get("fingerprint") == wanted
        and not (directory / _COMMIT).exists()
    )
    if not interrupted:
        if directory.exists():
            directory.rmtree()
        directory.mkdir(parents=True)
        (directory / _PENDING).write_text(json.dumps({"fingerprint": wanted}))


def commit(directory: epath.Path, wanted: str, fields: Mapping[str, Any]) -> None:
    """Declares the piece done. Last of all, so that whatever is interrupted before is not taken for finished."""
    files = {str(path.relative_to(directory)): path for path in _walk(directory)}
    entries = {
        name: {"size": path.stat().length, "sha256": sha256(path)}
        for name, path in sorted(files.items())
        if name not in (_COMMIT, _PENDING, f".{_COMMIT}.new")
    }
    write(
        directory / _COMMIT,
        json.dumps({"fingerprint": wanted, "fields": dict(fields), "files": entries}, indent=1),
    )


def claim(workdir: epath.Path, name: str, config_json: str) -> None:
    """Makes workdir this experiment's, writing config.json. Raises UserError if it belongs to another or cannot be written."""
    path = workdir / "config.json"
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        if path.exists():
            owner = read(path).get("name")
            if owner != name:
                raise UserError(
                    f"--workdir={workdir} belongs to the experiment {owner!r}, not {name!r} (config field name): choose another --workdir"
                )
        elif any(other.name != f".{path.name}.new" for other in workdir.iterdir()):
            raise UserError(
                f"--workdir={workdir} holds files that are not an experiment's (no config.json): choose an empty or new directory"
            )
        write(path, config_json)
    except OSError as error:
        raise UserError(
            f"--workdir={workdir} cannot be written ({error.strerror or error}): choose another --workdir"
        ) from error


def write(path: epath.Path, text: str) -> None:
    """Replaces a file whole: a reader, or a crash, meets the old text or the new one."""
    if (on_disk := local(path)) is not None:
        temporary = on_disk.with_name(f".{path.name}.new")
        temporary.write_text(
            text, encoding="utf-8"
        )  # whatever the locale: names of files may be in it
        temporary.replace(on_disk)
    else:
        path.write_text(text)  # an object of a bucket appears whole when its upload ends


def local(path: epath.Path) -> Path | None:
    """The path as one of this machine's file system, None if it lies in a bucket."""
    return None if "://" in os.fspath(path) else Path(os.fspath(path))


def read(path: epath.Path | Path) -> dict[str, Any]:
    """The dictionary in a JSON file; {} where there is none, or something else."""
    try:
        loaded = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return loaded if isinstance(loaded, dict) else {}


def _walk(directory: epath.Path):
    for path in directory.iterdir():
        if path.is_dir():
            yield from _walk(path)
        else:
            yield path


def sha256(path: epath.Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
