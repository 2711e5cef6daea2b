"""Names of splits and leftovers of systems: one rule for folders, prepared sets and importers."""

import unicodedata

import numpy as np
import pytest
import tensorflow_datasets as tfds

from natra_jax.data import folder, importing, prepared
from natra_jax.data.conventions import find_splits, is_left_by_systems, split_of
from natra_jax.types import UserError
from tests.data.photos import classes, write
from tests.data.prepared_sets import prepare

NAMES = {
    "train": ["train", "Training", "TRAIN"],
    "val_iid": ["validation", "valid", "Val", "dev"],
    "test_iid": ["test", "TESTING"],
}
LEFTOVERS = [
    *(".DS_Store", "._0.png", ".ipynb_checkpoints", "__MACOSX", "@eaDir", "lost+found"),
    *("$RECYCLE.BIN", "System Volume Information", "#recycle", "Thumbs.db", "desktop.ini"),
]
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


TWICE = [("val", "validation"), ("Train", "train"), ("train", "training"), ("Testing", "test")]


@pytest.mark.parametrize("names", TWICE)
def test_two_folders_of_one_split_are_named_both(tmp_path, names):
    root = tmp_path / "photos"
    for name in ("train", *names):
        classes(root / name, {"cat": 3, "dog": 3})
    (root / "dev").mkdir()  # an empty one is no split
    both = f"holds both {names[0]} and {names[1]}.* move one away"
    with pytest.raises(UserError, match=both):
        folder.load(path=str(root), **COMMON)
    with pytest.raises(UserError, match=both):
        importing.from_files("folder", root, tmp_path / "imported", "toy", lambda line: None)


def test_an_empty_folder_gives_way_to_another_of_its_split(tmp_path):
    for name in ("train", "dev"):
        classes(tmp_path / name, {"cat": 3, "dog": 3})
    (tmp_path / "val").mkdir()
    assert len(folder.load(path=str(tmp_path), **COMMON).splits["val_iid"].label) == 6


def test_accents_are_one_class_however_they_are_written_and_case_tells_classes_apart(tmp_path):
    root, (one, two) = tmp_path / "photos", (unicodedata.normalize(n, "é") for n in ("NFC", "NFD"))
    classes(root, {one: 3, two: 4, "a": 3, "A": 3})
    source = folder.list_classes(root)
    assert source.classes == ("A", "a", one)
    assert np.bincount(source.label).tolist() == [3, 3, 7]
    written = importing.from_files("folder", root, tmp_path / "set", "toy", lambda line: None)
    assert written.counts == {"train": 13}
    again = prepared.load(name="toy", path=str(tmp_path / "set"), label="", **COMMON)
    assert again.classes == ("A", "a", one)


def test_links_to_images_and_to_classes_are_followed(tmp_path):
    kept = classes(tmp_path / "kept", {"cat": 2, "dog": 3})
    (tmp_path / "photos" / "cat").mkdir(parents=True)
    (tmp_path / "photos" / "dog").symlink_to(kept / "dog")
    for i in range(2):
        (tmp_path / "photos" / "cat" / f"{i}.png").symlink_to(sorted((kept / "cat").iterdir())[i])
    assert folder.list_classes(tmp_path / "photos").label.tolist() == [0] * 2 + [1] * 3


@pytest.mark.parametrize("name", ["train", "test", "dev"])
def test_a_class_may_be_called_as_a_split(tmp_path, name):
    root = classes(tmp_path, {"bus": 5, "car": 5, name: 5})
    source = folder.load(path=str(root), **COMMON)
    assert source.classes == tuple(sorted(("bus", "car", name)))
    assert np.bincount(source.splits["test_iid"].label).tolist() == [1, 1, 1]
