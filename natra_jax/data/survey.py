"""The sources of data, and what is asked of their data before any are loaded.

from natra_jax.data.survey import survey
found = survey(config.data)
assert found.count == 1797 and found.resolution == 16  # of the digits
"""

from __future__ import annotations

import hashlib
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from natra_jax.data import (
    arrays,
    contents,
    decoding,
    digits,
    digits_on_photos,
    folder,
    photographs,
    prepared,
)
from natra_jax.data.decoding import SUFFIXES
from natra_jax.data.descriptions import FEATURES, INFO
from natra_jax.data.encoded_images import Files, typical_side
from natra_jax.data.records import IMAGE, Records, builder
from natra_jax.data.source import Source
from natra_jax.printable import printable
from natra_jax.types import UserError

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

_SUITABLE = ((2_000, 32), (20_000, 64))  # fewer images than this can train so many pixels
_SMALLEST, _LARGEST = 8, 128  # pixels
_MOST_LOOKED_AT = 20_000  # images whose heads are read for their colour
_CHUNK = 512  # images that are hashed at a time


class Survey(ABC):
    """What is known of data before they are loaded.

    Nothing is read before it is asked for, and each folder is listed once, whatever is asked.
    """

    resolution: int | None = None  # pixels, where the source itself fixes them
    channels: int | None = None  # likewise

    @property
    @abstractmethod
    def identity(self) -> dict[str, str]:
        """The digest by which the data are known again, beside their config section."""

    @property
    @abstractmethod
    def count(self) -> int:
        """The number of images in the data set and, without labels, beside it."""

    @abstractmethod
    def typical_side(self) -> int:
        """Return the median of the shorter sides of some images, in pixels."""

    @abstractmethod
    def is_grey(self) -> bool:
        """Return whether no image has colour."""

    def suitable_resolution(self) -> int:
        """Return the resolution of a generator that can be trained on so many images of this size.

        It is at most the next power of two to the images' own side.
        """
        pixels = next((pixels for most, pixels in _SUITABLE if self.count < most), _LARGEST)
        return max(_SMALLEST, min(pixels, 1 << (self.typical_side() - 1).bit_length()))


class DigitsSurvey(Survey):
    """The colour digits, which are the same everywhere."""

    resolution, channels = digits.RESOLUTION, 3

    def __init__(self, c: ConfigDict, digest: contents.Digest = contents.digest) -> None:
        """Take the config's section `data`."""

    @property
    def identity(self) -> dict[str, str]:
        return {}

    @property
    def count(self) -> int:
        return digits.COUNT

    def typical_side(self) -> int:
        return digits.RESOLUTION

    def is_grey(self) -> bool:
        return False


class DigitsOnPhotosSurvey(Survey):
    """The digits on photographs, which packages carry."""

    resolution, channels = digits_on_photos.RESOLUTION, 3

    def __init__(self, c: ConfigDict, digest: contents.Digest = contents.digest) -> None:
        """Take the config's section `data`."""

    @property
    def identity(self) -> dict[str, str]:
        return {"files": photographs.identity()}

    @property
    def count(self) -> int:
        return digits_on_photos.COUNT

    def typical_side(self) -> int:
        return digits_on_photos.RESOLUTION

    def is_grey(self) -> bool:
        return False


class FolderSurvey(Survey):
    """A folder of photos and perhaps another of photos without labels, by their files."""

    def __init__(self, c: ConfigDict, digest: contents.Digest = contents.digest) -> None:
        """Take the config's section `data`, and how the content of files is told apart."""
        self._path, self._unlabelled, self._digest = c.path, c.unlabelled, digest

    @cached_property
    def _labelled_files(self) -> list[contents.File]:
        return folder.listed(self._path)

    @cached_property
    def _unlabelled_files(self) -> list[contents.File]:
        return folder.listed(self._unlabelled, "data.unlabelled") if self._unlabelled else []

    @cached_property
    def identity(self) -> dict[str, str]:
        # the unlabelled first: where both folders are missing, that is what is said
        unlabelled = self._unlabelled_files
        labelled = self._labelled_files
        digests = [self._digest(folder.directory(self._path, "data.path"), labelled)]
        if self._unlabelled:
            root = folder.directory(self._unlabelled, "data.unlabelled")
            digests.append(self._digest(root, unlabelled))
        return {"files": hashlib.sha256(json.dumps(digests).encode()).hexdigest()}

    @cached_property
    def count(self) -> int:
        return len(self._labelled_files) + len(self._unlabelled_files)

    def typical_side(self) -> int:
        files = self._files()
        if not files.names:
            raise UserError(f"{printable(files.root)}: no images ({', '.join(SUFFIXES)}): add some")
        return typical_side(files)

    def is_grey(self) -> bool:
        files = self._files()
        return 0 < len(files) <= _MOST_LOOKED_AT and all(
            decoding.is_grey(files.read(i)) for i in range(len(files))
        )

    def _files(self) -> Files:
        names = [file.name for file in self._labelled_files]
        return Files(folder.directory(self._path, "data.path"), names)


