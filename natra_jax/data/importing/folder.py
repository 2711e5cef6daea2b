"""A folder of images in subfolders, one a class; or such folders in train/, validation/ and test/.

Splits may be named as `conventions.SPLIT_NAMES` has it. The classes are the subfolders' names in
alphabetical order. Hidden files are left out.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from natra_jax.data import folder
from natra_jax.data.conventions import SPLIT_NAMES, class_name, split_of
from natra_jax.data.decoding import SUFFIXES
from natra_jax.data.importing import containers
from natra_jax.data.importing.dataset import DataSet, Entries, Entry
from natra_jax.types import UserError

_WANTED = (
    "put the images of each class into a folder of its name, "
    "and these below train, validation and test where there are such"
)


@contextlib.contextmanager
def opened(source: Path) -> Iterator[DataSet]:
    """Open a folder of images, as they are, with the features label and filename below the source.

    Raise UserError for what lies elsewhere than it should, for classes that cannot be, and for what
    `data.folder` refuses, which reads such a folder without an import.
    """
    if not source.is_dir():
        verb = "is a file" if source.exists() else "does not exist"
        raise UserError(f"--source={source}: {verb}: {_WANTED}")
    folder.listed(str(source))  # the container leaves out what is no file, whatever its name
    with containers.opened(source) as container:
        listed = {
            name: name.split("/") for name in container.members if name.lower().endswith(SUFFIXES)
        }
        others = [name for name in container.members if name not in listed]
        depth = _depth(source, listed)
        by_split = _by_split(source, listed, depth)
        _require_images(source, depth)
        category = {name: class_name(parts[-2]) for name, parts in listed.items()}
        held = {split: {category[name] for name in names} for split, names in by_split.items()}
        labels = {name: i for i, name in enumerate(sorted(set.union(*held.values())))}
        _require_classes(source, held, labels)

        def entry(name: str) -> Entry:
            features = {"label": labels[category[name]], "filename": name}
            return Entry(name, features, container.members[name])

        splits = {split: Entries(names, entry) for split, names in by_split.items()}
        notes = []
        if others:
            notes.append(
                f"{len(others)} files that are no images by their names are left out, "
                f"such as {min(others)}"
            )
        yield DataSet(
            {"label": list(labels), "filename": "text"},
            splits,
            lambda entry: container.read(entry.name),
            notes=notes,
        )


def _depth(source: Path, listed: dict[str, list[str]]) -> int:
    """Return 2 for CLASS/IMAGE, 3 for SPLIT/CLASS/IMAGE.

    Raise UserError with the first image that lies otherwise than the others.
    """
    if not listed:
        raise UserError(f"--source={source}: holds no images ({', '.join(SUFFIXES)}): {_WANTED}")

    def fits(parts: list[str], depth: int) -> bool:
        return len(parts) == depth and (depth == 2 or split_of(parts[0]) is not None)

    if whole := [depth for depth in (2, 3) if all(fits(parts, depth) for parts in listed.values())]:
        if whole[0] == 2 and all(split_of(parts[0]) is not None for parts in listed.values()):
            first = min(listed)
            raise UserError(
                f"{source / first}: lies in a folder of a split, but in none of a class: {_WANTED}"
            )
        return whole[0]
    depth = 3 if any(fits(parts, 3) for parts in listed.values()) else 2
    odd = min(name for name, parts in listed.items() if not fits(parts, depth))
    raise UserError(f"{source / odd}: is out of place: {_WANTED}")


def _by_split(source: Path, listed: dict[str, list[str]], depth: int) -> dict[str, list[str]]:
    """Return {split: the names of its images, in order}, of train, validation and test.

    Raise UserError where two folders are of one split.
    """
    if depth == 2:
        return {"train": sorted(listed)}
    by_split: dict[str, list[str]] = {}
    for split, (usual, *_) in SPLIT_NAMES.items():
        folders = sorted({parts[0] for parts in listed.values() if split_of(parts[0]) == split})
        if len(folders) > 1:
            raise UserError(
                f"--source={source}: holds both {folders[0]} and {folders[1]}: move one away"
            )
        if folders:
            by_split[usual] = sorted(name for name, parts in listed.items() if parts[0] in folders)
    return by_split


def _require_images(source: Path, depth: int) -> None:
    """Raise UserError for a folder of a class, or of a split, without images."""
    splits = [path for path in sorted(source.iterdir()) if path.is_dir() and split_of(path.name)]
    for root in splits if depth == 3 else [source]:
        folder.list_classes(root)


def _require_classes(source: Path, held: dict[str, set[str]], labels: dict[str, int]) -> None:
    """Raise UserError for a class that is not trained on, or with a name that no list can hold."""
    if odd := next(
        (name for name in labels if not name.strip() or len(name.splitlines()) > 1), None
    ):
        raise UserError(
            f"--source={source}: the class {odd!r} is not on one line: rename its folder"
        )
    for split, classes in held.items():
        if "train" in held and (more := classes - held["train"]):
            raise UserError(
                f"--source={source}: the class {min(more)} is in {split} and not in train"
            )
