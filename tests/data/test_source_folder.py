"""A folder of photos: what is found in it, how it is split, and one line for whatever is wrong."""

import json
import os
import pickle
import time
import unicodedata

import numpy as np
import pytest

from natra_jax.data import folder, reopen
from natra_jax.data.decoding import Preprocess
from natra_jax.data.encoded_images import Decoded
from natra_jax.types import UserError
from tests.data.photos import classes, grey, large, pixels, write

SETTINGS = {
    "seed": 0,
    "resolution": 4,
    "channels": 3,
    "fit": "crop",
    "validation_share": 0.1,
    "test_share": 0.2,
    "own_splits": True,
    "min_per_class": 0,
    "label": "",
    "unlabelled": "",
}


def load(root, **changed):
    return folder.load(name="folder", path=str(root), **SETTINGS | changed)


def shades(images):
    """What tells the grey images of `photos.classes` apart."""
    return images[:][:, 0, 0, 0].tolist()


def examples(split):
    return sorted(zip(shades(split.image), split.label.tolist(), strict=True))


def refused(root, **changed):
    """The one line that is said."""
    with pytest.raises(UserError) as error:
        load(root, **changed)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_class_folders_are_split_by_class_and_nothing_is_in_two_splits(tmp_path):
    source = load(classes(tmp_path, {"cat": 20, "dog": 30, "fox": 10}))
    assert (
        source.classes == ("cat", "dog", "fox")
        and source.unlabelled is None
        and source.domain is None
        and not source.renderings
    )
    assert {name: np.bincount(split.label).tolist() for name, split in source.splits.items()} == {
        "train": [14, 21, 7],
        "val_iid": [2, 3, 1],
        "test_iid": [4, 6, 2],
    }
    expected = [(shade, 0 if shade < 20 else 1 if shade < 50 else 2) for shade in range(60)]
    assert sorted(sum((examples(split) for split in source.splits.values()), [])) == expected
    for split in source.splits.values():
        assert split.label.dtype == np.int32 and split.image.shape == (len(split.label), 4, 4, 3)


def test_the_seed_alone_decides_the_draw(tmp_path):
    classes(tmp_path, {"cat": 20, "dog": 20})
    first, again, other = (
        examples(load(tmp_path, seed=seed).splits["train"]) for seed in (1, 1, 2)
    )
    assert first == again != other


@pytest.mark.parametrize(
    "names",
    [("train", "validation", "test"), ("Training", "VAL", "Testing"), ("train", "valid", "test")],
)
def test_splits_that_are_there_are_kept(tmp_path, names):
    for i, name in enumerate(names):
        classes(tmp_path / name, {"cat": 2, "dog": 3}, first=10 * i)
    source = load(tmp_path)
    assert [examples(source.splits[name]) for name in ("train", "val_iid", "test_iid")] == [
        [(first, 0), (first + 1, 0), (first + 2, 1), (first + 3, 1), (first + 4, 1)]
        for first in (0, 10, 20)
    ]


def test_a_split_that_is_missing_is_drawn_from_train(tmp_path):
    classes(tmp_path / "train", {"cat": 10, "dog": 10})
    classes(tmp_path / "test", {"cat": 2, "dog": 2}, first=50)
    source = load(tmp_path)
    assert shades(source.splits["test_iid"].image) == [50, 51, 52, 53]
    assert len(source.splits["val_iid"].label) == 2 and len(source.splits["train"].label) == 18
    assert sorted(
        shades(source.splits["train"].image) + shades(source.splits["val_iid"].image)
    ) == list(range(20))


def test_splits_are_drawn_anew_from_all_images_where_the_own_ones_are_not_wanted(tmp_path):
    classes(tmp_path / "train", {"cat": 10, "dog": 2})
    classes(tmp_path / "test", {"dog": 18, "fox": 10}, first=12)
    source = load(tmp_path, own_splits=False)
    assert source.classes == ("cat", "dog", "fox")
    assert sorted(sum((examples(split) for split in source.splits.values()), [])) == [
        (shade, 0 if shade < 10 else 1 if shade < 30 else 2) for shade in range(40)
    ]
    assert np.bincount(source.splits["test_iid"].label).tolist() == [2, 4, 2]


