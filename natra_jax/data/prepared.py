"""A data set that TensorFlow Datasets or `python -m natra_jax.data import` has prepared as ArrayRecord files: read without TensorFlow."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from natra_jax.data import labelling
from natra_jax.data.conventions import find_splits
from natra_jax.data.decoding import Preprocess
from natra_jax.data.encoded_images import Decoded, Encoded, Files, printable, typical_side
from natra_jax.data.folder import unlabelled_files
from natra_jax.data.records import FEATURES, IMAGE, INFO, Records, builder
from natra_jax.data.source import Source, Split
from natra_jax.data.splitting import complete, without_rare
from natra_jax.types import UserError

PREFIX = "tfds:"
_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")


def load(
    *, name: str, path: str, label: str, seed: int, resolution: int, channels: int, fit: str, validation_share: float, test_share: float,
    own_splits: bool, min_per_class: int, unlabelled: str, **_,
) -> Source:  # fmt: skip
    """The splits train, validation and test of the data set `name` below path where it has them, else stratified ones drawn from seed.

    label: the feature that is the label, or attributes, as `labelling.find` takes it; examples of which it is not known, that is below
    0, are left out. own_splits: False draws the splits anew from the images of all splits, whatever their names. min_per_class: labels
    of fewer images to train on (of fewer at all, where the splits are drawn) are left out; 0 keeps all and takes one without images to
    train on for a mistake. unlabelled: another split of the data set, or a folder of images; '' for none.
    Raises UserError, naming what there is, if path or label cannot be. No image is decoded, nor its head read: the importer has.
    """
    directory, form = str(find(path, name)), Preprocess(resolution, fit, channels)
    where, info = printable(directory), builder(directory).info
    task = labelling.find(info.features, label)
    names = _splits(list(info.splits), own_splits, unlabelled, where)
    others = _unlabelled(unlabelled, directory, list(info.splits), list(names.values()))
    image_features(info.features, where)

    records = {ours: Records(directory, theirs) for ours, theirs in names.items()}
    raw = {split: task.raw(found.numbers(task.features)) for split, found in records.items()}
    label_of, classes = labelling.labels(raw, task, min_per_class, where)
    splits = {}
    for split, found in records.items():
        known = np.flatnonzero(label_of[split] >= 0)
        if not len(known):
            raise UserError(
                f"{where}: no image of {names[split]} has a label that is trained on: set data.own_splits=False, or data.label"
            )
        chosen = found if len(known) == len(found) else found.select(known)
        splits[split] = Split(Decoded(chosen, form), label_of[split][known])
    splits, classes = without_rare(splits, classes, min_per_class, where)
    splits = complete(
        splits, classes, {"val_iid": validation_share, "test_iid": test_share}, seed, where
    )
    return Source(classes, splits, unlabelled=None if others is None else Decoded(others, form))


def find(path: str, name: str) -> Path:
    """The directory of the newest version of the data set `name` below path.

    name: as TensorFlow Datasets writes it, the configuration and the version behind it where there are several: lsun/cat, mnist/3.0.1.
    Raises UserError if it is not there, or only a part of it.
    """
    root = Path(path).expanduser().absolute()
    base = root / name
    if not path or not name or not base.is_dir():
        raise UserError(
            f"config field data.path is {path!r}: it must be the directory that has the prepared data set {name!r} in it: "
            f"python -m natra_jax.data import {name or 'NAME'} --source=ARCHIVES --dest=DIR makes one"
        )
    if _is_whole(base):
        return base
    by_config = {
        folder: _versions(folder)
        for folder in (base, *sorted(f for f in base.iterdir() if f.is_dir()))
    }
    found = {folder: versions for folder, versions in by_config.items() if versions}
    if not found:
        whole = f"{INFO} and {FEATURES} in a directory such as 1.0.0"
        raise UserError(
            f"{printable(base)}: holds no version that is whole ({whole}): import or prepare it again"
        )
    if len(found) > 1 and base not in found:
        named = ", ".join(f"{PREFIX}{name}/{folder.name}" for folder in found)
        raise UserError(
            f"{printable(base)}: has several configurations: set data.name to one of {named}"
        )
    return max(found.get(base) or next(iter(found.values())), key=_number)


def reopen(description: dict[str, Any]) -> Decoded:
    """Return the images that `Decoded.description` described: files, or records of a data set.

    Raise KeyError, TypeError or ValueError for what is no such description.
    """
    kinds = {"files": _files, "records": _records}
    return Decoded(kinds[description["kind"]](description), Preprocess(**description["form"]))


def _files(description: dict[str, Any]) -> Files:
    return Files(description["root"], description["names"])


def _records(description: dict[str, Any]) -> Records:
    rows = description["rows"]
    index = None if rows is None else np.asarray(rows, np.int64)
    return Records(description["directory"], description["split"], index)


def side(path: str, name: str) -> int:
    """The median of the shorter sides of some of its images, pixels. Raises UserError as `find` does."""
    directory = find(path, name)
    largest = max(builder(directory).info.splits.values(), key=lambda split: split.num_examples)
    return typical_side(Records(str(directory), largest.name))


def is_grey(path: str, name: str) -> bool:
    """Whether the data set's images have a single channel. Raises UserError as `find` does."""
    directory = find(path, name)
    features = builder(directory).info.features
    image_features(features, printable(directory))
    return features[IMAGE].shape[-1] == 1


