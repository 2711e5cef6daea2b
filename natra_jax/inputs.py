"""Files that a config names: known again by size and time of change, and read once a start.

A work directory remembers, in inputs.json, the SHA-256 of each such file, what generator a
checkpoint holds and the digest of a data set's files, so that a start that finds all work done
opens none of them.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypedDict, TypeVar

from etils import epath
from ml_collections import ConfigDict

from natra_jax import json_files, workdir
from natra_jax.data import contents
from natra_jax.files import Walk, local, reading
from natra_jax.generators import Card, build
from natra_jax.types import Generator, UserError
from natra_jax.weights import generator_config
from natra_jax.weights.families import Loaded

T = TypeVar("T")
_FILE = "inputs.json"
_SETTLED = 2_000_000_000  # ns


class _Entry(TypedDict):
    """The value that files have, and the stamps by which they are known."""

    files: Any
    value: Any


class Inputs:
    """The files that a config names, as one start sees them.

    Args:
      root: the work directory; None remembers nothing from one start to the next.
    """

    def __init__(self, root: epath.Path | None = None):
        self._path = None if root is None else root / _FILE
        found = None if self._path is None else workdir.read(self._path, dict[str, _Entry])
        self._known = found or {}
        self._seen: dict[str, _Entry] = {}
        self._read: dict[Any, Any] = {}

    def sha256(self, path: str | epath.Path, require: Callable[[Path], None] | None = None) -> str:
        """Return the SHA-256 of a file, or of the names and contents in a directory.

        require: raises UserError for a file of this machine that all is not to be read of.

        Raises UserError for one that cannot be read.
        """
        path = epath.Path(path).expanduser()
        with reading(path):
            on_disk = local(path)
            if require is not None and on_disk is not None and not on_disk.is_dir():
                require(on_disk)
            return self._sha256(path, Walk(path))

    def _sha256(self, path: epath.Path, walk: Walk) -> str:
        if path.is_dir():
            if first := walk.visit(path):
                return f"as {epath.Path(first).relative_to(walk.root)}"
            held = sorted((child.name, self._sha256(child, walk)) for child in path.iterdir())
            return hashlib.sha256(json.dumps(held).encode()).hexdigest()
        return self._remembered(f"sha256 {path}", [path], lambda: workdir.sha256(path), _is_digest)

    def digest(self, root: str, files: Sequence[contents.File]) -> str:
        """Return the digest of a data set's files (`contents.digest`), read where they changed."""
        # the inode's time, which no tool can set back
        newest = max((file.changed[1] for file in files), default=0)
        return self._known_by(
            f"contents {root}",
            contents.stamp(files),
            newest,
            lambda: contents.digest(root, files),
            _is_digest,
        )

    def generator(self, c: ConfigDict) -> Generator:
        """Return the generator that the config's section describes, without its parameters.

        Raises UserError, naming the field, if its checkpoint cannot be read or used.
        """
        if not generator_config.is_file(c):
            return generator_config.describe(c)
        path = epath.Path(generator_config.checkpoint(c)).expanduser()
        if not path.exists():
            self.checkpoint(c)  # says what is wrong with it
        key = f"generator {workdir.FORMAT} {path} {c.family}"

        def described() -> Card:
            loaded = self.checkpoint(c)
            return {"function": loaded.function, "arguments": dict(loaded.arguments)}

        with reading(path):
            files = sorted(path.iterdir()) if path.is_dir() else [path]
            found = self._remembered(key, files, described, _describes_generator)
        return generator_config.with_options(c, found["function"], found["arguments"])[0]

    def checkpoint(self, c: ConfigDict) -> Loaded:
        """Return what the checkpoint of the config's section generator holds, read once a start."""
        return self.once(_checkpoint_key(c), lambda: generator_config.read(c))

    def forget_checkpoint(self, c: ConfigDict) -> None:
        """Drop what `checkpoint` read: its parameters may be most of the memory."""
        self._read.pop(_checkpoint_key(c), None)

    def once(self, key: Any, read: Callable[[], T]) -> T:
        """Return what `read` returned when it was first called for this key at this start."""
        if key not in self._read:
            self._read[key] = read()
        return self._read[key]

    def save(self) -> None:
        """Remember in the work directory what this start saw."""
        if self._path is not None and self._seen != self._known:
            workdir.write(self._path, json.dumps(self._seen, indent=1) + "\n")

    def _remembered(
        self,
        key: str,
        files: Sequence[epath.Path],
        find: Callable[[], Any],
        is_sound: Callable[[Any], bool],
    ) -> Any:
        """Return the value of key while its files have the same size and time, else find it."""
        stamps = [[str(file), *_stamp(file)] for file in files if not file.is_dir()]
        newest = max((changed for _, _, changed, *_ in stamps), default=0)
        return self._known_by(key, stamps, newest, find, is_sound)

    def _known_by(
        self,
        key: str,
        stamps: Any,
        newest: int,
        find: Callable[[], Any],
        is_sound: Callable[[Any], bool],
    ) -> Any:
        """Return the value of key while the stamps of its files stay, else find it.

        Args:
          key: of the value.
          stamps: JSON values that change with the files.
          newest: the last change of any of the files, in ns.
          find: reads the files.
          is_sound: tells whether a remembered value can be one.
        """
        for known in (self._seen.get(key), self._known.get(key)):
            if known and known["files"] == stamps and is_sound(known["value"]):
                self._seen[key] = known
                return known["value"]
        value = find()
        # a change within the same tick of the clock would not show in the time
        if time.time_ns() - newest >= _SETTLED:
            self._seen[key] = {"files": stamps, "value": value}
        return value


def _checkpoint_key(c: ConfigDict) -> tuple[str, ...]:
    return "generator", generator_config.checkpoint(c), c.family


def _is_digest(found: object) -> bool:
    return isinstance(found, str) and re.fullmatch("[0-9a-f]{64}", found) is not None


def _describes_generator(found: object) -> bool:
    try:
        described = json_files.check(found, Card)
        build(described["function"], described["arguments"])
    except (ValueError, UserError):
        return False
    return True


def _stamp(file: epath.Path) -> tuple[int, ...]:
    """Return (bytes, time of change) of a file, and on disk its inode's time and number."""
    if (on_disk := local(file)) is not None:
        found = contents.file(file.name, on_disk.stat())
        return found.size, *found.changed
    status = file.stat()
    return status.length, int(status.mtime) * 1_000_000_000