def test_every_kind_of_file_at_any_depth_is_found_and_nothing_else(tmp_path):
    suffixes = [".jpg", ".jpeg", ".png", ".webp", ".pgm", ".ppm", ".bmp"]
    for i, suffix in enumerate([*suffixes, *map(str.upper, suffixes)]):
        path = write(
            tmp_path / "cat" / ("deep/er" if i % 2 else "") / f"{i:02d}{suffix.lower()}",
            pixels(seed=i),
        )
        path.rename(path.with_suffix(suffix))
    for name in ("notes.txt", ".hidden.png", "._00.jpg", "Thumbs.db"):
        (tmp_path / "cat" / name).write_text("no image")
    for name in ("__MACOSX", ".cache"):
        (tmp_path / name).mkdir()
        (tmp_path / "cat" / name).mkdir()
        (tmp_path / "cat" / name / "0.jpg").write_text("no image")
    classes(tmp_path, {"dog": 3})
    listing = folder.list_classes(tmp_path)
    assert listing.classes == ("cat", "dog") and listing.label.tolist() == [0] * 14 + [1] * 3
    assert listing.files.names == sorted(listing.files.names)
    assert len(load(tmp_path).splits["train"].label) == 10 + 1


def test_rare_classes_are_left_out_where_that_is_wanted(tmp_path):
    classes(tmp_path, {"cat": 10, "dog": 1, "elk": 0, "fox": 12})
    source = load(tmp_path, min_per_class=5)
    assert source.classes == ("cat", "fox")
    assert {label for split in source.splits.values() for _, label in examples(split)} == {0, 1}
    assert {
        shade for split in source.splits.values() for shade, label in examples(split) if label == 1
    } == set(range(11, 23))


@pytest.mark.parametrize("given", [[""], ["train", "test"]])
def test_images_are_counted_before_missing_splits_are_drawn_from_them(given, tmp_path):
    for split in given:
        classes(tmp_path / split, {"cat": 12, "dog": 12, "fox": 11})
    source = load(tmp_path, min_per_class=12)
    assert source.classes == ("cat", "dog")
    drawn = ["train", "val_iid", *(["test_iid"] if given == [""] else [])]
    counts = sum(np.bincount(source.splits[split].label) for split in drawn)
    assert counts.tolist() == [12, 12] and len(source.splits["train"].label) < 24


def test_with_splits_of_our_own_images_are_counted_over_all_that_were_there(tmp_path):
    classes(tmp_path / "train", {"cat": 3, "dog": 3, "fox": 3})
    classes(tmp_path / "test", {"cat": 3, "dog": 3, "fox": 2})
    assert load(tmp_path, min_per_class=6, own_splits=False).classes == ("cat", "dog")


def test_rarity_is_of_the_images_in_train_and_holds_for_all_splits(tmp_path):
    classes(tmp_path / "train", {"cat": 4, "dog": 2, "fox": 4})
    classes(tmp_path / "test", {"cat": 1, "dog": 5, "fox": 1}, first=20)
    classes(tmp_path / "val", {"cat": 1, "fox": 2}, first=40)
    splits = load(tmp_path, min_per_class=3).splits
    assert examples(splits["test_iid"]) == [(20, 0), (26, 1)] and examples(splits["val_iid"]) == [
        (40, 0),
        (41, 1),
        (42, 1),
    ]


def test_images_without_labels_come_from_a_folder_of_their_own(tmp_path):
    classes(tmp_path / "photos", {"cat": 3, "dog": 3})
    classes(tmp_path / "more", {"": 2, "deep/er": 2}, first=30)
    source = load(tmp_path / "photos", unlabelled=str(tmp_path / "more"))
    assert shades(source.unlabelled) == [30, 31, 32, 33]