def count(path: str, name: str) -> int:
    """Images in all splits of the data set. Raises UserError as `find` does."""
    return sum(split.num_examples for split in builder(find(path, name)).info.splits.values())


def card(path: str, name: str) -> str:
    """By which the data set is known again: a digest of what describes it, and of its files' names and sizes.

    Raises UserError as `find` does.
    """
    directory = find(path, name)
    digest = hashlib.sha256()
    for file in (INFO, FEATURES):
        digest.update((directory / file).read_bytes())
    with os.scandir(directory) as entries:
        for entry in sorted(
            (entry for entry in entries if ".array_record" in entry.name),
            key=lambda entry: entry.name,
        ):
            digest.update(f"\n{entry.name} {entry.stat().st_size}".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _versions(folder: Path) -> list[Path]:
    return [
        version
        for version in folder.iterdir()
        if _VERSION.fullmatch(version.name) and _is_whole(version)
    ]


def _is_whole(directory: Path) -> bool:
    return all((directory / file).is_file() for file in (INFO, FEATURES))


def _number(version: Path) -> tuple[int, ...]:
    return tuple(map(int, version.name.split(".")))


def _splits(there: list[str], own_splits: bool, unlabelled: str, where: str) -> dict[str, str]:
    """{our split: theirs}"""
    if not own_splits:
        return {"train": "+".join(name for name in there if name != unlabelled)}
    given = find_splits(there)
    if "train" not in given:
        raise UserError(
            f"{where}: has no split train, only {', '.join(there)}: set data.own_splits=False to draw one from these"
        )
    return given


def _unlabelled(
    unlabelled: str, directory: str, there: list[str], labelled: list[str]
) -> Encoded | None:
    if unlabelled not in there:
        return unlabelled_files(unlabelled) if unlabelled else None
    if unlabelled in labelled:
        raise UserError(
            f"config field data.unlabelled is {unlabelled!r}: that split is used with its labels: name another, or a folder"
        )
    return Records(directory, unlabelled)


def image_features(features: Any, where: str) -> Mapping[str, Any]:
    """Return the features by name. Raise UserError, naming `where`, if none is of images."""
    import tensorflow_datasets as tfds

    if IMAGE not in features or not isinstance(features[IMAGE], tfds.features.Image):
        raise UserError(
            f"{where}: has no feature {IMAGE!r} of images, only {', '.join(sorted(features))}"
        )
    return features
