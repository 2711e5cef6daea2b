"""A data set's records in files of about a thousand, each whole or not there."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from natra_jax import workdir
from natra_jax.data.importing import images, records
from natra_jax.data.importing.dataset import DataSet, Entry
from natra_jax.data.importing.images import Corrupt
from natra_jax.types import UserError

SIZE = 1000  # images in a shard, at most
_TOGETHER = 32  # images read before several threads decode them
_SAY = 10  # shards between two lines of progress
_Example = tuple[
    Entry, bytes | Corrupt
]  # with the bytes to store of its image, or with why there are none


class Shard(NamedTuple):
    """Entries [start, stop) of a split, and the file they go to."""

    split: str
    file: str
    start: int
    stop: int


class Note(NamedTuple):
    """What is in a shard that is written."""

    count: int
    bytes: int  # of its records
    size: int  # of its file
    skipped: list[list[str]]  # [name, reason]


def planned(data: DataSet, name: str) -> list[Shard]:
    """The shards of all splits: as many as the listed images need, so that their number is known before the corrupt ones are."""

    def of(split: str, count: int) -> Iterator[Shard]:
        total = -(-count // SIZE)
        for i in range(total):
            yield Shard(
                split,
                f"{name}-{split}.array_record-{i:05d}-of-{total:05d}",
                i * count // total,
                (i + 1) * count // total,
            )

    return [shard for split, entries in data.splits.items() for shard in of(split, len(entries))]


def write(
    data: DataSet,
    name: str,
    shards: list[Shard],
    directory: Path,
    pending: Path,
    say: Callable[[str], None],
) -> list[Note]:
    """Writes the shards that are missing into the directory; the notes of all. pending: where half written files and the notes lie.

    Raises UserError if the disk fails, or if more than 1 % of all images are corrupt.
    """
    from tqdm import tqdm

    total, terminal, notes, done, skipped = (
        sum(map(len, data.splits.values())),
        sys.stderr.isatty(),
        [],
        0,
        0,
    )
    serialize = records.serializer(data.features, data.channels)
    with (
        images.bounded(),
        ThreadPoolExecutor(os.cpu_count()) as pool,
        tqdm(total=total, desc=name, unit="image", disable=not terminal, leave=False) as bar,
    ):
        for i, shard in enumerate(shards, start=1):
            note = _note(directory / shard.file, pending)
            if note is not None:
                bar.update(shard.stop - shard.start)
            else:
                note = _write(
                    _counted(bar, _images(data, shard, pool)),
                    serialize,
                    pending / shard.file,
                    total,
                    skipped,
                )
                workdir.write(pending / f"{shard.file}.json", json.dumps(note._asdict()))
                (pending / shard.file).replace(directory / shard.file)
            notes.append(note)
            done += shard.stop - shard.start
            skipped += len(note.skipped)
            if not terminal and i % _SAY == 0:
                say(f"{name}: {done}/{total} images")
    return notes


def _note(path: Path, pending: Path) -> Note | None:
    """Of the shard at path; None if it is to be written."""
    try:
        note = Note(**json.loads((pending / f"{path.name}.json").read_text()))
        return note if path.stat().st_size == note.size else None
    except (OSError, ValueError, TypeError):
        return None


def _write(
    examples: Iterator[_Example],
    serialize: Callable[..., bytes],
    path: Path,
    total: int,
    before: int,
) -> Note:
    """One shard to path. total: images of the data set. before: how many of them were skipped before this shard."""
    from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter

    skipped: list[list[str]] = []
    count = size = 0
    with _disk(path):
        writer = ArrayRecordWriter(
            str(path), "group_size:1"
        )  # a group is what can be read by itself
    try:
        for entry, image in examples:
            if isinstance(image, Corrupt):
                skipped.append([entry.name, str(image)])
                _require_few(before + len(skipped), total, *skipped[0])
                continue
            record = serialize({"image": image, **entry.facts})
            with _disk(path):
                writer.write(record)
            count, size = count + 1, size + len(record)
    finally:
        with _disk(path):
            writer.close()
    with _disk(path):
        reader = ArrayRecordReader(str(path))
        stored = reader.num_records()
        reader.close()
        if stored != count:
            raise RuntimeError(f"{stored} of {count} records can be read")
    return Note(count, size, path.stat().st_size, skipped)


@contextlib.contextmanager
def _disk(path: Path) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # the one type that ArrayRecord has for all that a disk does
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{path}: cannot be written ({reason}): free some space, or choose another --dest"
        ) from error


def _require_few(skipped: int, total: int, name: str, reason: str) -> None:
    if 100 * skipped > total:
        raise UserError(
            f"{name}: is corrupt ({reason}), and with it more than 1 % of the {total} images: get the data set again, or mend them"
        )


def _counted(bar: Any, examples: Iterator[_Example]) -> Iterator[_Example]:
    for example in examples:
        yield example
        bar.update()


def _images(data: DataSet, shard: Shard, pool: ThreadPoolExecutor) -> Iterator[_Example]:
    entries = data.splits[shard.split]

    def read(entry: Entry) -> bytes | Corrupt:
        try:
            return data.read(entry)
        except Corrupt as error:
            return error

    def check(entry: Entry, image: bytes | Corrupt) -> bytes | Corrupt:
        if isinstance(image, Corrupt):
            return image
        try:
            if entry.pixels is not None:
                return images.png(entry.pixels(image))
            images.check(image)
            return image
        except Corrupt as error:
            return error

    for start in range(shard.start, shard.stop, _TOGETHER):
        together = [entries[i] for i in range(start, min(start + _TOGETHER, shard.stop))]
        # one thread reads, since archives and databases have one place at which they are read
        yield from zip(
            together, pool.map(check, together, [read(entry) for entry in together]), strict=True
        )
