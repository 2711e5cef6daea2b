"""Files and archives as they were published, read without trust.

They are read within bounds, and nothing of an archive is written to disk.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import gzip
import io
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, NamedTuple

from natra_jax import shortage
from natra_jax.data import image_kinds
from natra_jax.data.conventions import is_left_by_systems
from natra_jax.data.importing.images import MOST_BYTES, Corrupt
from natra_jax.files import (
    Walk,
    open_file,
    read_bytes,
    read_within,
    reading,
    require_regular,
    twice,
)
from natra_jax.printable import reason
from natra_jax.types import UserError

_PART = 2**20  # bytes that are read at a time


class Container(NamedTuple):
    """A folder, zip or tar, open for reading in any order."""

    path: Path
    # name with '/' -> (size, CRC-32 of the content); hidden files are left out
    members: Mapping[str, tuple[int, ...]]
    read: Callable[[str], bytes]  # raises Corrupt


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Container]:
    """Open the files in path.

    Raise UserError if it cannot be read as a folder, .zip or uncompressed .tar.
    """
    with contextlib.ExitStack() as stack:
        if path.is_dir():
            yield _folder(path)
            return
        kind = _kind(path)
        if kind == "a zip archive" or (kind[:2] != "a " and path.suffix.lower() == ".zip"):
            yield _zip(path, stack)
        elif kind.startswith("a "):  # a tar may begin as text or BMP, with the name of a file
            raise UserError(
                f"{path}: is {kind}, no zip or uncompressed tar archive: "
                + ("unpack it and name the folder" if "archive" in kind else "name another file")
            )
        else:
            yield _tar(path, stack)


@contextlib.contextmanager
def parsing(path: Path, what: str, advice: str) -> Iterator[None]:
    """Raise UserError in one line for whatever a library raises of bytes it cannot make sense of.

    Args:
        path: of the file.
        what: it should be.
        advice: what to do.
    """
    try:
        yield
    except (UserError, Corrupt):
        raise
    except Exception as error:  # the archives' readers document few of the types that they raise
        if isinstance(error, OSError) and error.errno is not None:  # not a decompressor's
            with reading(path):
                raise
        shortage.require_none(error, str(path))
        raise UserError(f"{path}: is no whole {what} ({reason(error)}): {advice}") from error


def whole(path: Path, most: int = MOST_BYTES) -> bytes:
    """Return a file's bytes. Raise UserError for more than `most`, or if it cannot be read.

    Some programs unpack NAME.zip into a folder NAME of one file NAME: it is read too.
    """
    with reading(path):
        if path.is_dir() and (path / path.name).is_file():
            path = path / path.name
        if path.is_dir():
            raise UserError(f"{path}: is a folder, where a file of that name is wanted: move it")
        return read_bytes(path, most)


def expanded(path: Path) -> bytes:
    """Return a file's bytes, expanded if they are gzip's. Raise UserError for too many.

    Browsers unpack what they download and keep the name.
    """
    data = whole(path)
    if not data.startswith(b"\x1f\x8b"):
        return data
    parts, left = [], MOST_BYTES + 1
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
        try:
            while left and (part := file.read1(min(left, _PART))):
                parts.append(part)
                left -= len(part)
        except gzip.BadGzipFile as error:
            # other bytes behind the stream, which gunzip leaves alone too
            if not (parts and str(error).startswith("Not a gzipped file")):
                raise
    if not left:
        raise UserError(
            f"{path}: is larger than {MOST_BYTES} bytes when expanded: it is not what its name says"
        )
    return b"".join(parts)


def rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number from 1, words) of a table's lines that are not empty.

    Blanks, tabs or, where the first line has some, commas or semicolons separate the words. The
    text is UTF-8, or UTF-16 with a byte-order mark.
    """
    data = whole(path)
    kind = image_kinds.name(data[: image_kinds.HEAD])
    if kind.startswith("a "):
        raise UserError(f"{path}: is {kind}, where a table is wanted: put the table in its place")
    is_wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        lines = data.decode("utf-16" if is_wide else "utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: is no text in UTF-8 ({error.reason} at byte {error.start}): "
            "save it as text in UTF-8"
        ) from error
    first = next((line for line in lines if line.strip()), "")
    separator = next((mark for mark in ",;" if mark in first), None)
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        if separator is None:
            yield number, line.split()
        else:
            try:
                yield (
                    number,
                    [word.strip() for word in next(csv.reader([line], delimiter=separator))],
                )
            except csv.Error as error:
                raise UserError(
                    f"{path}: line {number} is no line of a table ({reason(error)})"
                ) from error


def look(directories: Sequence[Path], names: Sequence[str]) -> Path | None:
    """Return the first of the names that is in one of the directories; None for none."""
    for directory in directories:
        for name in names:
            with reading(directory / name):
                if (directory / name).exists():
                    return directory / name
    return None


def require(source: Path, path: Path | None, wanted: str, publisher: str) -> Path:
    """Return path, and raise UserError where there is none.

    Args:
        source: the directory that was looked in.
        path: what was found.
        wanted: the file, and where it was looked for.
        publisher: from whom the file is had.
    """
    if path is None and source.exists() and not source.is_dir():
        require_regular(source)
        raise UserError(
            f"--source={source}: is a file, not the directory that holds {wanted}: "
            "name the directory, and unpack the file if it is an archive"
        )
    if path is None:
        verb = "holds no" if source.exists() else "does not exist, and should hold"
        raise UserError(f"--source={source}: {verb} {wanted}: had from {publisher}")
    return path


