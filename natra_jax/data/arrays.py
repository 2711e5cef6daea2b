"""Arrays handed over in Python as a source of data.

`natra_jax.pipeline.run(..., source=source)` takes it where data.name is "arrays".

import numpy as np
from natra_jax.data import from_arrays
rng = np.random.default_rng(0)
# or np.load("images.npy", mmap_mode="r"), which stays on the disk
images = rng.integers(0, 256, (60, 16, 16, 3), np.uint8)
labels = np.arange(60) % 3
source = from_arrays((images, labels), classes=("cat", "dog", "fox"))
counts = {name: len(split.label) for name, split in source.splits.items()}
assert counts == {"train": 42, "val_iid": 6, "test_iid": 12}
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from natra_jax.data.source import Images, Source, Split
from natra_jax.data.splitting import complete, without_rare
from natra_jax.files import require_whole
from natra_jax.printable import printable, shown
from natra_jax.types import UserError

NOT_HANDED_OVER = (
    "config field data.name is 'arrays': hand the arrays to natra_jax.pipeline.run (source=...)"
)
_MOST_CLASSES = 1_000_000  # each has a name in memory
Examples = tuple[Images, Sequence[int] | np.ndarray]


def from_arrays(
    train: Examples,
    *,
    val_iid: Examples | None = None,
    test_iid: Examples | None = None,
    classes: Sequence[str] | None = None,
    unlabelled: Images | None = None,
    validation_share: float = 0.1,
    test_share: float = 0.2,
    seed: int = 0,
    **other_splits: Examples,
) -> Source:
    """Return a source of images and labels that are there already.

    Images are uint8 [N, H, H, C], 0 black and 255 white, with 1 or 3 channels, of one size in all
    splits. Floats are refused, since their range cannot be told from them:
    `natra_jax.data.to_uint8` makes images of those in [-1, 1]. Memory-mapped arrays stay so, and
    whatever else is a natra_jax.data.Images will do. Labels are whole numbers [N] from 0 on.

    Args:
        train: (images, labels) to train on.
        val_iid: (images, labels) to choose by; None draws them from train, by class.
        test_iid: (images, labels) to test on; None draws them from train, by class.
        classes: the names of the labels; by default the numbers.
        unlabelled: more images, which nobody has labelled.
        validation_share: the share of train that is drawn for val_iid.
        test_share: the share of train that is drawn for test_iid.
        seed: of what is drawn.
        other_splits: such as test_shift; their names begin with val_ or test_.

    Raises:
        UserError: an argument is not what it must be; the message names it.
    """
    given = {"train": train, "val_iid": val_iid, "test_iid": test_iid, **other_splits}
    splits = {
        name: _split(name, examples) for name, examples in given.items() if examples is not None
    }
    for name in other_splits:
        if not name.startswith(("val_", "test_")):
            raise UserError(
                f"from_arrays: {name} is no split: its name must begin with val_ or test_"
            )
    images = {name: split.image for name, split in splits.items()}
    if unlabelled is not None:
        images["unlabelled"] = _images("unlabelled", unlabelled)
    for name, image in images.items():
        if image.shape[1:] != splits["train"].image.shape[1:]:
            raise UserError(
                f"from_arrays: {name} has images {image.shape[1:]}, "
                f"train {splits['train'].image.shape[1:]}: scale them alike"
            )
    highest = max(int(split.label.max()) for split in splits.values())
    given_names = range(highest + 1) if classes is None else classes
    names = tuple(printable(str(name)) for name in given_names)
    if len(set(names)) < len(names):
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise UserError(
            f"from_arrays: classes has the name {shown(twice)} twice: name every label apart"
        )
    for name, split in splits.items():
        if split.label.max() >= len(names):
            raise UserError(
                f"from_arrays: {name} has the label {split.label.max()}, "
                f"but there are {len(names)} classes: 0..{len(names) - 1}"
            )
    shares = {"val_iid": validation_share, "test_iid": test_share}
    if not all(share > 0 for share in shares.values()) or sum(shares.values()) >= 1:
        raise UserError(
            "from_arrays: validation_share and test_share must each be above 0, "
            "and below 1 together"
        )
    splits, names = without_rare(splits, names, 0, "from_arrays: train", shares, field="")
    return Source(
        names,
        complete(splits, names, shares, seed, "from_arrays: train", field=""),
        unlabelled=images.get("unlabelled"),
    )


def load(**_: Any) -> Source:
    """Raise UserError: arrays are handed over, not loaded."""
    raise UserError(NOT_HANDED_OVER)


def _split(name: str, examples: Examples) -> Split:
    if not isinstance(examples, tuple | list) or len(examples) != 2:
        raise UserError(f"from_arrays: {name} must be a pair (images, labels)")
    image, label = _images(name, examples[0]), np.asarray(examples[1])
    if label.shape != (len(image),):
        raise UserError(
            f"from_arrays: {name} has {len(image)} images and labels of shape {label.shape}: "
            "there must be one for each"
        )
    if not np.issubdtype(label.dtype, np.integer):
        raise UserError(
            f"from_arrays: {name} has labels of type {label.dtype}: they must be whole numbers"
        )
    if label.min() < 0:
        raise UserError(
            f"from_arrays: {name} has the label {label.min()}: labels begin at 0; "
            "images without one go into unlabelled"
        )
    if label.max() >= _MOST_CLASSES:
        raise UserError(
            f"from_arrays: {name} has the label {label.max()}: labels are the numbers of classes, "
            f"below {_MOST_CLASSES:,}"
        )
    return Split(image, label.astype(np.int32))


def _images(name: str, image: Images) -> Images:
    if not (hasattr(image, "shape") and hasattr(image, "dtype") and hasattr(image, "__getitem__")):
        raise UserError(
            f"from_arrays: {name} has images of type {type(image).__name__}: "
            "they must be an array [N, H, H, C]"
        )
    if image.dtype != np.uint8:
        raise UserError(
            f"from_arrays: {name} has images of type {image.dtype}: "
            "make them uint8 (natra_jax.data.to_uint8 does from [-1, 1])"
        )
    shape = tuple(image.shape)
    if len(shape) != 4 or shape[1] != shape[2] or shape[3] not in (1, 3):
        raise UserError(
            f"from_arrays: {name} has images of shape {shape}: "
            "they must be square, [N, H, H, 1] or [N, H, H, 3]"
        )
    if not all(shape):
        raise UserError(f"from_arrays: {name} has no images")
    require_whole(image)
    return image
