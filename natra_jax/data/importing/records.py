"""Records and metadata as TensorFlow Datasets has them.

Its own classes make them, which work without TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from etils import epath

VERSION = "1.0.0"


def serializer(features: Mapping[str, Any], channels: int) -> Callable[[Mapping[str, Any]], bytes]:
    """Return what makes the bytes of an example's record, the same each time.

    features: as in DataSet. An example has these, and an encoded 'image' besides.
    """
    from tensorflow_datasets.core import example_serializer

    spec = _features(features, channels)
    serializer_ = example_serializer.ExampleSerializer(spec.get_serialized_info())

    def serialize(example: Mapping[str, Any]) -> bytes:
        # its serialize_example leaves the order of the features to the hashes of their names,
        # which change with each process
        return serializer_.get_tf_example(spec.encode_example(example)).SerializeToString(
            deterministic=True
        )

    return serialize


def write_metadata(
    dest: Path,
    directory: Path,
    name: str,
    features: Mapping[str, Any],
    channels: int,
    splits: Mapping[str, tuple[Sequence[int], int]],
) -> None:
    """Write features.json, dataset_info.json and lists of class names of a data set.

    Args:
        dest: the directory that they are written to.
        directory: the directory of the data set.
        name: of the data set.
        features: as in DataSet.
        channels: of the images.
        splits: {name: (examples in each shard, bytes of all their records)}.
    """
    from tensorflow_datasets.core import SplitInfo, Version, dataset_info, naming
    from tensorflow_datasets.core.splits import SplitDict

    def split(split_name: str, lengths: Sequence[int], size: int) -> SplitInfo:
        template = naming.ShardedFileTemplate(
            data_dir=epath.Path(directory),
            dataset_name=name,
            split=split_name,
            filetype_suffix="array_record",
        )
        return SplitInfo(
            name=split_name, shard_lengths=list(lengths), num_bytes=size, filename_template=template
        )

    identity = dataset_info.DatasetIdentity(
        name=name, version=Version(VERSION), data_dir=str(directory), module_name=""
    )
    info = dataset_info.DatasetInfo(builder=identity, features=_features(features, channels))
    info.set_file_format("array_record")
    info.set_splits(
        SplitDict([split(split_name, *counts) for split_name, counts in splits.items()])
    )
    info.write_to_directory(dest)


def _features(features: Mapping[str, Any], channels: int) -> Any:
    """Return the features of a DataSet, with its image, as TensorFlow Datasets has them."""
    import tensorflow_datasets as tfds

    def feature(kind: Any) -> Any:
        if isinstance(kind, Mapping):
            return tfds.features.FeaturesDict(
                {name: feature(inner) for name, inner in kind.items()}
            )
        if isinstance(kind, str):
            return {
                "text": tfds.features.Text,
                "int64": lambda: np.int64,
                "bool": lambda: np.bool_,
            }[kind]()
        return tfds.features.ClassLabel(names=kind)

    image = tfds.features.Image(shape=(None, None, channels))
    return tfds.features.FeaturesDict(
        {"image": image} | {name: feature(kind) for name, kind in features.items()}
    )
