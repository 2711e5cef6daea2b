"""Folders of classes and LSUN's databases: labels by name, images as they were, misfits named."""

import contextlib
import os
import socket
import sys

import numpy as np
import pytest

from natra_jax.data import importing
from natra_jax.data.decoding import SUFFIXES, Preprocess, decode, formats
from natra_jax.types import UserError
from tests.data import archives


def run(kind, source, dest, name="toy"):
    lines = []
    return importing.from_files(kind, source, dest, name, lines.append), " ".join(lines)


def classes(written):
    return (written.directory / "label.labels.txt").read_text().splitlines()


@pytest.mark.parametrize(
    "splits, ours",
    [
        ([""], {"train"}),
        (["train", "val", "test"], {"train", "validation", "test"}),
        (["train", "validation"], {"train", "validation"}),
        (["test"], {"test"}),
    ],
)
def test_a_folder_of_classes_is_read_back_by_split_and_class(splits, ours, tmp_path):
    images = archives.classes(tmp_path / "source", splits, names=("cat", "Hündchen", "犬"))
    written, said = run("folder", tmp_path / "source", tmp_path / "dest", "größe_2")
    found, names = archives.read(written.directory), classes(written)
    assert set(found) == ours and names == ["Hündchen", "cat", "犬"] and said == ""
    examples = [(split, example) for split, its in found.items() for example in its]
    assert len(examples) == len(images)
    for split, example in examples:
        parts = example["filename"].split("/")
        assert (
            example["image"] == images[example["filename"]] and names[example["label"]] == parts[-2]
        )
        assert len(parts) == 2 or split == {"val": "validation"}.get(parts[0], parts[0])


def test_images_of_every_kind_are_kept_as_they_are_and_can_be_decoded_afterwards(tmp_path):
    kinds = {
        ".jpg": "JPEG",
        ".jpeg": "JPEG",
        ".png": "PNG",
        ".webp": "WEBP",
        ".bmp": "BMP",
        ".ppm": "PPM",
        ".pgm": "PPM",
        ".pbm": "PPM",
        ".pnm": "PPM",
        ".jfif": "JPEG",
    }
    others = {".gif": "GIF", ".tif": "TIFF", ".tiff": "TIFF", ".avif": "AVIF"}
    assert {*kinds, *others} == set(SUFFIXES)
    images = {
        f"image{suffix}": archives.encoded(0, kind, mode="L" if suffix == ".pgm" else "RGB")
        for suffix, kind in kinds.items()
    }
    images |= {
        f"{mode}.png": archives.encoded(0, "PNG", mode=mode)
        for mode in ("RGBA", "LA", "P", "L", "1")
    }
    images |= {f"{mode}.JPG": archives.encoded(0, "JPEG", mode=mode) for mode in ("CMYK", "L")}
    rewritten = {
        f"image{suffix}": archives.encoded(0, kind)
        for suffix, kind in others.items()
        if kind in formats()
    }
    sources = {f"class/{name}": data for name, data in (images | rewritten).items()}
    archives.unpacked(tmp_path / "source", sources)
    written, _ = run("folder", tmp_path / "source", tmp_path / "dest")
    found = {
        example["filename"]: example["image"]
        for example in archives.read(written.directory)["train"]
    }
    for name, data in rewritten.items():  # which not every reader of data sets knows
        png = found.pop(f"class/{name}")
        assert png.startswith(b"\x89PNG")
        np.testing.assert_array_equal(decode(png, Preprocess(4)), decode(data, Preprocess(4)))
    assert found == {f"class/{name}": data for name, data in images.items()}
    for data in found.values():
        assert decode(data, Preprocess(4)).shape == (4, 4, 3)


def test_files_that_are_no_images_are_left_out_which_is_said_and_hidden_ones_silently(tmp_path):
    archives.classes(tmp_path / "source", [""])
    archives.unpacked(
        tmp_path / "source",
        {"README.md": b"", "cat/notes.txt": b"", ".cache/dog/1.jpg": b"", "cat/.x.jpg": b""},
    )
    written, said = run("folder", tmp_path / "source", tmp_path / "dest")
    assert (
        written.counts == {"train": 4}
        and said == "toy: 2 files that are no images by their names are left out, such as README.md"
    )


