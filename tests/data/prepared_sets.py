"""Tiny data sets as TensorFlow Datasets prepares them, written with its own pieces."""

import io
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter

from tests.data.photos import encoded, grey


def prepare(directory, features, splits, shards=2, file_format="array_record"):
    """Write {split: examples without their image} to the directory.

    The images are grey; their shades rise by one from example to example.

    features: of tfds, without the image.
    """
    directory = Path(directory)
    directory.mkdir(parents=True)
    features = tfds.features.FeaturesDict(
        {"image": tfds.features.Image(shape=(None, None, 3)), **features}
    )
    name, shade, infos = directory.parent.name, 0, []
    for split, examples in splits.items():
        lengths = []
        for shard, rows in enumerate(np.array_split(np.arange(len(examples)), shards)):
            writer = ArrayRecordWriter(
                str(directory / f"{name}-{split}.{file_format}-{shard:05d}-of-{shards:05d}"),
                "group_size:1",
            )
            for i in rows:
                example = {"image": io.BytesIO(encoded(grey(shade))), **examples[i]}
                writer.write(features.serialize_example(features.encode_example(example)))
                shade += 1
            writer.close()
            lengths.append(len(rows))
        template = tfds.core.ShardedFileTemplate(
            data_dir=directory, dataset_name=name, split=split, filetype_suffix=file_format
        )
        infos.append(
            tfds.core.SplitInfo(
                name=split, shard_lengths=lengths, num_bytes=0, filename_template=template
            )
        )
    tfds.folder_dataset.write_metadata(
        data_dir=directory, features=features, split_infos=infos, version="1.0.0", check_data=False
    )
    return directory


def faces(directory, counts, seed=0):
    """Prepare people with attributes: {split: number}.

    Return {split: [(identity, Smiling, Male, Eyeglasses)]}; identity -1 is not known.
    """
    rng = np.random.default_rng(seed)
    rows = {
        split: [
            (int(rng.integers(-1, 4)), *(bool(b) for b in rng.integers(0, 2, 3))) for _ in range(n)
        ]
        for split, n in counts.items()
    }
    features = {
        "identity": np.int64,
        "attributes": dict.fromkeys(("Smiling", "Male", "Eyeglasses"), np.bool_),
        "filename": tfds.features.Text(),
    }
    examples = {
        split: [
            {
                "identity": who,
                "attributes": {"Smiling": smiling, "Male": male, "Eyeglasses": glasses},
                "filename": f"{i}.jpg",
            }
            for i, (who, smiling, male, glasses) in enumerate(of_split)
        ]
        for split, of_split in rows.items()
    }
    prepare(directory, features, examples)
    return rows