class PreparedSurvey(Survey):
    """A prepared data set, by what describes it and by its files."""

    def __init__(self, c: ConfigDict, digest: contents.Digest = contents.digest) -> None:
        """Take the config's section `data`, and how the content of files is told apart."""
        self._path, self._name = c.path, c.name.partition(":")[2]
        self._unlabelled, self._digest = c.unlabelled, digest

    @cached_property
    def _directory(self) -> Path:
        return prepared.find(self._path, self._name)

    @cached_property
    def _info(self) -> tfds.core.DatasetInfo:
        return builder(self._directory).info

    @cached_property
    def identity(self) -> dict[str, str]:
        with os.scandir(self._directory) as entries:
            files = [
                contents.file(entry.name, entry.stat())
                for entry in entries
                if entry.is_file() and _describes_or_holds(entry.name)
            ]
        found = {"card": self._digest(str(self._directory), sorted(files))}
        if self._unlabelled and self._unlabelled not in self._info.splits:
            root = folder.directory(self._unlabelled, "data.unlabelled")
            listed = folder.listed(self._unlabelled, "data.unlabelled")
            found["files"] = self._digest(root, listed)
        return found

    @cached_property
    def count(self) -> int:
        return sum(split.num_examples for split in self._info.splits.values())

    def typical_side(self) -> int:
        largest = max(self._info.splits.values(), key=lambda split: split.num_examples)
        return typical_side(Records(str(self._directory), largest.name))

    def is_grey(self) -> bool:
        features = prepared.image_features(self._info.features, printable(self._directory))
        return features[IMAGE].shape[-1] == 1


class ArraysSurvey(Survey):
    """Arrays that are handed over in Python, by all that is in them."""

    def __init__(
        self,
        c: ConfigDict,
        digest: contents.Digest = contents.digest,
        source: Source | None = None,
    ) -> None:
        """Take the arrays that were handed over.

        Without them everything but the identity raises UserError.
        """
        self._handed_over = source
        if source is not None:
            _, self.resolution, _, self.channels = source.splits["train"].image.shape

    @cached_property
    def identity(self) -> dict[str, str]:
        source = self._handed_over
        if source is None:
            return {}
        digest = hashlib.sha256(json.dumps(source.classes).encode())
        images = {name: split.image for name, split in source.splits.items()}
        images |= {} if source.unlabelled is None else {"unlabelled": source.unlabelled}
        for name, split in source.splits.items():
            digest.update(name.encode() + np.ascontiguousarray(split.label).tobytes())
        for name, array in images.items():
            digest.update(f"{name} {tuple(array.shape)}".encode())
            for i in range(0, len(array), _CHUNK):
                digest.update(np.ascontiguousarray(array[i : i + _CHUNK]).tobytes())
        return {"arrays": digest.hexdigest()}

    @property
    def count(self) -> int:
        source = self._source
        unlabelled = 0 if source.unlabelled is None else len(source.unlabelled)
        return unlabelled + sum(len(split.label) for split in source.splits.values())

    def typical_side(self) -> int:
        return self._source.splits["train"].image.shape[1]

    def is_grey(self) -> bool:
        return self._source.splits["train"].image.shape[3] == 1

    @property
    def _source(self) -> Source:
        if self._handed_over is None:
            raise UserError(arrays.NOT_HANDED_OVER)
        return self._handed_over


class DataSource(NamedTuple):
    """A source of data, as config field data.name names it."""

    load: Callable[..., Source]  # takes the fields of the section `data`; name: behind the colon
    # takes the section `data`, and how the content of files is told apart
    survey: Callable[[ConfigDict, contents.Digest], Survey]
    scales: bool = False  # images come in any size and are scaled to data.resolution by data.fit
    takes_name: bool = False  # is written with the name of a data set behind it: tfds:NAME
    reads_path: bool = False  # the data lie at data.path
    # its images are made here, and the labels of the generator's domain are known
    renders: bool = False


SOURCES = {
    "digits": DataSource(digits.load, DigitsSurvey, renders=True),
    "digits_on_photos": DataSource(digits_on_photos.load, DigitsOnPhotosSurvey, renders=True),
    "folder": DataSource(folder.load, FolderSurvey, scales=True, reads_path=True),
    "tfds": DataSource(
        prepared.load, PreparedSurvey, scales=True, takes_name=True, reads_path=True
    ),
    "arrays": DataSource(arrays.load, ArraysSurvey),
}


def _describes_or_holds(name: str) -> bool:
    """Return whether a file of a prepared data set decides what its examples are."""
    return name in (INFO, FEATURES) or name.endswith(".labels.txt") or ".array_record" in name


def source_of(name: str) -> DataSource:
    """Return the source that config field data.name names. Raise UserError if there is none."""
    key, colon, data_set = name.partition(":")
    found = SOURCES.get(key)
    if found is None or bool(colon) != found.takes_name or bool(data_set) != found.takes_name:
        names = ", ".join(source_names())
        raise UserError(f"config field data.name is {name!r}: it must be one of {names}")
    return found


def source_names() -> list[str]:
    """Return what config field data.name may be: NAME stands for the name of a data set."""
    return [f"{key}:NAME" if source.takes_name else key for key, source in SOURCES.items()]


def survey(
    c: ConfigDict, source: Source | None = None, digest: contents.Digest = contents.digest
) -> Survey:
    """Return the survey of the data that the config names, or of those handed over in Python.

    Args:
        c: the config's section `data`.
        source: arrays handed over in Python.
        digest: how the content of files is told apart: `Inputs.digest` remembers it.

    Raises:
        UserError: c names no source. What the survey is asked raises it too, naming the config
            field or the file, where data are missing or cannot be read.
    """
    found = source_of(c.name).survey
    return found(c, digest) if source is None else ArraysSurvey(c, digest, source)