def test_a_folder_beside_the_splits_may_be_without_images(tmp_path):
    archives.classes(tmp_path / "source", ["train"])
    archives.unpacked(tmp_path / "source", {"notes/1.txt": b""})
    written, said = run("folder", tmp_path / "source", tmp_path / "dest")
    assert set(written.counts) == {"train"} and "notes/1.txt" in said


def test_an_image_of_too_many_pixels_is_skipped_without_being_decoded(tmp_path):
    archives.classes(tmp_path / "source", [""], count=100)
    # Pillow alone would only warn of the first, and decode it
    archives.unpacked(
        tmp_path / "source",
        {
            "cat/a.png": archives.claiming(10_000, 10_000),
            "cat/b.png": archives.claiming(50_000, 50_000),
        },
    )
    written, _ = run("folder", tmp_path / "source", tmp_path / "dest")
    lines = (written.directory / "skipped.txt").read_text().splitlines()
    assert [line.split("\t")[0] for line in lines] == ["cat/a.png", "cat/b.png"] and all(
        "pixels" in line for line in lines
    )


def _socket(path):
    with contextlib.chdir(path.parent), socket.socket(socket.AF_UNIX) as bound:
        bound.bind(path.name)  # which may have 108 characters


def also(name):
    return lambda source: archives.unpacked(source, {name: archives.encoded(0)})


FOLDER_WRONG = {
    "nothing": (lambda source: None, "holds no images"),
    "loose": (
        lambda source: also("1.jpg")(archives.unpacked(source, {"cat/1.jpg": b""})),
        "source/1.jpg: is out of place",
    ),
    "splits without classes": (
        lambda source: archives.unpacked(
            source, {"train/1.jpg": archives.encoded(0), "test/1.jpg": archives.encoded(1)}
        ),
        "test/1.jpg: lies in a folder of a split, but in none of a class",
    ),
    "deep": (
        lambda source: also("cat/old/1.jpg")(archives.unpacked(source, {"cat/1.jpg": b""})),
        "cat/old/1.jpg: is out of place",
    ),
    "beside splits": (
        lambda s: [archives.classes(s, ["train"]), also("extra/cat/1.jpg")(s)],
        "extra/cat/1.jpg: is out of place",
    ),
    "class untrained": (
        lambda s: [archives.classes(s, ["train"]), also("test/emu/1.jpg")(s)],
        "the class emu is in test and not in train",
    ),
    "both names": (
        lambda s: archives.classes(s, ["train", "val", "validation"]),
        "holds both val and validation",
    ),
    "a pipe": (
        lambda s: [archives.classes(s, [""]), os.mkfifo(s / "cat/x.png")],
        "source/cat/x.png: is a link to nothing, or no file: put an image in its place",
    ),
    "a pipe and nothing else": (
        lambda s: [(s / "cat").mkdir(), os.mkfifo(s / "cat/x.png")],
        "source/cat/x.png: is a link to nothing, or no file",
    ),
    "a socket": (
        lambda s: [archives.classes(s, [""]), _socket(s / "cat/x.png")],
        "source/cat/x.png: is a link to nothing, or no file",
    ),
    "a link to a device": (
        lambda s: [archives.classes(s, ["train"]), os.symlink("/dev/zero", s / "train/cat/x.png")],
        "source/train/cat/x.png: is a link to nothing, or no file",
    ),
    "a link to nothing": (
        lambda s: [archives.classes(s, [""]), os.symlink(s / "gone", s / "cat/x.png")],
        "source/cat/x.png: is a link to nothing, or no file",
    ),
    "images of a kind that is not read": (
        lambda s: archives.unpacked(archives.classes(s, [""]) and s, {"cat/x.HEIC": b""}),
        "source/cat/x.HEIC: images of its kind are not read: convert it",
    ),
    "a class without images": (
        lambda s: [archives.classes(s, [""]), (s / "emu").mkdir()],
        "source/emu: no images .* of class 'emu': add some, or move the folder away",
    ),
    "a class of notes": (
        lambda s: [archives.classes(s, [""]), archives.unpacked(s, {"emu/notes.txt": b""})],
        "source/emu: no images .* of class 'emu'",
    ),
    "a class of a split without images": (
        lambda s: [archives.classes(s, ["train", "test"]), (s / "test/emu").mkdir()],
        "source/test/emu: no images .* of class 'emu'",
    ),
    "a split without images": (
        lambda s: [archives.classes(s, ["train"]), (s / "test").mkdir()],
        "source/test: has no subfolders",
    ),
    "a class on two lines": (
        also("two\nlines/1.jpg"),
        r"the class 'two\\nlines' is not on one line",
    ),
}


