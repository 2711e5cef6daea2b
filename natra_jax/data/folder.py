"""A folder of photos: one subfolder a class, or such folders below train, validation and test.

    PATH/cat/1.jpg, PATH/cat/more/2.png, PATH/dog/1.webp, ...
or  PATH/train/cat/1.jpg, ..., PATH/test/cat/1.jpg, ...

Splits may be named as `conventions.SPLIT_NAMES` has it. Of validation and test, one that is missing
is drawn from train.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from natra_jax.data import contents
from natra_jax.data.conventions import SPLIT_NAMES, class_name, is_left_by_systems, split_of
from natra_jax.data.decoding import SUFFIXES, Preprocess
from natra_jax.data.encoded_images import Decoded, Files
from natra_jax.data.source import Source, Split
from natra_jax.data.splitting import complete, without_rare
from natra_jax.files import Walk, remedy
from natra_jax.printable import printable
from natra_jax.types import UserError

_NOT_READ = (".heic", ".heif", ".jxl", ".jp2", ".psd", ".dng")  # images too


class Listing(NamedTuple):
    """The image files of some classes, without a look into them."""

    files: Files
    label: np.ndarray  # [N] int32
    classes: tuple[str, ...]


def load(
    *,
    path: str,
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
    """Return the splits of a folder where it has them, else stratified ones.

    Args:
        path: the folder.
        seed: of the splits that are drawn.
        resolution: pixels, H = W, that images are scaled to.
        channels: 3 for RGB, 1 for grey.
        fit: how an image is made square, as `decoding.Preprocess` has it.
        validation_share: the share of train that is drawn for val_iid, where that is missing.
        test_share: the share of train that is drawn for test_iid, where that is missing.
        own_splits: False draws all splits anew from all images.
        min_per_class: classes of fewer images in train, before missing splits are drawn from it,
            are left out; 0 keeps every class and takes one without images for a mistake.
        unlabelled: a folder whose images, at any depth, are without labels; '' for none.

    Raises:
        UserError: there is nothing, fewer than two classes are left, or an image cannot be read.
            The message names the folder or the file.
    """
    root, preprocess = directory(path, "data.path"), Preprocess(resolution, fit, channels)
    others = Decoded(unlabelled_files(unlabelled), preprocess) if unlabelled else None
    folders, empty_too = _splits(root, unlabelled), min_per_class > 0
    for folder in folders.values() if unlabelled else ():
        if lies_in(folder, unlabelled) or lies_in(unlabelled, folder):
            raise UserError(
                f"config field data.unlabelled is {unlabelled!r}: "
                f"it overlaps with the labelled images in {printable(folder)}"
            )
    if own_splits:
        listings = {"train": list_classes(folders["train"], empty_too=empty_too)}
        classes = listings["train"].classes
        listings |= {
            name: list_classes(folder, classes, empty_too=empty_too)
            for name, folder in folders.items()
            if name != "train"
        }
    else:
        every = [list_classes(folder, empty_too=empty_too) for folder in folders.values()]
        listings = {"train": _pooled(root, every)}
    images = {name: Decoded(listing.files, preprocess) for name, listing in listings.items()}
    splits = {name: Split(images[name], listing.label) for name, listing in listings.items()}
    location = printable(folders["train"] if own_splits else root)
    shares = {"val_iid": validation_share, "test_iid": test_share}
    splits, classes = without_rare(
        splits, listings["train"].classes, min_per_class, location, shares
    )
    splits = complete(splits, classes, shares, seed, location)
    for split in splits.values():
        if isinstance(split.image, Decoded):
            split.image.check()
    if others is not None:
        others.check()
    return Source(classes, splits, unlabelled=others)


def list_classes(
    root: Path | str, classes: Sequence[str] | None = None, *, empty_too: bool = False
) -> Listing:
    """List the images below root by class, in the order of their names.

    A class is a folder below root with images at any depth.

    Args:
        root: the folder of all classes.
        classes: those that there may be, where they are known; then a folder at any depth that is
            named so begins a class.
        empty_too: a class may be without images.

    Raises:
        UserError: a folder has no images, or is none of the classes. The message names it.
    """
    root = str(root)
    if classes is None:
        names, loose = _scan(root)
        if not names:
            found = (
                f"image files but no subfolders, such as {printable(loose[0].name)}"
                if loose
                else "no subfolders"
            )
            raise UserError(
                f"{printable(root)}: has {found}: "
                "put the images of each class into a folder of its own"
            )
        _require_none(root, loose)
        folders = [(_class_name(name), name) for name in names]
        classes = tuple(dict.fromkeys(name for name, _ in folders))
    else:
        folders = _known(root, "", frozenset(classes), Walk(printable(root)))
    number = {name: i for i, name in enumerate(classes)}
    files: list[str] = []
    labels: list[int] = []
    for name, folder in folders:
        images = _names(os.path.join(root, folder))
        if not images and not empty_too:
            raise UserError(
                f"{printable(os.path.join(root, folder))}: no images ({', '.join(SUFFIXES)}) "
                f"of class {name!r}: add some, or move the folder away"
            )
        files += [os.path.join(folder, image) for image in images]
        labels += [number[name]] * len(images)
    if not files:
        raise UserError(
            f"{printable(root)}: no images ({', '.join(SUFFIXES)}) in folders of the classes: "
            "add some, or move it away"
        )
    return Listing(Files(root, files), np.array(labels, np.int32), tuple(classes))


def directory(path: str, field: str) -> str:
    """Return the path of a folder, absolute. Raise UserError, naming the config field, for none."""
    if not path or not os.path.isdir(_expanded(path)):
        wanted = (
            "a folder with one subfolder of images for each class"
            if field == "data.path"
            else "a folder of images"
        )
        raise UserError(f"config field {field} is {path!r}: it must be {wanted}")
    return _expanded(path)


def listed(path: str, field: str = "data.path") -> list[contents.File]:
    """Return every image at any depth below path, in the order of the names.

    Each folder is read once, and no file is opened. Raise UserError, naming the config field, if
    path is no folder.
    """
    return _images(directory(path, field))


def unlabelled_files(path: str) -> Files:
    """Return the images at any depth below path, which config field data.unlabelled holds.

    Raise UserError if there are none.
    """
    root = directory(path, "data.unlabelled")
    if not (names := _names(root)):
        raise UserError(
            f"config field data.unlabelled is {path!r}: no images there ({', '.join(SUFFIXES)})"
        )
    return Files(root, names)


def _splits(root: str, unlabelled: str) -> dict[str, str]:
    """Return {split: its folder} below root; {"train": root} where root holds nothing but classes.

    A class may be called train: then it holds images and no folders, as the classes beside it do.
    Raise UserError for images beside the splits, but for those in the folder `unlabelled`, and for
    two folders of one split.
    """
    names, loose = _scan(root)
    named: dict[str, list[str]] = {}
    for name in names:
        if split := split_of(name):
            named.setdefault(split, []).append(os.path.join(root, name))
    if not named:
        return {"train": root}
    of_splits = [folder for folders in named.values() for folder in folders]
    beside = [
        folder
        for folder in (os.path.join(root, name) for name in names)
        if folder not in of_splits
        and not (unlabelled and lies_in(unlabelled, folder))
        and _images(folder)
    ]
    if beside and not any(_scan(folder)[0] for folder in of_splits):
        return {"train": root}
    given = {split: _only(root, named[split]) for split in SPLIT_NAMES if split in named}
    if "train" not in given:
        there = ", ".join(os.path.basename(folder) for folder in given.values())
        raise UserError(
            f"{printable(root)}: has {there} but no folder train: add it, "
            "or rename these if they are classes"
        )
    _require_none(root, loose)
    if beside:
        usual = ", ".join(names[0] for names in SPLIT_NAMES.values())
        raise UserError(
            f"{printable(beside[0])}: has images, but is none of {usual}: "
            "rename it, or move it away"
        )
    return given


def _only(root: str, folders: Sequence[str]) -> str:
    """Return the folder of a split: of several the one with images. Raise UserError for two."""
    filled = [folder for folder in folders if _images(folder)] if len(folders) > 1 else folders
    if len(filled) > 1:
        both = " and ".join(printable(os.path.basename(folder)) for folder in filled[:2])
        raise UserError(
            f"{printable(root)}: holds both {both}, which are of one split: move one away"
        )
    return (filled or folders)[0]


def _pooled(root: str, listings: Sequence[Listing]) -> Listing:
    """Return all listings as one, of files below root."""
    classes = tuple(sorted(set().union(*(listing.classes for listing in listings))))
    number = {name: i for i, name in enumerate(classes)}
    labels = [
        np.array([number[name] for name in listing.classes], np.int32)[listing.label]
        for listing in listings
    ]
    names: list[str] = []
    for listing in listings:
        below = os.path.relpath(listing.files.root, root)
        names += [os.path.normpath(os.path.join(below, name)) for name in listing.files.names]
    return Listing(Files(root, names), np.concatenate(labels), classes)


def _known(root: str, below: str, classes: frozenset[str], walk: Walk) -> list[tuple[str, str]]:
    """Return (class, folder relative to root) of folders at any depth that are named as classes.

    Folders within such ones are left out. Raise UserError for one that is no class and holds none.
    """
    found: list[tuple[str, str]] = []
    place = _joined(root, below)
    names, loose = _entered(walk, place)
    for name in names:
        folder = os.path.join(below, name)
        if _class_name(name) in classes:
            found.append((_class_name(name), folder))
        elif inner := _known(root, folder, classes, walk):
            found += inner
        else:
            some = ", ".join(sorted(classes)[:3])
            raise UserError(
                f"{printable(os.path.join(root, folder))}: is none of the training classes "
                f"({some}, ...), and holds none: rename it, or move it away"
            )
    if found or not below:
        _require_none(place, loose)
    return found


def _class_name(folder: str) -> str:
    """Return the class that a folder is of, as it can be written."""
    return printable(class_name(folder))


def _require_none(root: str, loose: Sequence[contents.File]) -> None:
    """Raise UserError, naming the first, for images that lie beside the folders of classes."""
    if loose:
        raise UserError(
            f"{printable(os.path.join(root, loose[0].name))}: an image beside the folders: "
            "move it into that of its class, or elsewhere"
        )


def lies_in(inner: str, outer: str) -> bool:
    """Return whether the folder inner is outer, or lies in it, once links are followed."""
    inner, outer = (os.path.realpath(_expanded(path)) for path in (inner, outer))
    return os.path.commonpath([inner, outer]) == outer


def _joined(root: str, below: str) -> str:
    return os.path.join(root, below) if below else root


def _expanded(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path))


def _names(root: str) -> list[str]:
    """Return the names of the images at any depth below root, relative to it, in order."""
    return [image.name for image in _images(root)]


def _images(root: str) -> list[contents.File]:
    """Return the images at any depth, their names relative to root, in order of the names.

    Links are followed. Raise UserError for a folder that is there twice, by a link.
    """
    found: list[contents.File] = []
    walk, waiting = Walk(printable(root)), [""]
    while waiting:
        below = waiting.pop()
        folder = _joined(root, below)
        folders, images = _entered(walk, folder)
        found += [image._replace(name=os.path.join(below, image.name)) for image in images]
        waiting += [os.path.join(below, name) for name in folders]
    return sorted(found)


def _entered(walk: Walk, folder: str) -> tuple[list[str], list[contents.File]]:
    """Return what `_scan` does of a folder that the walk has not been in. Raise UserError if so."""
    with _reading(folder):
        walk.enter(folder, printable(folder))
    return _scan(folder)


def _scan(folder: str) -> tuple[list[str], list[contents.File]]:
    """Return the names of the folders, and the images, in a folder, in order of the names.

    Raise UserError for what has an image's name and is no file, or is of a kind that is not read.
    """
    folders: list[str] = []
    images: list[contents.File] = []
    with _reading(folder), os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            if is_left_by_systems(name):
                continue
            if entry.is_dir():
                folders.append(name)
            elif name.lower().endswith(SUFFIXES):
                if not entry.is_file():
                    raise UserError(
                        f"{printable(entry.path)}: is a link to nothing, or no file: "
                        "put an image in its place, or move it away"
                    )
                images.append(contents.file(name, entry.stat()))
            elif name.lower().endswith(_NOT_READ):
                raise UserError(
                    f"{printable(entry.path)}: images of its kind are not read: "
                    "convert it to PNG or JPEG, or move it away"
                )
    return sorted(folders), sorted(images)


@contextlib.contextmanager
def _reading(folder: str) -> Iterator[None]:
    """Raise UserError in one line for why a folder cannot be read."""
    try:
        yield
    except OSError as error:
        usual = "change its permissions" if isinstance(error, PermissionError) else "check the path"
        advice = remedy(error, usual)
        raise UserError(
            f"{printable(error.filename or folder)}: cannot be read ({error.strerror}): {advice}"
        ) from error
