"""CelebA-HQ: 30,000 faces of CelebA at up to 1024 px.

Karras et al. 2018, "Progressive Growing of GANs". The source is a .tar (data256x256.tar, as
TensorFlow Datasets wants it), a .zip, or a folder of .png, .jpg or .npy images whose names end in
their number; a directory that holds one such archive is taken for it. Beside it (or in Anno/ and
Eval/ beside it) may lie the publisher's image_list.txt, or CelebAMask-HQ's
CelebA-HQ-to-CelebA-mapping.txt, with columns idx, orig_idx and orig_file; with it CelebA's
list_attr_celeba.txt, identity_CelebA.txt and list_eval_partition.txt give each image its
attributes, identity and split.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from natra_jax.data.importing import containers, faces, images
from natra_jax.data.importing.dataset import DataSet, Entries, Entry, require_agreement
from natra_jax.types import UserError

PUBLISHER = (
    "CelebA-HQ, github.com/tkarras/progressive_growing_of_gans, "
    "or CelebAMask-HQ, mmlab.ie.cuhk.edu.hk/projects/CelebA/CelebAMask_HQ.html"
)
_MAPPINGS = ("image_list.txt", "CelebA-HQ-to-CelebA-mapping.txt")
_SUFFIXES = (".png", ".jpg", ".jpeg", ".npy")
_T = TypeVar("_T")


@contextlib.contextmanager
def opened(source: Path) -> Iterator[DataSet]:
    """Open CelebA-HQ.

    Its features are filename, identity (-1 where it is not known) and, where they are known,
    attributes {name: bool}. Without a mapping or a partition all images are in train. Raise
    UserError for what disagrees or is damaged.
    """
    place = _archive(source)
    beside = faces.directories(*([place.parent] if place.is_file() else [place, place.parent]))
    mapping_at = containers.look(beside, _MAPPINGS)
    found = {
        name: containers.look(beside, faces.names(name))
        for name in (faces.ATTRIBUTES, faces.IDENTITY, faces.PARTITION)
    }
    with containers.opened(place) as container:
        names = containers.by_basename(container, _SUFFIXES)
        if not names:
            raise UserError(
                f"{place}: holds no {', '.join(_SUFFIXES)} images: had from {PUBLISHER}"
            )
        notes = []
        if mapping_at is None:
            original, found = {}, dict.fromkeys(found)
            notes.append(
                "all images are in train, without attributes and identities, "
                f"since no {_MAPPINGS[0]} says which of CelebA they are"
            )
        else:
            original = _originals(mapping_at, names, place)
            notes.extend(
                f"no {name} beside the images: what it tells is left out"
                for name, path in found.items()
                if path is None
            )
        attributes = _told(found[faces.ATTRIBUTES], faces.attributes)
        identities = _told(found[faces.IDENTITY], faces.identities)
        partition = _told(found[faces.PARTITION], faces.partition)
        tables = (
            (faces.ATTRIBUTES, attributes and attributes.rows),
            (faces.IDENTITY, identities),
            (faces.PARTITION, partition),
        )
        for name, table in tables:
            if table is not None:  # of all CelebA, of which these images are some
                wanted = set(original.values())
                require_agreement(found[name], wanted & set(table), mapping_at, wanted)

        def entry(image: str) -> Entry:
            facts: dict[str, Any] = {
                "filename": image,
                "identity": -1 if identities is None else identities[original[image]],
            }
            if attributes is not None:
                facts["attributes"] = attributes.of(original[image])
            return Entry(
                names[image],
                facts,
                container.members[names[image]],
                images.from_npy if image.lower().endswith(".npy") else None,
            )

        ordered = sorted(names, key=lambda image: (_number(image) or 0, image))
        by_split = {"train": ordered}
        if partition is not None:
            by_split = {
                split: [image for image in ordered if partition[original[image]] == i]
                for i, split in enumerate(faces.SPLITS)
            }
        features: dict[str, Any] = {"filename": "text", "identity": "int64"}
        if attributes is not None:
            features["attributes"] = dict.fromkeys(attributes.names, "bool")
        splits = {split: Entries(chosen, entry) for split, chosen in by_split.items() if chosen}
        yield DataSet(features, splits, lambda entry: container.read(entry.name), notes=notes)


def _told(path: Path | None, read: Callable[[Path], _T]) -> _T | None:
    """Read a table where there is one."""
    return None if path is None else read(path)


def _archive(source: Path) -> Path:
    """Return the source itself, or the one archive that it holds."""
    containers.require(source, source if source.exists() else None, "images", PUBLISHER)
    if not source.is_dir():
        return source
    with containers.reading(source):
        archives = sorted(
            path
            for path in source.iterdir()
            if path.suffix.lower() in (".tar", ".zip") and path.is_file()
        )
    if len(archives) > 1:
        raise UserError(
            f"--source={source}: holds several archives: name one, such as --source={archives[0]}"
        )
    return archives[0] if archives else source


def _number(image: str) -> int | None:
    """Return the number with which a file's name ends, before its suffix."""
    found = re.search(r"(?<![0-9])([0-9]{1,18})\.\w+$", image)  # more digits count nothing
    return int(found[1]) if found else None


def _originals(path: Path, names: Mapping[str, str], place: Path) -> dict[str, str]:
    """Return {image: CelebA's file} by the mapping.

    Each row of it has to have an image, and each image a row; else raise UserError.
    """
    lines = containers.rows(path)
    _, header = next(lines, (1, []))
    if not {"idx", "orig_idx", "orig_file"} <= set(header):
        raise UserError(
            f"{path}: does not begin with the columns idx, orig_idx and orig_file, "
            "as the published mappings do"
        )
    at = [header.index(column) for column in ("idx", "orig_idx", "orig_file")]
    numbered: dict[int, str] = {}
    for image in names:
        number = _number(image)
        if number is None or number in numbered:
            why = (
                "does not end in its number"
                if number is None
                else f"has the same number as {numbered[number]}"
            )
            raise UserError(
                f"{place}: the image {image} {why}, so that {path.name} cannot say what it is"
            )
        numbered[number] = image
    listed: dict[int, str] = {}
    for line, words in lines:
        try:
            index, original_index, file = (words[i] for i in at)
            number = int(index)
            agrees = int(original_index) + 1 == _number(file)  # CelebA counts its files from 1
        except (ValueError, IndexError):
            number, file, agrees = -1, "", False
        if not agrees or number in listed:
            raise UserError(
                f"{path}: line {line} ({' '.join(words)[:60]}) "
                "is not an image of CelebA-HQ and one of CelebA, as the published mappings have it"
            )
        listed[number] = file
    require_agreement(path, {f"{i:05d}" for i in listed}, place, {f"{i:05d}" for i in numbered})
    return {image: listed[number] for number, image in numbered.items()}