def test_images_without_labels_may_lie_beside_train(tmp_path):
    classes(tmp_path, {"train/cat": 3, "train/dog": 3, "unlabelled": 2})
    assert len(load(tmp_path, unlabelled=str(tmp_path / "unlabelled")).unlabelled) == 2
    assert refused(tmp_path).startswith(
        f"{tmp_path}/unlabelled: has images, but is none of train, validation, test"
    )


@pytest.mark.parametrize("unlabelled", ["", "cat", "cat/deep", ".."])
def test_images_are_not_both_with_and_without_labels(tmp_path, unlabelled):
    root = classes(tmp_path / "photos", {"cat": 3, "cat/deep": 1, "dog": 3})
    line = refused(root, unlabelled=os.path.join(root, unlabelled))
    assert (
        line.startswith("config field data.unlabelled is ")
        and f"overlaps with the labelled images in {root}" in line
    )


def test_names_of_any_script_work(tmp_path):
    names = ["猫", "chien à poil", "Ёлка", "emoji 🦊", "space bar", "quote'\"<&>"]
    source = load(classes(tmp_path / "фото", dict.fromkeys(names, 3)))
    assert source.classes == tuple(sorted(names))
    assert [len(split.label) for split in source.splits.values()] == [6, 6, 6]


def test_one_name_in_two_ways_of_writing_accents_is_one_class(tmp_path):
    names = {form: unicodedata.normalize(form, "café") for form in ("NFC", "NFD")}
    classes(tmp_path / "train", {names["NFC"]: 3, "tea": 3})
    classes(tmp_path / "test", {names["NFD"]: 1, "tea": 1}, first=10)
    assert examples(load(tmp_path).splits["test_iid"]) == [(10, 0), (11, 1)]


def test_names_that_are_no_text_work_and_are_printed_in_one_line(tmp_path):
    broken = os.fsdecode(b"\xff\xfe")
    root = classes(tmp_path, {"two\nlines": 4, f"bytes {broken}": 4})
    write(root / "two\nlines" / f"{broken}.jpg")
    source = load(root)
    assert (
        all(name.isprintable() and name.encode() for name in source.classes)
        and source.classes[1] == "two\\nlines"
    )
    for split in source.splits.values():
        again = reopen(json.loads(json.dumps(split.image.description())))
        np.testing.assert_array_equal(again[:], split.image[:])
    (root / "two\nlines" / f"{broken}.jpg").write_text("no image")
    line = refused(root)
    assert line.startswith(f"{tmp_path}/two\\nlines/") and line.isprintable()


def test_links_are_followed(tmp_path):
    classes(tmp_path / "elsewhere", {"cat": 3, "dogs": 3})
    root = tmp_path / "photos"
    (root / "dog").mkdir(parents=True)
    (root / "cat").symlink_to(tmp_path / "elsewhere" / "cat")
    (root / "dog" / "all").symlink_to(tmp_path / "elsewhere" / "dogs")
    (root / "cat" / "again.png").symlink_to(tmp_path / "elsewhere" / "dogs" / "000.png")
    assert folder.list_classes(root).label.tolist() == [0] * 4 + [1] * 3


def test_what_is_read_of_a_folder_survives_pickling_and_json(tmp_path):
    image = load(classes(tmp_path, {"cat": 6, "dog": 6})).splits["train"].image
    for again in (
        pickle.loads(pickle.dumps(image)),
        reopen(json.loads(json.dumps(image.description()))),
    ):
        np.testing.assert_array_equal(again[:], image[:])
        assert again.preprocess == image.preprocess == Preprocess(4, "crop")


def test_rows_are_taken_as_of_an_array(tmp_path):
    image = load(classes(tmp_path, {"cat": 8, "dog": 8})).splits["train"].image
    whole = image[:]
    for rows in (
        slice(2, 9, 3),
        slice(None, None, -1),
        np.array([5, 0, 5, -1]),
        np.arange(0),
        np.arange(len(image)) % 2 == 0,
        [1, 2],
        3,
        -1,
    ):
        np.testing.assert_array_equal(image[rows], whole[rows])
    for wrong in ([len(image)], [-len(image) - 1]):
        with pytest.raises(IndexError):
            image[np.array(wrong)]
    with pytest.raises(TypeError):
        image[np.zeros((2, 2), int)]
    np.testing.assert_array_equal(image.select(np.array([3, 1]))[:], whole[[3, 1]])


