"""The ArrayRecord files of a prepared data set: encoded images and whole numbers told of them.

TensorFlow Datasets finds the files and reads their records. The records themselves are taken apart
here: its own way through all features takes half as long as decoding a photo, for a face with forty
attributes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import numpy as np

from natra_jax import shortage
from natra_jax.data.descriptions import damaged, require_shards, require_sound
from natra_jax.files import require_regular_below
from natra_jax.json_files import Count
from natra_jax.printable import printable
from natra_jax.types import UserError

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

IMAGE = "image"  # the feature


class RecordsDescription(TypedDict):
    """The description of `Records`."""

    kind: Literal["records"]
    directory: str
    split: str
    rows: list[Count] | None


class Records:
    """The images of one split of a prepared data set."""

    def __init__(self, directory: str, split: str, rows: np.ndarray | None = None) -> None:
        """Take the records of a split, or of several, 'train+test', one behind the other.

        rows: [n], the numbers of the records that are meant; None for all.
        """
        self._directory, self._split, self._rows = directory, split, rows

    def __len__(self) -> int:
        return len(self._source if self._rows is None else self._rows)

    def __reduce__(self) -> tuple[type[Records], tuple[str, str, np.ndarray | None]]:
        return Records, (self._directory, self._split, self._rows)  # not what is open

    def read(self, i: int) -> bytes:
        with self._reading(i, "encoded image"):
            return self._values(i)[IMAGE].bytes_list.value[0]

    def location(self, i: int) -> str:
        return f"{printable(self._directory)}: record {self._row(i)} of {self._split}"

    def select(self, index: np.ndarray) -> Records:
        return Records(
            self._directory,
            self._split,
            np.asarray(index) if self._rows is None else self._rows[index],
        )

    def description(self) -> RecordsDescription:
        rows = None if self._rows is None else self._rows.tolist()
        return {"kind": "records", "directory": self._directory, "split": self._split, "rows": rows}

    def numbers(self, features: Sequence[str]) -> np.ndarray:
        """Return the whole numbers [N, features] of every record, yes and no as 1 and 0.

        Slashes in the features' names lead into dictionaries. No image is decoded. Raise UserError,
        naming the record, if one cannot be read or has no such number.
        """
        found = np.empty((len(self), len(features)), np.int64)
        for i in range(len(self)):
            with self._reading(i, f"whole number {', '.join(features)}"):
                values = self._values(i)
                found[i] = [values[name].int64_list.value[0] for name in features]
        return found

    def _values(self, i: int) -> Mapping[str, Any]:
        """Return the features of record i, as the message Example of TensorFlow has them."""
        from tensorflow_datasets.proto import tf_example_pb2

        messages: Any = tf_example_pb2  # whose classes are made at run time
        return messages.Example.FromString(self._source[self._row(i)]).features.feature

    @contextmanager
    def _reading(self, i: int, what: str) -> Iterator[None]:
        """Raise UserError, naming record i, for whatever goes wrong while what it has is read."""
        try:
            yield
        except UserError:
            raise
        except IndexError as error:
            raise UserError(
                f"{self.location(i)}: has no {what}: prepare the data set again"
            ) from error
        # ArrayRecord and protocol buffers do not document what they raise for damaged files
        except Exception as error:
            shortage.require_none(error, self.location(i))
            raise damaged(self.location(i), error) from error

    def _row(self, i: int) -> int:
        return int(i if self._rows is None else self._rows[i])

    @cached_property
    def _source(self) -> Any:
        """The records as bytes, open for reading in any order."""
        from tensorflow_datasets.core.decode import DeserializeMethod

        shortage.require_threads(shortage.ARRAY_RECORD, printable(self._directory))
        try:
            found: Any = builder(self._directory)  # the arguments of a decorated method are lost
            return found.as_data_source(self._split, deserialize_method=DeserializeMethod.RAW_BYTES)
        except UserError:
            raise
        except Exception as error:
            shortage.require_none(error, printable(self._directory))
            raise damaged(f"{printable(self._directory)}: split {self._split}", error) from error


def builder(directory: str | Path) -> tfds.core.DatasetBuilder:
    """Return what TensorFlow Datasets knows of a prepared data set.

    Raise UserError, naming the file, if that cannot be read.
    """
    require_regular_below(Path(directory))
    require_sound(directory)
    import tensorflow_datasets as tfds

    try:
        found = tfds.builder_from_directory(directory)
        if found.info.file_format is None:
            raise ValueError("it does not tell the format of its files")
    except Exception as error:
        shortage.require_none(error, printable(directory))
        raise damaged(printable(directory), error) from error
    require_shards(directory, found)
    return found