def by_basename(container: Container, suffixes: Sequence[str]) -> dict[str, str]:
    """Return {file name: its name in the container} of the files with such suffixes.

    Raise UserError where two have the same.
    """
    found: dict[str, str] = {}
    for name in container.members:
        base = name.rsplit("/", 1)[-1]
        if base.lower().endswith(tuple(suffixes)):
            if base in found:
                raise UserError(
                    f"{container.path}: holds {base} twice, as {found[base]} and {name}: "
                    "move one away"
                )
            found[base] = name
    return found


def _kind(path: Path) -> str:
    """Return what a file is by its first bytes, '' for what is not known or not there."""
    with reading(path):
        if not path.exists():
            return ""
        with open_file(path) as file:
            return image_kinds.name(file.read(image_kinds.HEAD))


def _is_visible(name: str) -> bool:
    """Return whether a file lies in no folder that is hidden or a system's, nor is so itself."""
    return not any(is_left_by_systems(part) for part in name.split("/") if part not in (".", ".."))


def _listed(
    path: Path, members: Iterable[tuple[str, tuple[int, ...]]]
) -> dict[str, tuple[int, ...]]:
    """Return the members that are visible. Raise UserError for names that cannot be written."""
    listed: dict[str, tuple[int, ...]] = {}
    for name, stamp in members:
        if name in listed:
            raise UserError(
                f"{path}: holds {name} twice: unpack it, keep the one that is wanted, "
                "and name the folder"
            )
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise UserError(
                f"{path}: the file name {ascii(name)} is not in UTF-8: rename it"
            ) from error
        if _is_visible(name):
            listed[name] = stamp
    return listed


def _bounded(file: IO[bytes]) -> bytes:
    """Read a file. Raise Corrupt if it has more than MOST_BYTES."""
    if (data := read_within(file, MOST_BYTES)) is None:
        raise Corrupt(f"more than {MOST_BYTES} bytes")
    return data


def _stamp(file: IO[bytes]) -> tuple[int, int]:
    """Return (size, CRC-32) of a file: sizes alone do not tell images that changed places."""
    size = checksum = 0
    while part := file.read(_PART):
        size, checksum = size + len(part), zlib.crc32(part, checksum)
    return size, checksum


def _folder(path: Path) -> Container:
    def refuse(error: OSError) -> None:
        raise error

    def listed() -> Iterator[str]:
        walk = Walk(path)
        for directory, subdirectories, names in os.walk(path, onerror=refuse, followlinks=True):
            subdirectories[:] = sorted(name for name in subdirectories if _is_visible(name))
            if first := walk.visit(directory):
                if not Path(directory).is_relative_to(first):
                    raise twice(directory, first)
                subdirectories.clear()  # it leads back, to what is listed without it
                continue
            for name in names:
                file = Path(directory, name)
                if _is_visible(name) and stat.S_ISREG(file.stat().st_mode):
                    yield file.relative_to(path).as_posix()

    def stamp(name: str) -> tuple[int, int]:
        with reading(path / name), open_file(path / name) as file:
            return _stamp(file)

    def read(name: str) -> bytes:
        with reading(path / name), open_file(path / name) as file:
            return _bounded(file)

    with reading(path), ThreadPoolExecutor(os.cpu_count()) as pool:
        names = list(listed())
        return Container(path, _listed(path, zip(names, pool.map(stamp, names), strict=True)), read)


def _zip(path: Path, stack: contextlib.ExitStack) -> Container:
    with parsing(path, "zip archive", "download it again"):
        archive = stack.enter_context(zipfile.ZipFile(stack.enter_context(open_file(path))))
        infos = [
            info
            for info in archive.infolist()
            if info.filename and not info.is_dir() and not stat.S_ISLNK(info.external_attr >> 16)
        ]
    if locked := next((info for info in infos if info.flag_bits & 1), None):
        raise UserError(
            f"{path}: {locked.filename} is encrypted: unpack the archive and name the folder"
        )
    # LZMA allocates what the file asks for
    if odd := next((info for info in infos if info.compress_type == zipfile.ZIP_LZMA), None):
        raise UserError(
            f"{path}: {odd.filename} is compressed by LZMA: unpack the archive and name the folder"
        )

    def read(name: str) -> bytes:
        try:
            with archive.open(name) as file:
                return _bounded(file)
        except Corrupt:
            raise
        except EOFError as error:
            raise Corrupt(f"{error or 'ends too early'}") from error
        except Exception as error:
            if isinstance(error, OSError) and error.errno is not None:  # not a decompressor's
                with reading(path):
                    raise
            shortage.require_none(error, f"{path}: {name}")
            raise Corrupt(reason(error)) from error

    return Container(
        path, _listed(path, ((info.filename, (info.file_size, info.CRC)) for info in infos)), read
    )


def _tar(path: Path, stack: contextlib.ExitStack) -> Container:
    advice = "download it again, or unpack it and name the folder"
    infos: dict[str, tarfile.TarInfo] = {}
    stamps: dict[str, tuple[int, int]] = {}
    with parsing(path, "uncompressed tar archive", advice):
        archive = stack.enter_context(
            tarfile.TarFile(path, fileobj=stack.enter_context(open_file(path)))
        )
        for info in archive:  # links lead elsewhere, and are not followed
            file = archive.extractfile(info) if info.isreg() and not info.issparse() else None
            if file is not None:
                with file:
                    name = info.name.removeprefix("./")
                    infos[name], stamps[name] = info, _stamp(file)

    def read(name: str) -> bytes:
        with reading(path):
            try:
                file = archive.extractfile(infos[name])
                if file is None:
                    raise Corrupt("no file")
                with file:
                    return _bounded(file)
            except (Corrupt, OSError):
                raise
            except Exception as error:
                shortage.require_none(error, f"{path}: {name}")
                raise Corrupt(reason(error)) from error

    return Container(path, _listed(path, stamps.items()), read)
