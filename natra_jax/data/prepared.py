"""A data set prepared as ArrayRecord files, read without TensorFlow.

TensorFlow Datasets has prepared it, or `python -m natra_jax.data import`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from natra_jax.data import labelling
from natra_jax.data.conventions import find_splits
from natra_jax.data.decoding import FITS, Preprocess
from natra_jax.data.descriptions import FEATURES, INFO, require_counts
from natra_jax.data.encoded_images import (
    Decoded,
    Encoded,
    Files,
    FilesDescription,
)
from natra_jax.data.folder import unlabelled_files
from natra_jax.data.records import (
    IMAGE,
    Records,
    RecordsDescription,
    builder,
)
from natra_jax.data.source import Source, Split
from natra_jax.data.splitting import complete, without_rare
from natra_jax.json_files import check
from natra_jax.printable import printable
from natra_jax.types import UserError

PREFIX = "tfds:"
_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")


class _Form(TypedDict):
    """The entry of `Decoded.description` that every kind has."""

    form: dict[str, Any]


def load(
    *,
    name: str,
    path: str,
    label: str,
    seed: int,
    resolution: int,
    channels: int,
    fit: str,
    validation_share: float,
    test_share: float,
    own_splits: bool,
    min_per_class: int,
    unlabelled: str,
    **_: Any,
) -> Source:
    """Return the splits of a prepared data set where it has them, else stratified ones.

    No image is decoded, nor its head read: the importer has.

    Args:
        name: of the data set, as `find` takes it.
        path: the directory that the data set lies in.
        label: the feature that is the label, or attributes, as `labelling.find` takes it. Examples
            of which it is not known, that is below 0, are left out.
        seed: of the splits that are drawn.
        resolution: pixels, H = W, that images are scaled to.
        channels: 3 for RGB, 1 for grey.
        fit: how an image is made square, as `decoding.Preprocess` has it.
        validation_share: the share of train that is drawn for val_iid, where that is missing.
        test_share: the share of train that is drawn for test_iid, where that is missing.
        own_splits: False draws the splits anew from the images of all splits, whatever their names.
        min_per_class: labels of fewer images in train, before missing splits are drawn from it,
            are left out; 0 keeps all and takes one without images to train on for a mistake.
        unlabelled: another split of the data set, or a folder of images; '' for none.

    Raises:
        UserError: path or label cannot be. The message names what there is.
    """
    directory, preprocess = str(find(path, name)), Preprocess(resolution, fit, channels)
    location, described = printable(directory), builder(directory)
    info = described.info
    task = labelling.find(info.features, label)
    names = _splits(list(info.splits), own_splits, unlabelled, location)
    others = _unlabelled(unlabelled, directory, list(info.splits), list(names.values()))
    image_features(info.features, location)

    records = {split: Records(directory, given) for split, given in names.items()}
    values = {split: task.values(found.numbers(task.features)) for split, found in records.items()}
    require_counts(directory, described)
    label_of, classes = labelling.labels(values, task, min_per_class, location)
    splits = {}
    for split, found in records.items():
        known = np.flatnonzero(label_of[split] >= 0)
        if not len(known):
            raise UserError(
                f"{location}: no image of {names[split]} has a label that is trained on: "
                "set data.own_splits=False, or data.label"
            )
        chosen = found if len(known) == len(found) else found.select(known)
        splits[split] = Split(Decoded(chosen, preprocess), label_of[split][known])
    shares = {"val_iid": validation_share, "test_iid": test_share}
    splits, classes = without_rare(splits, classes, min_per_class, location, shares)
    splits = complete(splits, classes, shares, seed, location)
    images = None if others is None else Decoded(others, preprocess)
    return Source(classes, splits, unlabelled=images)


def find(path: str, name: str) -> Path:
    """Return the directory of the newest version of the data set `name` below path.

    The name is as TensorFlow Datasets writes it, the configuration and the version behind it where
    there are several: lsun/cat, mnist/3.0.1. Raise UserError if it is not there, or only a part.
    """
    root = Path(path).expanduser().absolute()
    base = root / name
    if not path or not name or not os.path.isdir(base):  # False for a name that none can have
        _require_other_version(root, name, path)
        raise UserError(
            f"config field data.path is {path!r}: "
            f"it must be the directory that has the prepared data set {name!r} in it: "
            f"{_preparing(name)}"
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
            f"{printable(base)}: holds no version that is whole ({whole}): "
            "import or prepare it again"
        )
    if len(found) > 1 and base not in found:
        named = ", ".join(f"{PREFIX}{name}/{folder.name}" for folder in found)
        raise UserError(
            f"{printable(base)}: has several configurations: set data.name to one of {named}"
        )
    return max(found.get(base) or next(iter(found.values())), key=_number)


def _require_other_version(root: Path, name: str, path: str) -> None:
    """Raise UserError if the data set is there, but not in the version that its name asks for."""
    first, *rest = re.split("[/:]", name)
    if path and first.strip(".") and rest and os.path.isdir(root / first):
        there = sorted(folder.name for folder in (root / first).iterdir() if folder.is_dir())
        known = ", ".join(f"{PREFIX}{first}/{printable(other)}" for other in there[:3])
        raise UserError(
            f"config field data.name is {PREFIX + name!r}: {printable(root / first)} has no such "
            f"version: set it to {PREFIX}{first}" + (f", or one of {known}" if known else "")
        )


def _preparing(name: str) -> str:
    """Say by which command a data set of that name comes to this machine."""
    from natra_jax.data.importing import IMPORTERS, is_name

    first, start = re.split("[/:]", name)[0], "python -m natra_jax.data import"
    if first in IMPORTERS and first != "folder":
        return f"{start} {first} --source=DOWNLOADS --dest=DATA makes one"
    called = first if is_name(first) else "NAME"
    return (
        f"{start} folder --name={called} --source=PHOTOS --dest=DATA makes one of photos, "
        f"{start} {PREFIX}NAME --dest=DATA downloads one"
    )


def image_features(features: Any, location: str) -> Mapping[str, Any]:
    """Return the features of a prepared data set by name. Raise UserError if it has no images.

    features: as a builder of TensorFlow Datasets has them.
    """
    import tensorflow_datasets as tfds

    if IMAGE not in features or not isinstance(features[IMAGE], tfds.features.Image):
        raise UserError(
            f"{location}: has no feature {IMAGE!r} of images, only {', '.join(sorted(features))}"
        )
    return features


def reopen(description: dict[str, Any]) -> Decoded:
    """Return the images that `Decoded.description` described: files, or records of a data set.

    Raise ValueError for what is no such description.
    """
    form = check(check(description, _Form)["form"], Preprocess)
    if form.fit not in FITS or form.channels not in (1, 3):
        raise ValueError(f"form: there is no fit {form.fit[:80]!r} or {form.channels} channels")
    if description.get("kind") == "files":
        files = check(description, FilesDescription)
        return Decoded(Files(files["root"], files["names"]), form)
    records = check(description, RecordsDescription)
    rows = records["rows"]
    index = None if rows is None else np.asarray(rows, np.int64)
    return Decoded(Records(records["directory"], records["split"], index), form)


def _versions(folder: Path) -> list[Path]:
    """Return the directories of the versions in a folder that are whole."""
    return [
        version
        for version in folder.iterdir()
        if _VERSION.fullmatch(version.name) and _is_whole(version)
    ]


def _is_whole(directory: Path) -> bool:
    return all((directory / file).is_file() for file in (INFO, FEATURES))


def _number(version: Path) -> tuple[int, ...]:
    return tuple(map(int, version.name.split(".")))


def _splits(there: list[str], own_splits: bool, unlabelled: str, location: str) -> dict[str, str]:
    """Return {our split: the data set's}, of all splits that are there or of its own three."""
    if not own_splits:
        return {"train": "+".join(name for name in there if name != unlabelled)}
    given = find_splits(there)
    if "train" not in given:
        raise UserError(
            f"{location}: has no split train, only {', '.join(there)}: "
            "set data.own_splits=False to draw one from these"
        )
    return given


def _unlabelled(
    unlabelled: str, directory: str, there: list[str], labelled: list[str]
) -> Encoded | None:
    """Return the images without labels, of another split or a folder; None if none are wanted."""
    if unlabelled not in there:
        return unlabelled_files(unlabelled) if unlabelled else None
    if unlabelled in labelled:
        raise UserError(
            f"config field data.unlabelled is {unlabelled!r}: "
            "that split is used with its labels: name another, or a folder"
        )
    return Records(directory, unlabelled)
