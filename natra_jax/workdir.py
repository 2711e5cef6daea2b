"""Tasks that are done once: each writes into a directory of its own, and writes COMMIT last.

COMMIT names every file with its size and SHA-256, and the fingerprint of everything that the task
depends on: its config fields and the fingerprints of the tasks whose files it reads. While that
still holds, the task is skipped. PENDING carries the same fingerprint from the start, so that a
killed task continues from its own leftovers and never from another configuration's.

Directories may lie in a bucket: nothing here relies on renames, memory maps or file locks.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from etils import epath

from natra_jax.folder_links import NOTHING, Above, FolderLinks
from natra_jax.types import UserError

FORMAT = 2  # of the files in a work directory; another one makes all work new
_COMMIT, _PENDING = "COMMIT", "PENDING"


def fingerprint(task: str, fields: Mapping[str, Any], depends_on: Mapping[str, str]) -> str:
    """Compute a task's fingerprint, 16 hex digits.

    It is of the task's name, its config fields {name: value}, and {name: fingerprint} of the tasks
    whose files it reads.
    """
    text = json.dumps([FORMAT, task, dict(fields), dict(depends_on)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def is_done(directory: epath.Path, wanted: str) -> bool:
    """Tell whether the task with this fingerprint is there, complete and unaltered."""
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
    """Compare the fields with those the directory was last made with.

    Returns a line 'name: old -> new' for each field that differs.
    """
    old = read(directory / _COMMIT).get("fields", {})
    new = json.loads(json.dumps(dict(fields)))
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
    interrupted = (
        read(directory / _PENDING).get("fingerprint") == wanted
        and not (directory / _COMMIT).exists()
    )
    if not interrupted:
        _remove(directory)
        directory.mkdir(parents=True)
        (directory / _PENDING).write_text(json.dumps({"fingerprint": wanted}))


def _remove(directory: epath.Path) -> None:
    """Remove what stands in a task's place: of a link the link alone, not what it leads to."""
    on_disk = local(directory)
    if on_disk is not None and on_disk.parent.is_symlink() and not on_disk.parent.exists():
        raise UserError(
            f"{on_disk.parent}: is a link to nothing: bring back what it led to, or remove it"
        )
    if on_disk is not None and (on_disk.is_symlink() or on_disk.is_file()):
        on_disk.unlink()
    elif directory.exists():
        directory.rmtree()


def commit(directory: epath.Path, wanted: str, fields: Mapping[str, Any]) -> None:
    """Declare the task done.

    COMMIT is written last of all, so that what is interrupted before is not taken for finished.
    """
    files = {str(path.relative_to(directory)): path for path in _walk(directory, FolderLinks())}
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
    """Make workdir this experiment's, and write config.json.

    Raises UserError if it belongs to another experiment or cannot be written.
    """
    path = workdir / "config.json"
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        if path.exists():
            owner = read(path).get("name")
            if owner is None:
                raise UserError(
                    f"--workdir={workdir}: its config.json cannot be read, or is no experiment's: "
                    "choose another --workdir"
                )
            if owner != name:
                raise UserError(
                    f"--workdir={workdir} belongs to the experiment {owner!r}, not {name!r} "
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


def local(path: epath.Path | Path) -> Path | None:
    """Return the path as one of this machine's file system; None if it lies in a bucket."""
    return None if "://" in os.fspath(path) else Path(os.fspath(path))


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


def read(path: epath.Path | Path) -> dict[str, Any]:
    """Read the dictionary in a JSON file; {} where there is none, or something else."""
    try:
        loaded = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return loaded if isinstance(loaded, dict) else {}


def _walk(
    directory: epath.Path, links: FolderLinks, above: Above = NOTHING
) -> Iterator[epath.Path]:
    above = above if local(directory) is None else links.enter(directory, above)
    for path in directory.iterdir():
        if path.is_dir():
            yield from _walk(path, links, above)
        else:
            yield path


def sha256(path: epath.Path) -> str:
    """Compute the SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        # epath's type for an open file says less than file_digest asks for
        return hashlib.file_digest(file, "sha256").hexdigest()  # pyright: ignore[reportArgumentType]
