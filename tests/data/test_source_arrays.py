"""Arrays as a source: what is handed over is what is read, and missing splits are drawn.

Mistakes are named by their argument.
"""

import numpy as np
import pytest

from natra_jax.data import Split, arrays, from_arrays
from natra_jax.types import UserError


def made(count=30, first=0, channels=3, classes=3):
    """Images whose first pixel is their number, and labels in turn."""
    images = np.zeros((count, 4, 4, channels), np.uint8)
    images[:, 0, 0, 0] = first + np.arange(count)
    return images, np.arange(count) % classes


def examples(split):
    return sorted(zip(split.image[:][:, 0, 0, 0].tolist(), split.label.tolist(), strict=True))


def test_the_example_runs():
    lines = arrays.__doc__.splitlines()
    exec(compile("\n".join(lines[lines.index("import numpy as np") :]), "arrays", "exec"), {})


def test_splits_that_are_handed_over_are_kept():
    splits = {
        name: made(9, 20 * i)
        for i, name in enumerate(("train", "val_iid", "test_iid", "test_shift"))
    }
    source = from_arrays(**splits, classes=("cat", "dog", "fox"), unlabelled=made(5, 90)[0])
    assert source.classes == ("cat", "dog", "fox") and source.num_classes == 3
    assert {name: examples(split) for name, split in source.splits.items()} == {
        name: examples(Split(*pair)) for name, pair in splits.items()
    }
    assert all(
        split.image is splits[name][0] and split.label.dtype == np.int32
        for name, split in source.splits.items()
    )
    assert (
        source.unlabelled.shape == (5, 4, 4, 3)
        and source.domain is None
        and source.renderings == {}
    )


def test_missing_splits_are_drawn_by_class_from_train():
    source = from_arrays(made(60), seed=3)
    assert source.classes == ("0", "1", "2")
    assert {name: np.bincount(split.label).tolist() for name, split in source.splits.items()} == {
        "train": [14] * 3,
        "val_iid": [2] * 3,
        "test_iid": [4] * 3,
    }
    assert sorted(sum((examples(split) for split in source.splits.values()), [])) == [
        (i, i % 3) for i in range(60)
    ]
    with_test = from_arrays(made(60), test_iid=made(6, 100), validation_share=0.5)
    assert len(with_test.splits["val_iid"].label) == 30 and examples(with_test.splits["test_iid"])[
        0
    ] == (100, 0)
    assert examples(from_arrays(made(60), seed=3).splits["train"]) == examples(
        source.splits["train"]
    )
    assert examples(from_arrays(made(60), seed=4).splits["train"]) != examples(
        source.splits["train"]
    )


def test_arrays_on_disk_stay_there(tmp_path):
    images, labels = made(60, channels=1)
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    source = from_arrays((mapped, labels), unlabelled=mapped)
    assert source.unlabelled is mapped
    assert not any(isinstance(split.image, np.ndarray) for split in source.splits.values())
    assert source.splits["train"].image.shape == (42, 4, 4, 1)


image, label = made()
WRONG = {
    "no pair": ({"train": image}, "train must be a pair"),
    "floats": (
        {"train": (image / 127.5 - 1, label)},
        "train has images of type float64: make them uint8 .natra_jax.data.to_uint8",
    ),
    "NaN": ({"train": (np.full(image.shape, np.nan), label)}, "train has images of type float64"),
    "a list of images": ({"train": (list(image), label)}, "train has images of type list"),
    "no channels": ({"train": (image[..., 0], label)}, r"train has images of shape \(30, 4, 4\)"),
    "four channels": (
        {"train": (np.zeros((3, 4, 4, 4), np.uint8), label[:3])},
        r"train has images of shape \(3, 4, 4, 4\)",
    ),
    "not square": ({"train": (image[:, :3], label)}, r"train has images of shape \(30, 3, 4, 3\)"),
    "none": ({"train": (image[:0], label[:0])}, "train has no images"),
    "too few labels": (
        {"train": (image, label[:-1])},
        r"train has 30 images and labels of shape \(29,\)",
    ),
    "one-hot labels": (
        {"train": (image, np.eye(3)[label])},
        r"train has 30 images and labels of shape \(30, 3\)",
    ),
    "labels that are no whole numbers": (
        {"train": (image, label / 2)},
        "train has labels of type float64",
    ),
    "labels below 0": ({"train": (image, label - 1)}, "train has the label -1"),
    "a label without a name": (
        {"train": (image, label), "classes": "ab"},
        r"train has the label 2, but there are 2 classes: 0..1",
    ),
    "a name twice": (
        {"train": (image, label), "classes": ["cat", "dog", "cat"]},
        "classes has the name 'cat' twice",
    ),
    "a number and its text": (
        {"train": (image, label), "classes": [1, "1", 2]},
        "classes has the name '1' twice",
    ),
    "a label beyond int32": (
        {"train": (image, label.astype(np.int64) + 2**32)},
        "train has the label 4294967298: labels are the numbers of classes, below 1,000,000",
    ),
    "a label of more classes than there can be": (
        {"train": (image, np.where(label == 2, 2_000_000_000, label))},
        "train has the label 2000000000",
    ),
    "a test label": (
        {"train": (image, label), "test_iid": (image, label + 1), "classes": "abc"},
        "test_iid has the label 3",
    ),
    "a class without images": (
        {"train": (image, 2 * label)},
        "train: class '1' has no image to train on",
    ),
    "one class": ({"train": (image, 0 * label)}, "train: has only the class '0'"),
    "too few of a class": ({"train": (image[:4], label[:4])}, "train: class '0' has 2 images"),
    "other sizes": (
        {"train": (image, label), "test_iid": (np.zeros((3, 8, 8, 3), np.uint8), label[:3])},
        r"test_iid has images \(8, 8, 3\)",
    ),
    "other channels": (
        {"train": (image, label), "unlabelled": image[..., :1]},
        r"unlabelled has images \(4, 4, 1\)",
    ),
    "no such split": ({"train": (image, label), "tset": (image, label)}, "tset is no split"),
    "shares": (
        {"train": (image, label), "test_share": 0.9, "validation_share": 0.1},
        "validation_share and test_share must",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_mistakes_are_one_line_that_names_the_argument(what):
    wrong, said = WRONG[what]
    with pytest.raises(UserError, match=f"^from_arrays: {said}") as error:
        from_arrays(**wrong)
    assert "\n" not in str(error.value)


def test_names_of_classes_are_text_that_every_file_takes():
    source = from_arrays((image, label), classes=["a\nb", "c\udcff", "\u732b"])
    assert source.classes == ("a\\nb", "c\\udcff", "\u732b")
