"""The layout of TensorFlow Datasets in ArrayRecord files, written without TensorFlow.

    DEST/NAME/1.0.0/features.json, dataset_info.json, NAME-SPLIT.array_record-00000-of-00163, …,
                    import.json, skipped.txt

`tensorflow_datasets.builder_from_directory(DEST/NAME/1.0.0).as_data_source(SPLIT)` reads it. An
import can be restarted: a shard appears whole, by a rename; dataset_info.json, without which
nothing reads the rest, comes last. What an unfinished import knows lies in .importing/ until then.
import.json tells of which source the import is.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

from natra_jax import workdir
from natra_jax.data.encoded_images import printable
from natra_jax.data.importing import records, shards
from natra_jax.data.importing.dataset import DataSet
from natra_jax.files import remedy
from natra_jax.json_files import Count
from natra_jax.printable import column
from natra_jax.types import UserError

_RECORD, _INFO, _SKIPPED = "import.json", "dataset_info.json", "skipped.txt"
_PENDING, _PLAN = ".importing", "plan.json"
_FORMAT = 1  # of what an import writes
_OTHERWISE = "choose another --name or --dest, or move it away"


class _Record(TypedDict):
    """The content of import.json."""

    plan: str  # as `_fingerprint` has it
    counts: dict[str, Count]  # split -> images
    skipped: Count
    sizes: dict[str, Count]  # file -> bytes


class _Plan(TypedDict):
    """The content of plan.json."""

    plan: str


class Written(NamedTuple):
    """A finished import."""

    directory: Path
    counts: dict[str, int]  # images by split
    skipped: int
    fresh: bool  # False: it was there already


def write(data: DataSet, name: str, dest: Path, log: Callable[[str], None] = print) -> Written:
    """Write the data set to dest/name/1.0.0, or what an interrupted import of it left to do.

    Args:
        data: the data set, open for reading.
        name: what it is to be called.
        dest: the directory of all data sets.
        log: takes lines of progress where stderr is no terminal.

    Raises:
        UserError: another data set is there, it cannot be written, or more than 1 % of the images
            are corrupt; then what was written so far stays, and cannot be taken for whole.
    """
    directory = dest / name / records.VERSION
    pending, plan = directory / _PENDING, _fingerprint(data, name)
    record = _finished(directory, plan)
    if fresh := record is None:
        _claim(directory, plan)
        wanted = shards.planned(data, name)
        record = _finish(
            data,
            name,
            directory,
            plan,
            wanted,
            shards.write(data, name, wanted, directory, pending, log),
        )
    shutil.rmtree(pending, ignore_errors=True)
    return Written(directory, record["counts"], record["skipped"], fresh)


def _fingerprint(data: DataSet, name: str) -> str:
    """Digest all that decides what is written; of the images, their names and stamps."""
    digest = hashlib.sha256()

    def add(value: Any) -> None:
        digest.update(json.dumps(value).encode() + b"\n")

    add([_FORMAT, name, shards.SIZE, data.features, data.channels, list(data.stamp)])
    for split, entries in data.splits.items():
        add([split, len(entries)])
        for entry in entries:
            add([entry.name, entry.facts, list(entry.stamp)])
    return digest.hexdigest()


def _finished(directory: Path, plan: str) -> _Record | None:
    """Return what is recorded of a finished import of this plan; None if there is none.

    Raise UserError if it is no longer whole.
    """
    record = workdir.read(directory / _RECORD, _Record)
    if record is None or record["plan"] != plan or not (directory / _INFO).exists():
        return None
    for file, size in record["sizes"].items():
        if not workdir.has_file(directory, file, size):
            raise UserError(
                f"{printable(directory / file[:200])}: is missing or not whole, though its import "
                f"was finished: remove {directory} and import again"
            )
    return record


def _claim(directory: Path, plan: str) -> None:
    """Make the directory this plan's. Raise UserError if it is another's, or cannot be made."""
    begun = directory / _PENDING / _PLAN
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if other := next(
            (path for path in sorted(directory.parent.iterdir()) if path != directory), None
        ):
            raise UserError(
                f"{other}: is there already, and not of this import: "
                "choose another --name or --dest"
            )
        if begun.exists():
            other_plan = workdir.read(begun, _Plan)
            if other_plan is None or other_plan["plan"] != plan:
                raise UserError(
                    f"{directory}: holds an unfinished import of another source, "
                    f"or of this one before it changed: {_OTHERWISE}"
                )
            return
        if any(path.name != _PENDING for path in directory.iterdir()):
            raise UserError(
                f"{directory}: holds another data set, "
                f"or this one from another source: {_OTHERWISE}"
            )
        begun.parent.mkdir(exist_ok=True)
        workdir.write(begun, json.dumps(_Plan(plan=plan)))
    except OSError as error:
        raise UserError(
            f"{directory}: cannot be written ({error.strerror or error}): "
            + remedy(error, "choose another --dest")
        ) from error


def _finish(
    data: DataSet,
    name: str,
    directory: Path,
    plan: str,
    wanted: list[shards.Shard],
    notes: list[shards.Note],
) -> _Record:
    """Write what describes the shards, dataset_info.json last; return the record of the import."""
    counts = {
        split: sum(
            note.count for shard, note in zip(wanted, notes, strict=True) if shard.split == split
        )
        for split in data.splits
    }
    skipped = [line for note in notes for line in note.skipped]
    if empty := next((split for split, count in counts.items() if not count), None):
        its = next(shard for shard in wanted if shard.split == empty)
        name, reason = notes[wanted.index(its)].skipped[0]
        raise UserError(
            f"{directory}: no image of the split {empty} can be used ({name}: {reason}): "
            "convert or mend them"
        )
    _write_skipped(directory / _SKIPPED, skipped)
    sizes = {shard.file: note.size for shard, note in zip(wanted, notes, strict=True)}
    record = _Record(plan=plan, counts=counts, skipped=len(skipped), sizes=sizes)
    workdir.write(directory / _RECORD, json.dumps(record, indent=1) + "\n")
    splits = {}
    for split in data.splits:
        its = [note for shard, note in zip(wanted, notes, strict=True) if shard.split == split]
        splits[split] = [note.count for note in its], sum(note.bytes for note in its)
    metadata = directory / _PENDING / "metadata"
    metadata.mkdir(exist_ok=True)
    records.write_metadata(metadata, directory, name, data.features, data.channels, splits)
    for path in sorted(metadata.iterdir(), key=lambda path: path.name == _INFO):
        path.replace(directory / path.name)
    return record


def _write_skipped(path: Path, skipped: list[list[str]]) -> None:
    """Write one line for each: its name, a tab, the reason. Write no file where there are none."""
    path.unlink(missing_ok=True)
    if skipped:
        lines = [f"{column(name)}\t{column(' '.join(why.split()))}\n" for name, why in skipped]
        workdir.write(path, "".join(lines))
