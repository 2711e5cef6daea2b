"""The survey of data before they are loaded: against counts and digests made by hand."""

import hashlib
import json
import os
import shutil
import time
from collections import Counter

import numpy as np
import pytest
import tensorflow_datasets as tfds
from etils import epath
from ml_collections import ConfigDict

from natra_jax import inputs
from natra_jax.data import SOURCES, contents, from_arrays, source_of
from natra_jax.data import survey as module
from natra_jax.data.survey import survey
from natra_jax.types import UserError
from tests.data.photos import classes, grey, pixels, write
from tests.data.prepared_sets import prepare

LABEL = {"label": tfds.features.ClassLabel(names=["a", "b"])}


def section(name="folder", path="", unlabelled=""):
    return ConfigDict({"name": name, "path": str(path), "unlabelled": str(unlabelled)})


@pytest.fixture
def photos(tmp_path):
    """Seven labelled photos, some of them deep, and four without labels in another folder."""
    root = classes(tmp_path / "photos", {"cat": 3, "dog": 2, "cat/deep/er": 2})
    return section(path=root, unlabelled=classes(tmp_path / "more", {"": 3, "x": 1}))


@pytest.fixture
def prepared(tmp_path):
    rows = {"train": 6, "test": 4}
    examples = {name: [{"label": i % 2} for i in range(count)] for name, count in rows.items()}
    prepare(tmp_path / "set" / "1.0.0", LABEL, examples)
    return section("tfds:set", tmp_path)


def images():
    rng = np.random.default_rng(0)
    train = rng.integers(0, 256, (600, 8, 8, 1), np.uint8)
    unlabelled = rng.integers(0, 256, (5, 8, 8, 1), np.uint8)
    return from_arrays((train, np.arange(600) % 2), unlabelled=unlabelled)


def files_below(root):
    paths = [os.path.join(folder, name) for folder, _, names in os.walk(root) for name in names]
    return sorted(os.path.relpath(path, root) for path in paths)


def sha256(content):
    content = content.encode() if isinstance(content, str) else content
    return hashlib.sha256(content).hexdigest()


def digest(root, names):
    """The digest of names and contents, by hand."""
    lines = []
    for name in names:
        with open(os.path.join(root, name), "rb") as file:
            lines.append(json.dumps([name, sha256(file.read())]) + "\n")
    return sha256("".join(lines))


@pytest.fixture
def read(monkeypatch):
    """The names of the files whose content is read, and no wait until a file counts as settled."""
    names, sha256 = [], contents._sha256

    def counted(path):
        names.append(os.path.basename(path))
        return sha256(path)

    monkeypatch.setattr(contents, "_sha256", counted)
    monkeypatch.setattr(inputs, "_SETTLED", 0)
    return names


def start(workdir, c):
    """The identity that one start finds, which remembers it for the next."""
    remembered = inputs.Inputs(epath.Path(workdir))
    found = survey(c, digest=remembered.digest).identity
    remembered.save()
    return found


def exchange(one, other):
    """Two files change places, as when labels are put right."""
    aside = f"{one}.aside"
    os.rename(one, aside)
    os.rename(other, one)
    os.rename(aside, other)


def test_a_folder_is_identified_by_names_and_contents_with_and_without_unlabelled_images(photos):
    labelled, unlabelled = files_below(photos.path), files_below(photos.unlabelled)
    assert len(labelled) == 7 and len(unlabelled) == 4
    digests = [digest(photos.path, labelled), digest(photos.unlabelled, unlabelled)]
    assert survey(photos).identity == {"files": sha256(json.dumps(digests))}
    photos.unlabelled = ""
    assert survey(photos).identity == {"files": sha256(json.dumps(digests[:1]))}


@pytest.mark.parametrize("suffix", ["png", "bmp", "ppm", "pgm"])
@pytest.mark.parametrize("same_times", [False, True])
def test_files_of_one_size_that_change_places_make_another_data_set(
    tmp_path, read, suffix, same_times
):
    paths = [tmp_path / "photos" / name / f"0.{suffix}" for name in ("cat", "dog")]
    for path, shade in zip(paths, (10, 200), strict=True):
        write(path, grey(shade) if suffix != "pgm" else grey(shade)[..., 0])
        if same_times:
            os.utime(path, (1_500_000_000, 1_500_000_000))
    assert len({path.stat().st_size for path in paths}) == 1
    c = section(path=tmp_path / "photos")
    before = start(tmp_path, c)
    assert start(tmp_path, c) == before and len(read) == 2
    exchange(*paths)
    after = start(tmp_path, c)
    exchange(*paths)
    assert after != before and start(tmp_path, c) == before


