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
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict, TypeVar

from etils import epath

from natra_jax import json_files
from natra_jax.files import below, local, open_file, reading, remedy, require_regular
from natra_jax.types import UserError

FORMAT = 2  # of the files in a work directory; another one makes all work new
LEASE = "lease.json"  # who writes into a work directory; see natra_jax.lease
_COMMIT, _PENDING = "COMMIT", "PENDING"
_CONFIG = "config.json"
# what a run that was killed as it began has left
_BEFORE_CONFIG = (LEASE, f".{LEASE}.new", f".{_CONFIG}.new")
_DEEPEST = 500  # folders in one another: Python makes each from within the making of the next
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
    as its COMMIT says. Raises UserError for leftovers that no run wrote.
    """
    pending = read(directory / _PENDING, _Pending)
    same = pending is not None and pending["fingerprint"] == wanted
    interrupted = same and not (directory / _COMMIT).exists()
    with reading(directory):
        if interrupted:
            _require_own_files(directory)
        else:
            _remove(directory)
    if not interrupted:
        directory.mkdir(parents=True)
        pending = _Pending(fingerprint=wanted)
        (directory / _PENDING).write_text(json.dumps(pending))


def _remove(directory: epath.Path) -> None:
    """Remove what stands in a task's place: of a link the link alone, not what it leads to."""
    on_disk = local(directory)
    if on_disk is not None and on_disk.parent.is_symlink() and not on_disk.parent.exists():
        raise UserError(
            f"{on_disk.parent}: is a link to nothing: bring back what it led to, or remove it"
        )
    if on_disk is not None and on_disk.is_symlink():
        on_disk.unlink()
    elif directory.is_dir():
        directory.rmtree()
    elif directory.exists():  # to remove a pipe as a tree would wait for its writer
        raise UserError(f"{directory}: is no folder, where one is wanted: move it away")


def commit(directory: epath.Path, wanted: str, fields: Mapping[str, Any]) -> None:
    """Declare the task done.

    COMMIT is written last of all, so that what is interrupted before is not taken for finished.
    """
    with reading(directory):
        files = {str(path.relative_to(directory)): path for path in below(directory)}
        entries = {
            name: _File(size=path.stat().length, sha256=sha256(path))
            for name, path in sorted(files.items())
            if name not in (_COMMIT, _PENDING, f".{_COMMIT}.new")
        }
    done = _Commit(fingerprint=wanted, fields=dict(fields), files=entries)
    write(directory / _COMMIT, json.dumps(done, indent=1))


def claim(workdir: epath.Path, name: str) -> None:
    """Make the directory, which then is this experiment's or holds nothing yet.

    Raises UserError if it belongs to another experiment, or to one that config.json does not tell,
    or cannot be written.
    """
    path = workdir / _CONFIG
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
        elif any(other.name not in _BEFORE_CONFIG for other in workdir.iterdir()):
            raise UserError(
                f"--workdir={workdir} holds files that are not an experiment's (no config.json): "
                "choose an empty or new directory"
            )
    except OSError as error:
        raise _unwritable(workdir, error) from error


def describe(workdir: epath.Path, config_json: str) -> None:
    """Write config.json. Raises UserError if it cannot be written."""
    try:
        write(workdir / _CONFIG, config_json)
    except OSError as error:
        raise _unwritable(workdir, error) from error


def _unwritable(workdir: epath.Path, error: OSError) -> UserError:
    return UserError(
        f"--workdir={workdir} cannot be written ({error.strerror or error}): "
        + remedy(error, "choose another --workdir")
    )


def write(path: epath.Path | Path, text: str) -> None:
    """Replace a file whole: a reader, or a crash, meets the old text or the new one."""
    if (on_disk := local(path)) is not None:
        temporary = on_disk.with_name(f".{path.name}.new")
        temporary.unlink(missing_ok=True)  # it may be a link to a file of the user's, or a pipe
        # names of files may be in the text, whatever the locale
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(on_disk)
    else:
        path.write_text(text)  # an object of a bucket appears whole when its upload ends


def require_path(text: str, named: str) -> None:
    """Raise UserError for the text of a path that cannot be opened anywhere.

    These are the home directory of nobody, a kind of URL that is no file system, a bucket whose
    package is not installed, or more folders in one another than Python makes at once. Whether
    anything is there is not asked.

    named: what gave the path, such as '--workdir'; for the message.
    """
    if text.startswith("~") and os.path.expanduser(text) == text:
        user = text.partition("/")[0]
        raise UserError(f"{named}={text}: no user {user[1:]!r} is known here: write the whole path")
    if (deep := text.count("/")) > _DEEPEST:
        raise UserError(
            f"{named}={text[:60]}...: is {deep} folders deep: choose a path of at most {_DEEPEST}"
        )
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
    """Tell whether a regular file of this name and size in bytes is there."""
    path = epath.Path(directory) / name
    try:
        require_regular(path)
        return path.stat().length == size
    except (ValueError, UserError, FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
            return False
        raise


def _require_own_files(directory: epath.Path) -> None:
    """Raise UserError for what a run would write through, or wait for: links, pipes, devices."""
    for path in below(directory):
        if (on_disk := local(path)) is not None and on_disk.is_symlink():
            raise UserError(f"{path}: is a link, where a file of this run is wanted: remove it")
        require_regular(path)


def sha256(path: epath.Path) -> str:
    """Compute the SHA-256 of a file, in hex."""
    with open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