@pytest.mark.parametrize("case", FOLDER_WRONG)
def test_folders_that_are_not_of_classes_are_refused_with_the_first_offender(case, tmp_path):
    change, said = FOLDER_WRONG[case]
    (tmp_path / "source").mkdir()
    change(tmp_path / "source")
    with pytest.raises(UserError, match=said):
        run("folder", tmp_path / "source", tmp_path / "dest")
    assert not (tmp_path / "dest").exists()


@pytest.mark.parametrize("name", ["", "Photos", "my photos", "../up", "2d", "a-b"])
def test_a_name_that_tensorflow_datasets_could_not_find_is_refused(name, tmp_path):
    archives.classes(tmp_path / "source", [""])
    with pytest.raises(UserError, match="--name="):
        run("folder", tmp_path / "source", tmp_path / "dest", name)


def key(i):
    return f"{i:040x}"


def lsun(source):
    """Write scenes with both splits, an object, and the unlabelled test set.

    Return {(split, category): {key: bytes}}.
    """
    counts = {
        ("train", "bedroom"): 3,
        ("validation", "bedroom"): 1,
        ("train", "tower"): 2,
        ("validation", "tower"): 2,
        ("train", "cat"): 4,
    }
    names = {"train": "train", "validation": "val"}
    values, start = {}, 0
    for (split, category), count in counts.items():
        stored = {
            key(i): archives.encoded(i, "WEBP" if i % 2 else "JPEG")
            for i in range(start, start + count)
        }
        archives.lmdb(
            source / ("cat" if category == "cat" else f"{category}_{names[split]}_lmdb"), stored
        )
        values[split, category], start = stored, start + count
    archives.lmdb(source / "test_lmdb", {key(99): b"?"})
    return values


def test_lsun_is_read_back_with_its_categories_as_labels(tmp_path):
    values = lsun(tmp_path / "source")
    before = archives.tree(tmp_path / "source")
    written, _ = run("lsun", tmp_path / "source", tmp_path / "dest")
    found, names = archives.read(written.directory), classes(written)
    assert names == ["bedroom", "cat", "tower"] and set(found) == {"train", "validation"}
    by_place = {place: {} for place in values}
    for split, examples in found.items():
        for example in examples:
            by_place[split, names[example["label"]]][example["id"]] = example["image"]
    assert by_place == values
    assert archives.tree(tmp_path / "source") == before  # not even a lock


def test_one_category_of_lsun_may_be_the_source_itself(tmp_path):
    values = {key(i): archives.encoded(i) for i in range(3)}
    written, _ = run("lsun", archives.lmdb(tmp_path / "cat", values), tmp_path / "dest")
    assert classes(written) == ["cat"] and [
        example["image"] for example in archives.read(written.directory)["train"]
    ] == list(values.values())


@pytest.mark.parametrize("size", [0, 100, 5000, -4096])
def test_an_lmdb_that_is_cut_off_is_refused_before_it_ends_the_process(size, tmp_path):
    path = (
        archives.lmdb(
            tmp_path / "cat", {key(i): np.random.default_rng(i).bytes(5000) for i in range(9)}
        )
        / "data.mdb"
    )
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(UserError, match="cat/data.mdb: .*download it again"):
        run("lsun", tmp_path, tmp_path / "dest")


def test_lsun_that_is_not_there_or_there_twice_is_named(tmp_path):
    with pytest.raises(
        UserError, match="holds no CATEGORY_train_lmdb/ or CATEGORY/ with a data.mdb: had from LSUN"
    ):
        run("lsun", tmp_path, tmp_path / "dest")
    for name in ("cat", "cat_train_lmdb"):
        archives.lmdb(tmp_path / name, {key(0): archives.encoded(0)})
    with pytest.raises(UserError, match="is of the same category and split as"):
        run("lsun", tmp_path, tmp_path / "dest")


def test_without_the_package_lmdb_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lmdb", None)
    with pytest.raises(UserError, match=r"pip install 'natra_jax\[lsun\]'"):
        run("lsun", tmp_path, tmp_path / "dest")