def test_unlabelled_images_are_known_by_their_content_too(photos, tmp_path, read):
    before = start(tmp_path, photos)
    with open(os.path.join(photos.unlabelled, "x", "000.png"), "r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"x")
    assert start(tmp_path, photos) != before


def test_a_data_set_that_was_only_touched_or_copied_is_the_same_and_read_once_more(
    photos, tmp_path, read
):
    before = start(tmp_path, photos)
    os.utime(os.path.join(photos.path, "cat", "000.png"))
    assert start(tmp_path, photos) == before and len(read) == 11 + 7
    copied = tmp_path / "copied"
    shutil.copytree(photos.path, copied)
    photos.path = str(copied)
    assert start(tmp_path, photos) == before and len(read) == 11 + 7 + 7
    assert start(tmp_path, photos) == before and len(read) == 11 + 7 + 7


def test_a_file_that_cannot_be_read_is_named(photos, monkeypatch):
    found = survey(photos)
    assert found.count
    gone = os.path.join(photos.path, "cat", "000.png")
    os.remove(gone)
    with pytest.raises(UserError, match=f"^{gone}: cannot be read .*: check its disk$"):
        found.identity  # noqa: B018


def test_a_start_that_finds_a_hundred_thousand_files_as_they_were_is_quick(tmp_path, monkeypatch):
    changed = (1, 2, 3)
    files = [contents.File(f"class{i % 1000}/{i}.jpg", 40_000, changed) for i in range(100_000)]
    monkeypatch.setattr(contents, "digest", lambda root, files: "0" * 64)
    remembered = inputs.Inputs(epath.Path(tmp_path))
    remembered.digest("photos", files)
    remembered.save()
    monkeypatch.delattr(contents, "digest")
    began = time.process_time()
    assert inputs.Inputs(epath.Path(tmp_path)).digest("photos", files) == "0" * 64
    assert time.process_time() - began < 1
    assert (tmp_path / "inputs.json").stat().st_size < 1_000


def test_a_folder_that_changes_is_another_but_not_for_what_is_no_image(photos):
    before = survey(photos).identity
    write(os.path.join(photos.path, "cat", ".hidden.png"))
    with open(os.path.join(photos.path, "notes.txt"), "w") as file:
        file.write("no image")
    assert survey(photos).identity == before
    write(os.path.join(photos.unlabelled, "new.png"))
    assert survey(photos).identity != before


def test_a_folder_is_counted_with_what_lies_beside_it(photos):
    found = survey(photos)
    assert found.count == 11 and found.resolution is None and found.channels is None


def test_each_folder_is_listed_once_whatever_is_asked_and_none_before(photos, monkeypatch):
    listed, scandir = Counter(), os.scandir

    def counting(path):
        listed[str(path)] += 1
        return scandir(path)

    monkeypatch.setattr(os, "scandir", counting)
    found = survey(photos)
    assert not listed
    for _ in range(2):
        found.identity, found.count, found.suitable_resolution(), found.is_grey()
    below = ("", "/cat", "/cat/deep", "/cat/deep/er", "/dog")
    expected = [photos.path + name for name in below]
    assert listed == Counter([*expected, photos.unlabelled, f"{photos.unlabelled}/x"])


@pytest.mark.parametrize(
    "count, pixels", [(0, 32), (1_999, 32), (2_000, 64), (19_999, 64), (20_000, 128), (10**6, 128)]
)
def test_more_images_allow_for_more_pixels(photos, monkeypatch, count, pixels):
    monkeypatch.setattr(module.FolderSurvey, "count", count)
    monkeypatch.setattr(module.FolderSurvey, "typical_side", lambda self: 500)
    assert survey(photos).suitable_resolution() == pixels


@pytest.mark.parametrize("side, pixels", [(5, 8), (28, 32), (32, 32), (33, 64), (300, 128)])
def test_small_images_are_not_scaled_up_beyond_the_next_power_of_two(
    tmp_path, monkeypatch, side, pixels
):
    for name in ("cat", "dog"):
        write(tmp_path / name / "1.png", grey(9, side + 7, side))
    monkeypatch.setattr(module.FolderSurvey, "count", 10**6)
    found = survey(section(path=tmp_path))
    assert found.typical_side() == side and found.suitable_resolution() == pixels


def test_a_folder_is_grey_where_no_head_says_colour(tmp_path, monkeypatch):
    for i in range(3):
        write(tmp_path / "cat" / f"{i}.png", pixels(seed=i)[..., 0])
    assert survey(section(path=tmp_path)).is_grey()
    monkeypatch.setattr(module, "_MOST_LOOKED_AT", 2)
    assert not survey(section(path=tmp_path)).is_grey()
    monkeypatch.undo()
    write(tmp_path / "dog" / "0.png", pixels())
    assert not survey(section(path=tmp_path)).is_grey()


def test_folders_that_are_missing_or_empty_are_said_so(tmp_path):
    with pytest.raises(UserError, match="^config field data.path is 'none': it must be a folder"):
        survey(section(path="none")).count  # noqa: B018
    with pytest.raises(UserError, match="^config field data.unlabelled is 'none': it must be a"):
        survey(section(path=tmp_path, unlabelled="none")).identity  # noqa: B018
    empty = survey(section(path=tmp_path))
    assert empty.count == 0 and not empty.is_grey()
    with pytest.raises(UserError, match=f"^{tmp_path}: no images"):
        empty.suitable_resolution()


def test_a_prepared_set_is_identified_by_its_descriptions_and_its_files(prepared):
    directory = os.path.join(prepared.path, "set", "1.0.0")
    with open(os.path.join(directory, "notes.txt"), "w") as file:
        file.write("no part of it")
    names = sorted(name for name in os.listdir(directory) if name != "notes.txt")
    expected = {"card": digest(directory, names)}
    assert survey(prepared).identity == expected
    shard = os.path.join(directory, "set-train.array_record-00000-of-00002")
    with open(shard, "r+b") as file:
        byte = file.read(1)[0]
        file.seek(0)
        file.write(bytes([byte ^ 1]))
    changed = survey(prepared).identity
    assert changed != expected
    with open(os.path.join(directory, "label.labels.txt"), "w") as file:
        file.write("b\na\n")
    assert survey(prepared).identity not in (changed, expected)


def test_a_prepared_set_is_known_by_a_folder_without_labels_beside_it_too(prepared, tmp_path):
    alone = survey(prepared).identity
    prepared.unlabelled = "test"
    assert survey(prepared).identity == alone
    more = classes(tmp_path / "more", {"": 3})
    prepared.unlabelled = str(more)
    found = survey(prepared).identity
    assert found == alone | {"files": digest(more, sorted(os.listdir(more)))}
    exchange(more / "000.png", more / "001.png")
    assert survey(prepared).identity != found


def test_a_prepared_set_is_counted_over_all_its_splits(prepared):
    found = survey(prepared)
    assert found.count == 10 and found.resolution is None and found.channels is None
    assert found.typical_side() == 4 and found.suitable_resolution() == 8 and not found.is_grey()
    with pytest.raises(UserError, match="must be the directory that has the prepared data set"):
        survey(section("tfds:other", prepared.path)).count  # noqa: B018


def test_digits_are_the_same_everywhere():
    found = survey(section("digits"))
    assert found.identity == {} and found.count == len(load_digits().target)
    assert (found.resolution, found.channels, found.is_grey()) == (16, 3, False)


def load_digits():
    from sklearn.datasets import load_digits

    return load_digits()


def test_arrays_are_identified_by_all_that_is_in_them():
    source = images()
    digest = hashlib.sha256(json.dumps(["0", "1"]).encode())
    for name, split in source.splits.items():
        digest.update(name.encode() + np.asarray(split.label, np.int32).tobytes())
    for name, split in source.splits.items():
        digest.update(f"{name} {(len(split.label), 8, 8, 1)}".encode())
        digest.update(split.image[:].tobytes())
    digest.update(b"unlabelled (5, 8, 8, 1)" + source.unlabelled.tobytes())
    found = survey(section("arrays"), source)
    assert found.identity == {"arrays": digest.hexdigest()}
    assert (found.count, found.resolution, found.channels) == (605, 8, 1)
    assert found.is_grey() and found.suitable_resolution() == 8
    source.unlabelled[0, 0, 0, 0] += 1
    assert survey(section("arrays"), source).identity != found.identity


def test_arrays_that_nobody_handed_over_are_asked_for():
    found = survey(section("arrays"))
    assert found.identity == {} and found.resolution is None and found.channels is None
    message = r"^config field data.name is 'arrays': hand the arrays to natra_jax.pipeline.run"
    for ask in (lambda: found.count, found.suitable_resolution, found.is_grey):
        with pytest.raises(UserError, match=message):
            ask()
    with pytest.raises(UserError, match=message):
        SOURCES["arrays"].load(path="", seed=0)


def test_sources_are_found_by_their_names():
    found = {name: source_of(name) for name in ("digits", "folder", "tfds:lsun/cat", "arrays")}
    assert [name for name, source in found.items() if source.scales] == ["folder", "tfds:lsun/cat"]
    assert [name for name, source in found.items() if source.reads_path] == [
        "folder",
        "tfds:lsun/cat",
    ]
    assert [name for name, source in found.items() if source.takes_name] == ["tfds:lsun/cat"]
    for wrong in ("", "digit", "tfds", "tfds:", "folder:x", "arrays:x"):
        with pytest.raises(UserError) as error:
            source_of(wrong)
        assert str(error.value) == (
            f"config field data.name is {wrong!r}: "
            "it must be one of digits, digits_on_photos, folder, tfds:NAME, arrays"
        )
