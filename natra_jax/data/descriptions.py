"""The descriptions of a prepared data set, read before TensorFlow Datasets reads them.

It imports whatever module a description names for a feature, reads the files that names of splits
lead to, and makes as many names as a description says there are classes. So all of that is looked
at here: classes must be the library's own, files lie in the directory, and counts can be true.
"""

from __future__ import annotations

import json
import re
import stat
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import msgspec

from natra_jax import json_files, shortage
from natra_jax.files import read_bytes, remedy
from natra_jax.printable import printable, reason, shown
from natra_jax.types import UserError

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

INFO, FEATURES = "dataset_info.json", "features.json"
_LABELS = ".labels.txt"  # ends the name of a list of labels, behind the feature's
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
_TYPES = frozenset(
    f"{kind}{bits}"
    for kind, widths in {
        "int": (2, 4, 8, 16, 32, 64),
        "uint": (2, 4, 8, 16, 32, 64),
        "float": (16, 32, 64),
        "complex": (64, 128),
    }.items()
    for bits in widths
) | {"", "bool", "string", "str", "object", "bfloat16"}
_TEMPLATE = re.compile(
    r"(?!/)(?:[\w./-]|\{(?:DATASET|SPLIT|FILEFORMAT|SHARD_INDEX|NUM_SHARDS|SHARD_X_OF_Y)\})*",
    re.ASCII,
)


_Name = Annotated[str, msgspec.Meta(min_length=1)]


class _Split(TypedDict):
    """What dataset_info.json has to say of a split, beside the lengths of its files."""

    name: _Name


class _Info(TypedDict):
    """What dataset_info.json has to say."""

    name: _Name
    splits: Annotated[list[_Split], msgspec.Meta(min_length=1)]


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
    for path in sorted(Path(directory).glob(f"*{_LABELS}")):
        if not path.is_file() or path.stat().st_size > _MOST_BYTES:
            raise UserError(
                f"{printable(path)}: is no file of at most {_MOST_BYTES >> 20} MB, as a list of "
                "labels is: it is not loaded"
            )
    path = Path(directory, INFO)
    _require_names(path, info)
    _require_splits(path, info)
    _require_classes(Path(directory), features)


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


def require_counts(directory: str | Path, found: tfds.core.DatasetBuilder) -> None:
    """Raise UserError unless the files of every split hold as many records as is said.

    All files are opened, so it is for those who read all of them.
    """
    from array_record.python.array_record_module import ArrayRecordReader

    location = printable(directory)
    for whole_name, split in found.info.splits.items():
        for path, said in zip(map(Path, split.filepaths), split.shard_lengths, strict=True):
            try:
                reader = ArrayRecordReader(str(path))
                count = reader.num_records()
                reader.close()
            except Exception as error:  # it documents no type
                shortage.require_none(error, f"{location}: {printable(path.name)}")
                raise damaged(f"{location}: {printable(path.name)}", error) from error
            if count != said:
                raise UserError(
                    f"{location}: the file {printable(path.name)} of split "
                    f"{shown(whole_name)[1:-1]} is said to have {said} records, and has {count}: "
                    "prepare the data set again"
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
    advice = remedy(error, "prepare the data set again")
    return UserError(f"{location}: cannot be read ({reason(error)}): {advice}")


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
        elif key == "dtype" and isinstance(value, str) and value not in _TYPES:
            yield f"has {shown(value)} for the type of a feature's values"
        elif key in _INSIDE and isinstance(value, str):
            yield from _faults(json.loads(value))
        else:
            yield from _faults(value)


def _number(value: Any) -> float:
    """Return a count as JSON and protocol buffers write it, which is text where it is large."""
    return float(value) if isinstance(value, str) else value if isinstance(value, int) else 0


def _require_splits(path: Path, info: dict[str, Any]) -> None:
    """Raise UserError unless the data set has a name and splits that may have records."""
    splits = info.get("splits")
    try:
        json_files.check(info, _Info)
        for number, split in enumerate(splits if isinstance(splits, list) else []):
            place = f"splits[{number}]"
            lengths = split.get("shardLengths", split.get("shard_lengths"))
            if not isinstance(lengths, list):
                raise ValueError(f"{place}: it has no list shardLengths")
            for length in lengths:
                if isinstance(length, bool) or not re.fullmatch(r"-?\d{1,18}", str(length)):
                    raise ValueError(f"{place}: it has {shown(length)} among its shardLengths")
            if not any(map(int, lengths)):
                raise ValueError(f"{place}: it has no records, by its shardLengths")
    except ValueError as error:
        raise damaged(printable(path), error) from error


def _require_classes(directory: Path, features: dict[str, Any], below: str = "") -> None:
    """Raise UserError unless lists of labels beside the features name each class once."""
    inner = features.get("featuresDict", features.get("features_dict"))
    inner = inner.get("features") if isinstance(inner, dict) else None
    for name, feature in inner.items() if isinstance(inner, dict) else ():
        if not isinstance(feature, dict):
            continue
        name = name.replace("/", ".")
        place = f"{below}-{name}" if below else name
        _require_classes(directory, feature, place)
        label = feature.get("classLabel", feature.get("class_label"))
        path = directory / f"{place}{_LABELS}"
        if not isinstance(label, dict) or {"/", "\0"} & set(place) or not path.is_file():
            continue
        names = _lines(path)
        most = Counter(names).most_common(1)
        if most and most[0][1] > 1:
            twice = most[0][0]
            raise UserError(f"{printable(path)}: names {shown(twice)} twice: name each class once")
        count = label.get("numClasses", label.get("num_classes")) or 0
        if str(count) != str(len(names)):
            raise UserError(
                f"{printable(path)}: names {len(names)} classes, and {FEATURES} has "
                f"{shown(count)} of them: prepare the data set again"
            )


def _lines(path: Path) -> list[str]:
    """Return the names in a list of labels, as the library reads them."""
    try:
        text = read_bytes(path, _MOST_BYTES).decode()
    except (OSError, ValueError) as error:
        raise damaged(printable(path), error) from error
    lines = text.replace("\r", "\n").split("\n")  # no others: splitlines takes more for ends
    return [name for line in lines if (name := line.strip())]


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