def test_a_changed_folder_is_known_by_its_list(tmp_path):
    root = classes(tmp_path, {"cat": 2, "dog": 1})
    before = folder.listed(str(root))
    assert [image.name for image in before] == ["cat/000.png", "cat/001.png", "dog/000.png"]
    assert all(image.size == (root / image.name).stat().st_size for image in before)
    (root / "notes.txt").write_text("no image")
    assert folder.listed(str(root)) == before
    write(root / "cat" / "000.png", pixels())
    assert folder.listed(str(root)) != before
    with pytest.raises(
        UserError, match="^config field data.unlabelled is 'none': it must be a folder of images$"
    ):
        folder.listed("none", "data.unlabelled")


def test_classes_that_are_known_may_lie_at_any_depth(tmp_path):
    root = classes(tmp_path, {"fog/1/cat": 2, "fog/1/dog": 1, "fog/5/dog": 1, "snow/cat/deep": 1})
    listing = folder.list_classes(root, ("cat", "dog", "fox"))
    assert listing.files.names == [
        "fog/1/cat/000.png",
        "fog/1/cat/001.png",
        "fog/1/dog/000.png",
        "fog/5/dog/000.png",
        "snow/cat/deep/000.png",
    ]
    assert listing.label.tolist() == [0, 0, 1, 1, 0] and listing.classes == ("cat", "dog", "fox")
    classes(root, {"fog/2/wolf": 1})
    with pytest.raises(
        UserError,
        match=f"^{root}/fog/2/wolf: is none of the training classes .cat, dog, fox, ...., "
        "and holds none",
    ):
        folder.list_classes(root, ("cat", "dog", "fox"))


def make_link_loop(root):
    (root / "cat" / "up").symlink_to(root)


