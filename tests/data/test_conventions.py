"""Names of splits and leftovers of systems: one rule for folders, prepared sets and importers."""

import numpy as np
import pytest
import tensorflow_datasets as tfds

from natra_jax.data import folder, importing, prepared
from natra_jax.data.conventions import find_splits, is_left_by_systems, split_of
from tests.data.photos import classes, write
from tests.data.prepared_sets import prepare

NAMES = {
    "train": ["train", "Training", "TRAIN"],
    "val_iid": ["validation", "valid", "Val", "dev"],
    "test_iid": ["test", "TESTING"],
}
LEFTOVERS = [".DS_Store", "._0.png", ".ipynb_checkpoints", "__MACOSX", "@eaDir", "lost+found"]
COMMON = {
    "seed": 0,
    "resolution": 4,
    "channels": 3,
    "fit": "crop",
    "validation_share": 0.1,
    "test_share": 0.2,
    "own_splits": True,
    "min_per_class": 0,
    "unlabelled": "",
}


def test_splits_are_known_by_the_names_that_others_give_them():
    for split, names in NAMES.items():
        assert [split_of(name) for name in names] == [split] * len(names)
    for name in ("trainval", "cat", "", "tests", "wild"):
        assert split_of(name) is None


def test_of_several_names_the_most_usual_is_taken():
    there = ["test", "Val", "cat", "validation", "Train"]
    assert find_splits(there) == {"train": "Train", "val_iid": "validation", "test_iid": "test"}
    assert find_splits(["cat"]) == {}


def test_what_systems_leave_is_told_from_what_users_name():
    assert all(map(is_left_by_systems, LEFTOVERS))
    assert not any(map(is_left_by_systems, ["cat", "a.png", "@home", "__cat", "lost", "MACOSX"]))


@pytest.mark.parametrize("val, test", [("dev", "Testing"), ("VALID", "TEST"), ("val", "test")])
def test_all_three_readers_take_the_same_names(tmp_path, val, test):
    counts = {"Training": 6, val: 2, test: 4}
    for split, count in counts.items():
        classes(tmp_path / "photos" / split, {"cat": count // 2, "dog": count // 2})
    expected = {"train": 6, "val_iid": 2, "test_iid": 4}

    source = folder.load(path=str(tmp_path / "photos"), **COMMON)
    assert {name: len(split.label) for name, split in source.splits.items()} == expected

    label = {"label": tfds.features.ClassLabel(names=["cat", "dog"])}
    rows = {name: [{"label": i % 2} for i in range(count)] for name, count in counts.items()}
    prepare(tmp_path / "set" / "1.0.0", label, rows)
    source = prepared.load(name="set", path=str(tmp_path), label="", **COMMON)
    assert {name: len(split.label) for name, split in source.splits.items()} == expected

    photos, imported = tmp_path / "photos", tmp_path / "imported"
    written = importing.from_files("folder", photos, imported, "toy", lambda line: None)
    assert written.counts == {"train": 6, "validation": 2, "test": 4}


def test_the_folder_and_its_importer_leave_out_the_same(tmp_path):
    root = classes(tmp_path / "photos", {"cat": 3, "dog": 3})
    for name in LEFTOVERS:
        if name.endswith(".png"):
            write(root / "cat" / name)
        else:
            write(root / name / "cat" / "0.png")
            write(root / "cat" / name / "0.png")
    assert folder.list_classes(root).label.tolist() == [0] * 3 + [1] * 3
    written = importing.from_files("folder", root, tmp_path / "imported", "toy", lambda line: None)
    assert written.counts == {"train": 6} and written.skipped == 0


@pytest.mark.parametrize("name", ["train", "test", "dev"])
def test_a_class_may_be_called_as_a_split(tmp_path, name):
    root = classes(tmp_path, {"bus": 5, "car": 5, name: 5})
    source = folder.load(path=str(root), **COMMON)
    assert source.classes == tuple(sorted(("bus", "car", name)))
    assert np.bincount(source.splits["test_iid"].label).tolist() == [1, 1, 1]
