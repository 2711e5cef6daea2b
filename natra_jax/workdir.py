"""Tasks that are done once: each writes into a directory of its own, and writes COMMIT last.

COMMIT names every file with its size and SHA-256, and the fingerprint of everything that the task
depends on: its config fields and the fingerprints of the tasks whose files it reads. While that
still holds, the task is skipped. PENDING carries the same fingerprint from the start, so that a
killed task continues from its own leftovers and never from another configuration's.

Directories may lie in a bucket: nothing here relies on renames, memory maps or file locks.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypedDict, TypeVar

from etils import epath

from natra_jax import json_files
from natra_jax.files import local
from natra_jax.types import UserError

FORMAT = 2  # of the files in a work directory; another one makes all work new
_COMMIT, _PENDING, _OWNER = "COMMIT", "PENDING", "config.json"
T = TypeVar("T")


class _File(TypedDict):
    size: json_files.Count  # bytes
    sha256: str


class _Commit(TypedDict):
    """The content of COMMIT."""

    fingerprint: str
    fields: dict[str, Any]
    files: dict[str, _File]


class _Pending(TypedDict):
    """The content of PENDING."""

    fingerprint: str


class _Config(TypedDict):
    """The one entry of config.json that is read again."""

    name: str


def fingerprint(task: str, fields: Mapping[str, Any], depends_on: Mapping[str, str]) -> str:
    """Compute a task's fingerprint, 16 hex digits.

    It is of the task's name, its config fields {name: value}, and {name: fingerprint} of the tasks
    whose files it reads.
    """
    text = json.dumps([FORMAT, task, dict(fields), dict(depends_on)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def is_done(directory: epath.Path, wanted: str) -> bool:
    """Tell whether the task with this fingerprint is there, complete and unaltered."""
    found = read(directory / _COMMIT, _Commit)
    return (
        found is not None
        and found["fingerprint"] == wanted
        and all(
            has_file(directory, name, file["size"]) and sha256(directory / name) == file["sha256"]
            for name, file in found["files"].items()
        )
    )


def changes(directory: epath.Path, fields: Mapping[str, Any]) -> list[str]:
    """Compare the fields with those the directory was last made with.

    Returns a line 'name: old -> new' for each field that differs.
    """
    found = read(directory / _COMMIT, _Commit)
    old = {} if found is None else found["fields"]
    new = json_files.decode(json.dumps(dict(fields)).encode(), loose=True)
    return [
        f"{name}: {old[name]} -> {new[name]}"
        for name in sorted(old.keys() & new.keys())
        if old[name] != new[name]
    ]


def begin(directory: epath.Path, wanted: str) -> None:
    """Make the directory ready for the task with this fingerprint.

    Files that an interrupted run of the same fingerprint left stay; no COMMIT stands. Everything
    else is removed: files of another fingerprint, and those of a finished task that no longer are
    as its COMMIT says.
    """
    pending = read(directory / _PENDING, _Pending)
    same = pending is not None and pending["fingerprint"] == wanted
    if not same or (directory / _COMMIT).exists():
        if directory.exists():
            directory.rmtree()
        directory.mkdir(parents=True)
        pending = _Pending(fingerprint=wanted)
        (directory / _PENDING).write_text(json.dumps(pending))


def commit(directory: epath.Path, wanted: str, fields: Mapping[str, Any]) -> None:
    """Declare the task done.

    COMMIT is written last of all, so that what is interrupted before is not taken for finished.
    """
    files = {str(path.relative_to(directory)): path for path in _walk(directory)}
    entries = {
        name: _File(size=path.stat().length, sha256=sha256(path))
        for name, path in sorted(files.items())
        if name not in (_COMMIT, _PENDING, f".{_COMMIT}.new")
    }
    done = _Commit(fingerprint=wanted, fields=dict(fields), files=entries)
    write(directory / _COMMIT, json.dumps(done, indent=1))


def claim(workdir: epath.Path, name: str, config_json: str) -> None:
    """Make workdir this experiment's, and write config.json.

    Raises UserError if it belongs to another experiment, or to one that config.json does not tell,
    or cannot be written.
    """
    path = workdir / _OWNER
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        if path.exists():
            advice = f"put it right, or choose another directory than --workdir={workdir}"
            owner = json_files.read(path, _Config, advice, loose=True)["name"]
            if owner != name:
                raise UserError(
                    f"--workdir={workdir} belongs to the experiment {owner[:80]!r}, not {name!r} "
                    "(config field name): choose another --workdir"
                )
        elif any(other.name != f".{path.name}.new" for other in workdir.iterdir()):
            raise UserError(
                f"--workdir={workdir} holds files that are not an experiment's (no config.json): "
                "choose an empty or new directory"
            )
        write(path, config_json)
    except OSError as error:
        raise UserError(
            f"--workdir={workdir} cannot be written ({error.strerror or error}): "
            "choose another --workdir"
        ) from error


def write(path: epath.Path | Path, text: str) -> None:
    """Replace a file whole: a reader, or a crash, meets the old text or the new one."""
    if (on_disk := local(path)) is not None:
        temporary = on_disk.with_name(f".{path.name}.new")
        # names of files may be in the text, whatever the locale
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(on_disk)
    else:
        path.write_text(text)  # an object of a bucket appears whole when its upload ends


def require_path(text: str, named: str) -> None:
    """Raise UserError for the text of a path that cannot be opened anywhere.

    These are the home directory of nobody, a kind of URL that is no file system, or a bucket whose
    package is not installed. Whether anything is there is not asked.

    named: what gave the path, such as '--workdir'; for the message.
    """
    if text.startswith("~") and os.path.expanduser(text) == text:
        user = text.partition("/")[0]
        raise UserError(f"{named}={text}: no user {user[1:]!r} is known here: write the whole path")
    scheme = text.partition("://")[0]
    if scheme == text or not scheme.isalnum():
        return
    try:
        path = epath.Path(text)
    except KeyError as error:
        raise UserError(
            f"{named}={text}: {scheme}:// is not read: download the file, and name that"
        ) from error
    try:
        path.exists()
    except ImportError as error:
        raise UserError(f"{named}={text}: {scheme}:// needs a package: {error}") from error
    except Exception:  # a network's: whoever opens the path says it
        return


def read(path: epath.Path | Path, schema: type[T]) -> T | None:
    """Read a JSON file that spares work; None where there is none, or anything else."""
    try:
        most = json_files.MOST_OF_LISTS
        return json_files.read(path, schema, "it is not used", most=most, loose=True)
    except UserError:
        return None


def has_file(directory: epath.Path | Path, name: str, size: int) -> bool:
    """Tell whether a file of this name and size in bytes is there; none has an impossible name."""
    path = epath.Path(directory) / name
    try:
        return path.is_file() and path.stat().length == size
    except ValueError:
        return False
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return False
        raise


def _walk(directory: epath.Path) -> Iterator[epath.Path]:
    for path in directory.iterdir():
        if path.is_dir():
            yield from _walk(path)
        else:
            yield path


def sha256(path: epath.Path) -> str:
    """Compute the SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        # epath's type for an open file says less than file_digest asks for
        return hashlib.file_digest(file, "sha256").hexdigest()  # pyright: ignore[reportArgumentType]