# What is done to a folder {cat: 4, dog: 4}, and what is said: {} stands for the folder.
WRONG = {
    "a class with one image": (
        lambda r: classes(r, {"elk": 1}),
        "{}: class 'elk' has 1 image, but train, val_iid, test_iid need one each",
    ),
    "a class with two": (
        lambda r: classes(r, {"elk": 2}),
        "{}: class 'elk' has 2 images, but train, val_iid, test_iid need one each",
    ),
    "an empty class": (lambda r: classes(r, {"elk": 0}), "{}/elk: no images (.jpg, .jpeg, "),
    "a loose image": (
        lambda r: write(r / "loose.png"),
        "{}/loose.png: an image beside the folders",
    ),
    "text for an image": (
        lambda r: (r / "cat/x.png").write_text("text"),
        "{}/cat/x.png: is no image that can be read",
    ),
    "0 bytes": (lambda r: (r / "cat/x.jpg").touch(), "{}/cat/x.jpg: is no image that can be read"),
    "too large an image": (
        lambda r: (r / "cat/x.png").write_bytes(large(10_000, 10_000)),
        "{}/cat/x.png: has more than 89,478,485 pixels",
    ),
    "a dangling link": (
        lambda r: (r / "cat/x.jpg").symlink_to("nowhere"),
        "{}/cat/x.jpg: is a link to nothing, or no file",
    ),
    "a pipe": (
        lambda r: os.mkfifo(r / "cat/x.jpg"),
        "{}/cat/x.jpg: is a link to nothing, or no file",
    ),
    "a link upwards": (
        make_link_loop,
        "{0}/cat/up/cat: is the folder {0}/cat once more, by a link: name a folder that holds",
    ),
    "a format not read": (
        lambda r: (r / "cat/x.HEIC").touch(),
        "{}/cat/x.HEIC: images of its kind are not read",
    ),
    "train and more": (
        lambda r: classes(r, {"train/cat": 3, "train/dog": 3}),
        "{}/cat: has images, but is none of train, validation, test",
    ),
    "no train": (lambda r: classes(r, {"test/cat": 3}), "{}: has test but no folder train"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_one_line_that_begins_with_where(tmp_path, what):
    root = classes(tmp_path, {"cat": 4, "dog": 4})
    spoil, said = WRONG[what]
    spoil(root)
    assert refused(root).startswith(said.format(root))


def test_folders_that_are_none_or_empty_are_said_so(tmp_path):
    assert refused(tmp_path / "none") == (
        f"config field data.path is '{tmp_path}/none': "
        "it must be a folder with one subfolder of images for each class"
    )
    assert refused("").startswith("config field data.path is '': ")
    assert refused(tmp_path).startswith(f"{tmp_path}: has no subfolders: ")
    write(tmp_path / "a.png")
    assert refused(tmp_path).startswith(
        f"{tmp_path}: has image files but no subfolders, such as a.png: "
    )
    classes(tmp_path / "photos", {"cat": 5})
    assert (
        refused(tmp_path / "photos")
        == f"{tmp_path}/photos: has only the class 'cat': there must be two at least"
    )
    assert refused(tmp_path / "photos", unlabelled=str(tmp_path / "none")).startswith(
        "config field data.unlabelled is "
    )
    (tmp_path / "empty").mkdir()
    assert refused(tmp_path / "photos", unlabelled=str(tmp_path / "empty")).startswith(
        f"config field data.unlabelled is '{tmp_path}/empty': no images there"
    )


def test_splits_that_do_not_fit_one_another_are_said_so(tmp_path):
    classes(tmp_path, {"train/cat": 3, "train/dog": 3, "validation/cat": 1, "validation/wolf": 1})
    assert refused(tmp_path).startswith(
        f"{tmp_path}/validation/wolf: is none of the training classes (cat, dog, ...)"
    )
    os.rename(tmp_path / "validation", tmp_path / "test")
    (tmp_path / "validation").mkdir()
    assert refused(tmp_path).startswith(f"{tmp_path}/validation: no images ")


def test_too_high_a_demand_says_how_far_to_lower_it(tmp_path):
    classes(tmp_path, {"cat": 9, "dog": 7, "fox": 5})
    line = (
        f"{tmp_path}: fewer than two classes have the 8 images each "
        "that data.min_per_class asks for: lower it to 7 or less"
    )
    assert refused(tmp_path, min_per_class=8) == line


def test_folders_that_may_not_be_read_are_said_so(tmp_path, monkeypatch):
    root, scandir = classes(tmp_path, {"cat": 3, "dog": 3}), os.scandir

    def forbid(path):
        if str(path).endswith("dog"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", forbid)
    assert (
        refused(root) == f"{root}/dog: cannot be read (Permission denied): change its permissions"
    )


def test_a_damaged_image_is_named_when_it_is_decoded(tmp_path):
    classes(tmp_path, {"cat": 3, "dog": 3})
    write(tmp_path / "cat" / "x.jpg", pixels(64, 64))
    whole = (tmp_path / "cat" / "x.jpg").read_bytes()
    (tmp_path / "cat" / "x.jpg").write_bytes(whole[:-200])
    images = Decoded(folder.list_classes(tmp_path).files, Preprocess(4))
    images.check()
    with pytest.raises(
        UserError, match=f"^{tmp_path}/cat/x.jpg: is damaged .image file is truncated"
    ):
        images[:]


def test_a_hundred_thousand_files_are_listed_in_seconds(tmp_path):
    original = write(tmp_path / "original.png", grey(7))
    for c in range(50):
        (tmp_path / "photos" / f"{c:02d}").mkdir(parents=True)
        for i in range(200):
            os.link(original, tmp_path / "photos" / f"{c:02d}" / f"{i}.png")
    begun = time.process_time()
    listing = folder.list_classes(tmp_path / "photos")
    took = time.process_time() - begun
    assert len(listing.files) == 10_000 and took < 1  # a tenth of the files in a tenth of 10 s
