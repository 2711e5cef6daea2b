"""The descriptions of a prepared data set, read before TensorFlow Datasets reads them.

It imports whatever module a description names for a feature, reads the files that names of splits
lead to, and makes as many names as a description says there are classes. So all of that is looked
at here: classes must be the library's own, files lie in the directory, and counts can be true.
"""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from natra_jax.files import read_bytes
from natra_jax.printable import printable, reason, shown
from natra_jax.types import UserError

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

INFO, FEATURES = "dataset_info.json", "features.json"
_KIND = "array_record"
_MOST_BYTES = 1 << 24  # of a description, and of a list of labels: 20,000 classes take 1 MB
_MOST_CLASSES = 1_000_000
_MOST_SHARDS = 100_000
_FORMS = "tensorflow_datasets.core.features."
# No others are imported. feature.Tensor is what tensor_feature.Tensor was called before.
CONNECTORS = frozenset(
    _FORMS + name
    for name in (
        "audio_feature.Audio",
        "bounding_boxes.BBoxFeature",
        "class_label_feature.ClassLabel",
        "dataset_feature.Dataset",
        "feature.Tensor",
        "features_dict.FeaturesDict",
        "image_feature.Image",
        "labeled_image.LabeledImage",
        "scalar.Scalar",
        "sequence_feature.Sequence",
        "tensor_feature.Tensor",
        "text_feature.Text",
        "translation_feature.Translation",
        "translation_feature.TranslationVariableLanguages",
        "video_feature.Video",
    )
)
_NAMES = ("pythonClassName", "python_class_name", "type")  # keys under which a class is named
_INSIDE = ("json", "content")  # keys under which text may be JSON in its turn
_COUNTS = ("numClasses", "num_classes")
_FILES = ("names_file", "vocab_file", "labels")  # keys under which text is the path of a file
_TEMPLATE = re.compile(
    r"(?!/)(?:[\w./-]|\{(?:DATASET|SPLIT|FILEFORMAT|SHARD_INDEX|NUM_SHARDS|SHARD_X_OF_Y)\})*",
    re.ASCII,
)


def require_sound(directory: str | Path) -> None:
    """Raise UserError, naming the file, unless the library can read the descriptions without harm.

    The library reads features.json, what dataset_info.json says of features and splits, and the
    lists of labels beside these.
    """
    info, features = (_read(Path(directory, card)) for card in (INFO, FEATURES))
    for card, content in ((INFO, info.get("features", {})), (FEATURES, features)):
        path = Path(directory, card)
        try:
            faults = list(_faults(content))
        except (ValueError, RecursionError) as error:
            raise damaged(printable(path), error) from error
        for fault in faults:
            raise UserError(f"{printable(path)}: {fault}: it is not loaded")
    for path in sorted(Path(directory).glob("*.labels.txt")):
        if not path.is_file() or path.stat().st_size > _MOST_BYTES:
            raise UserError(
                f"{printable(path)}: is no file of at most {_MOST_BYTES >> 20} MB, as a list of "
                "labels is: it is not loaded"
            )
    _require_names(Path(directory, INFO), info)


def require_shards(directory: str | Path, found: tfds.core.DatasetBuilder) -> None:
    """Raise UserError unless the files of every split lie in the directory and may be so long."""
    location = printable(directory)
    for whole_name, split in found.info.splits.items():
        name = shown(whole_name)[1:-1]
        lengths = split.shard_lengths
        if min(lengths, default=0) < 0 or len(lengths) > _MOST_SHARDS:
            raise UserError(
                f"{location}: split {name} has {len(lengths)} files, the shortest of "
                f"{min(lengths)} records, which cannot be: prepare the data set again"
            )
        size = 0
        for path in map(Path, split.filepaths):
            if (length := _length(path)) is None:
                raise UserError(
                    f"{location}: the file {shown(path.name)[1:-1]} of split {name} "
                    "is missing, or is no file: prepare the data set again"
                )
            size += length
        if sum(lengths) > size:
            raise UserError(
                f"{location}: split {name} is said to have {sum(lengths)} records, but "
                f"its files have {size} bytes: prepare the data set again"
            )


def _length(path: Path) -> int | None:
    """Return the bytes of a file; None where there is none, or can be none of such a name."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def damaged(location: str, error: Exception) -> UserError:
    """Return the error to raise where a data set cannot be read."""
    return UserError(f"{location}: cannot be read ({reason(error)}): prepare the data set again")


def _read(path: Path) -> dict[str, Any]:
    """Return a description's content as the library will read it."""
    try:
        content = json.loads(read_bytes(path, _MOST_BYTES))
        if not isinstance(content, dict):
            raise ValueError(f"it is {type(content).__name__}, not an object")
    except (OSError, ValueError, RecursionError) as error:
        raise damaged(printable(path), error) from error
    return content


def _faults(content: Any) -> Iterator[str]:
    """Yield what a description of features has, at any depth, that must not be loaded."""
    if isinstance(content, list):
        for value in content:
            yield from _faults(value)
    if not isinstance(content, dict):
        return
    for key, value in content.items():
        if key in _NAMES and isinstance(value, str) and value not in CONNECTORS:
            yield f"names the class {shown(value)}, which is no feature of TensorFlow Datasets"
        elif key in _FILES and isinstance(value, str):
            yield f"names the file {shown(value)} for its {key}"
        elif key in _COUNTS and _number(value) > _MOST_CLASSES:
            yield f"has {shown(value)} classes, more than {_MOST_CLASSES}"
        elif key in _INSIDE and isinstance(value, str):
            yield from _faults(json.loads(value))
        else:
            yield from _faults(value)


def _number(value: Any) -> float:
    """Return a count as JSON and protocol buffers write it, which is text where it is large."""
    return float(value) if isinstance(value, str) else value if isinstance(value, int) else 0


def _require_names(path: Path, info: dict[str, Any]) -> None:
    """Raise UserError unless the names of the data set and its splits are parts of file names."""
    splits = info.get("splits")
    splits = [s for s in splits if isinstance(s, dict)] if isinstance(splits, list) else []
    named = {"name": [info.get("name")], "split": [split.get("name") for split in splits]}
    for what, names in named.items():
        for name in names:
            if isinstance(name, str) and ({"/", "\\", "\0"} & set(name) or name in (".", "..")):
                raise UserError(
                    f"{printable(path)}: has the {what} {shown(name)}, which leads out of the "
                    "directory: it is not loaded"
                )
    for split in splits:
        for key in ("filepathTemplate", "filepath_template"):
            template = split.get(key, "")
            if isinstance(template, str) and (
                ".." in template or not _TEMPLATE.fullmatch(template)
            ):
                raise UserError(
                    f"{printable(path)}: has {shown(template)} for names of files, which may lead "
                    "out of the directory: it is not loaded"
                )
    kinds = [info.get(key) for key in ("fileFormat", "file_format") if key in info]
    for kind in kinds:
        if isinstance(kind, str) and kind != _KIND:
            raise UserError(
                f"{printable(path.parent)}: its files are {shown(kind)[1:-1]}: "
                "prepare it with download_and_prepare(file_format='array_record')"
            )
