"""Data sets that TensorFlow Datasets itself prepares, which takes TensorFlow."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from natra_jax.data.importing.layout import Written
from natra_jax.printable import reason
from natra_jax.types import UserError


def prepare(name: str, dest: Path) -> Written:
    """Download and prepare a data set of TensorFlow Datasets in dest, in ArrayRecord files.

    Its name is such as cifar100 or lsun/cat. Raise UserError without TensorFlow, for a name that is
    not known, and for what has to be downloaded by hand.
    """
    if importlib.util.find_spec("tensorflow") is None:
        raise UserError(
            f"tfds:{name}: TensorFlow Datasets prepares its data sets with TensorFlow, "
            "which is not installed: pip install tensorflow, "
            "or import the publisher's files (python -m natra_jax.data import --help)"
        )
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name, data_dir=str(dest), file_format="array_record")
        fresh = not Path(builder.data_dir, "dataset_info.json").exists()
        builder.download_and_prepare()
    except (tfds.core.DatasetNotFoundError, ValueError, AssertionError, OSError) as error:
        raise UserError(
            f"tfds:{name}: cannot be prepared in {dest} ({reason(error, 300)})"
        ) from error
    counts = {split: info.num_examples for split, info in builder.info.splits.items()}
    return Written(Path(builder.data_dir), counts, 0, fresh)
