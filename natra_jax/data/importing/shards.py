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

from natra_jax import shortage, workdir
from natra_jax.data.importing import images, records
from natra_jax.data.importing.dataset import DataSet, Entry
from natra_jax.data.importing.images import Corrupt
from natra_jax.files import remedy
from natra_jax.json_files import Count
from natra_jax.printable import printable, reason
from natra_jax.types import UserError

SIZE = 1000  # images in a shard, at most
_TOGETHER = 32  # images read before several threads decode them
_LOG_EVERY = 10  # shards between two lines of progress
# with the bytes to store of its image, or with why there are none
_Example = tuple[Entry, bytes | Corrupt]


class Shard(NamedTuple):
    """Entries [start, stop) of a split, and the file they go to."""

    split: str
    file: str
    start: int
    stop: int


class Note(NamedTuple):
    """The content of a shard that is written."""

    count: Count
    bytes: Count  # of its records
    size: Count  # of its file
    skipped: list[list[str]]  # [name, reason]


def planned(data: DataSet, name: str) -> list[Shard]:
    """Return the shards of all splits, as many as the listed images need.

    So their number is known before the corrupt images are.
    """

    def shards_of(split: str, count: int) -> Iterator[Shard]:
        total = -(-count // SIZE)
        for i in range(total):
            yield Shard(
                split,
                f"{name}-{split}.array_record-{i:05d}-of-{total:05d}",
                i * count // total,
                (i + 1) * count // total,
            )

    return [
        shard for split, entries in data.splits.items() for shard in shards_of(split, len(entries))
    ]


def write(
    data: DataSet,
    name: str,
    shards: list[Shard],
    directory: Path,
    pending: Path,
    log: Callable[[str], None],
) -> list[Note]:
    """Write the shards that are missing.

    Args:
        data: the data set, open for reading.
        name: of the data set.
        shards: all of them.
        directory: of the shards that are whole.
        pending: the directory of half written files and of the notes.
        log: takes lines of progress where stderr is no terminal.

    Returns:
        The notes of all shards.

    Raises:
        UserError: the disk fails, or more than 1 % of all images are corrupt.
    """
    from tqdm import tqdm

    total, terminal = sum(map(len, data.splits.values())), sys.stderr.isatty()
    notes: list[Note] = []
    done = skipped = 0
    serialize = records.serializer(data.features, data.channels)
    shortage.require_threads(shortage.ARRAY_RECORD, f"the threads that write {directory}")
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
            if not terminal and i % _LOG_EVERY == 0:
                log(f"{name}: {done}/{total} images")
    return notes


def _note(path: Path, pending: Path) -> Note | None:
    """Return the note of the shard at path; None if the shard is to be written."""
    note = workdir.read(pending / f"{path.name}.json", Note)
    whole = note is not None and workdir.has_file(path.parent, path.name, note.size)
    return note if whole else None


def _write(
    examples: Iterator[_Example],
    serialize: Callable[..., bytes],
    path: Path,
    total: int,
    before: int,
) -> Note:
    """Write one shard to path.

    total: images of the data set. before: how many of them were skipped before this shard.
    """
    from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter

    skipped: list[list[str]] = []
    count = size = 0
    with _disk(path):
        # a group is what can be read by itself
        writer = ArrayRecordWriter(str(path), "group_size:1")
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
    """Raise UserError, naming the file, for what the disk does."""
    try:
        yield
    except RuntimeError as error:  # the one type that ArrayRecord has for all that a disk does
        raise UserError(
            f"{path}: cannot be written ({reason(error)}): "
            + remedy(error, "free some space, or choose another --dest")
        ) from error


def _require_few(skipped: int, total: int, name: str, reason: str) -> None:
    """Raise UserError if more than 1 % of the images are skipped."""
    if 100 * skipped > total:
        raise UserError(
            f"{printable(name)}: cannot be used ({reason}), and with it more than 1 % of the "
            f"{total} images: convert or mend them, or leave them out"
        )


def _counted(bar: Any, examples: Iterator[_Example]) -> Iterator[_Example]:
    """Yield the examples, and move the bar on after each."""
    for example in examples:
        yield example
        bar.update()


def _images(data: DataSet, shard: Shard, pool: ThreadPoolExecutor) -> Iterator[_Example]:
    """Yield the examples of a shard, their images read here and checked in the pool's threads."""
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
            return images.checked(image)
        except Corrupt as error:
            return error
        except (ValueError, MemoryError, OverflowError) as error:  # of the entry's own reader
            return Corrupt(reason(error))

    for start in range(shard.start, shard.stop, _TOGETHER):
        together = [entries[i] for i in range(start, min(start + _TOGETHER, shard.stop))]
        # one thread reads, since archives and databases have one place at which they are read
        yield from zip(
            together, pool.map(check, together, [read(entry) for entry in together]), strict=True
        )
