"""CelebA and CelebA-HQ from their publishers' files.

Images are as they were, and tables have to agree with them.
"""

import shutil

import numpy as np
import pytest

from natra_jax.data import importing
from natra_jax.types import UserError
from tests.data import archives

TABLES = ("list_attr_celeba.txt", "identity_CelebA.txt", "list_eval_partition.txt")


def run(kind, source, dest):
    lines = []
    return importing.from_files(kind, source, dest, kind, lines.append), " ".join(lines)


def check(found, images, original=lambda image: image, identified=True):
    """Check that each split has its partition's images, in order, and what tables say of them."""
    assert sum(map(len, found.values())) == len(images)
    for split, examples in found.items():
        names = [example["filename"] for example in examples]
        assert names == sorted(
            name for name in images if archives.celeba_facts(original(name))["split"] == split
        )
        for example in examples:
            facts = archives.celeba_facts(original(example["filename"]))
            assert example["image"] == images[example["filename"]]
            assert example["attributes"] == facts["attributes"] and example["identity"] == (
                facts["identity"] if identified else -1
            )


def zipped(source):
    return archives.celeba(source)


def unpacked(source):
    images = archives.celeba(source)
    (source / "img_align_celeba.zip").unlink()
    archives.unpacked(source / "img_align_celeba", images | {".DS_Store": b"junk"})
    return images


def as_shared(source):
    """As the publisher's share has them."""
    images = archives.celeba(source)
    for directory, names in {
        "Img": ["img_align_celeba.zip"],
        "Anno": TABLES[:2],
        "Eval": TABLES[2:],
    }.items():
        (source / directory).mkdir()
        for name in names:
            (source / name).rename(source / directory / name)
    return images


@pytest.mark.parametrize("layout", [zipped, unpacked, as_shared])
def test_celeba_is_read_back_as_it_was_published(layout, tmp_path):
    images = layout(tmp_path / "source")
    written, said = run("celeba", tmp_path / "source", tmp_path / "dest")
    assert written.directory == tmp_path / "dest" / "celeba" / "1.0.0" and written.skipped == 0
    assert "published are train 162770, validation 19867, test 19962 images" in said
    check(archives.read(written.directory), images)


def test_without_identities_they_are_minus_one_which_is_said(tmp_path):
    images = archives.celeba(tmp_path / "source")
    (tmp_path / "source" / "identity_CelebA.txt").unlink()
    written, said = run("celeba", tmp_path / "source", tmp_path / "dest")
    assert "identity is -1 everywhere" in said
    check(archives.read(written.directory), images, identified=False)


def as_kaggle(source, suffix=".csv", mark=",", encoding="utf-8", folders=False):
    """As Kaggle has the tables, and what programs make of them."""
    images = unpacked(source)
    heads = {name: [] for name in TABLES}
    for name in TABLES:
        lines = (source / name).read_text().splitlines()
        if name == TABLES[0]:
            _, names, *lines = lines
            heads[name] = names.split()
        rows = [["image_id", *(heads[name] or ["value"])], *(line.split() for line in lines)]
        (source / name).unlink()
        path = source / (name.removesuffix(".txt") + suffix)
        if folders:
            path.mkdir()
            path = path / path.name
        path.write_text("".join(mark.join(row) + "\r\n" for row in rows), encoding)
    return images


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"suffix": ".txt"},
        {"mark": ";"},
        {"mark": "\t"},
        {"mark": '","'},
        {"encoding": "utf-8-sig"},
        {"encoding": "utf-16"},
        {"folders": True},
    ],
    ids=str,
)
def test_celeba_is_read_with_kaggles_tables_too(form, tmp_path):
    images = as_kaggle(tmp_path / "source", **form)
    if form.get("mark") == '","':
        for path in (tmp_path / "source").glob("*.csv"):
            quoted = [f'"{line}"' for line in path.read_text().splitlines()]
            path.write_text("\n".join(quoted))
    written, _ = run("celeba", tmp_path / "source", tmp_path / "dest")
    check(archives.read(written.directory), images)


def test_tables_with_a_byte_order_mark_are_read(tmp_path):
    images = archives.celeba(tmp_path / "source")
    for name in TABLES:
        path = tmp_path / "source" / name
        path.write_text(path.read_text(), "utf-8-sig")
    written, _ = run("celeba", tmp_path / "source", tmp_path / "dest")
    check(archives.read(written.directory), images)


@pytest.mark.parametrize(
    "content, kind",
    [
        (b"<!DOCTYPE html><title>Google Drive - Quota exceeded</title>", "a web page"),
        (b"PK\3\4" + bytes(40), "a zip archive"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
    ],
)
@pytest.mark.parametrize("name", TABLES)
def test_what_stands_in_the_place_of_a_table_is_said(content, kind, name, tmp_path):
    archives.celeba(tmp_path / "source")
    (tmp_path / "source" / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{name}: is {kind}.* where a table is wanted: put "):
        run("celeba", tmp_path / "source", tmp_path / "dest")


def test_an_archive_that_is_named_for_the_folder_is_to_be_unpacked(tmp_path):
    archives.celeba(tmp_path)
    with pytest.raises(UserError, match="is a file, not the directory that holds .*: name the dir"):
        run("celeba", tmp_path / "img_align_celeba.zip", tmp_path / "dest")


def damage(name, old, new):
    def change(source):
        text = (source / name).read_text()
        assert old in text
        (source / name).write_text(text.replace(old, new, 1))

    return change


def gone(name):
    return lambda source: (source / name).unlink()


def a_directory(name):
    def change(source):
        (source / name).unlink()
        (source / name).mkdir()

    return change


def cut_archive(source):
    path = source / "img_align_celeba.zip"
    path.write_bytes(path.read_bytes()[:-30])


WRONG = {
    "image unlisted": (
        damage("list_eval_partition.txt", "000003.jpg 0\n", ""),
        "list_eval_partition.txt: does not list 000003.jpg",
    ),
    "image missing": (
        damage("identity_CelebA.txt", "000003.jpg", "000010.jpg"),
        "identity_CelebA.txt: lists 000010.jpg, which is not in",
    ),
    "split unknown": (
        damage("list_eval_partition.txt", "000003.jpg 0", "000003.jpg 3"),
        "line 3 .000003.jpg 3. is not an image and 0",
    ),
    "listed twice": (
        damage("list_eval_partition.txt", "000003.jpg", "000002.jpg"),
        "partition.txt: lists 000002.jpg twice",
    ),
    "person zero": (
        damage("identity_CelebA.txt", "000001.jpg 2", "000001.jpg 0"),
        "identity_CelebA.txt: line 1 ",
    ),
    "too few attributes": (
        damage("list_attr_celeba.txt", " -1\n", "\n"),
        "list_attr_celeba.txt: line .* is not 40 values",
    ),
    "attribute of 2": (
        damage("list_attr_celeba.txt", " -1 ", " 2 "),
        "list_attr_celeba.txt: line .* is not 40 values",
    ),
    "count": (
        damage("list_attr_celeba.txt", "9\n", "10\n"),
        "list_attr_celeba.txt: promises 10 images and lists 9",
    ),
    "no count": (
        damage("list_attr_celeba.txt", "9\n", "Smiling\n"),
        "list_attr_celeba.txt: begins neither with",
    ),
    "no archive": (
        gone("img_align_celeba.zip"),
        "holds no img_align_celeba.zip or .*MMLAB.*mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
    ),
    "no attributes": (gone("list_attr_celeba.txt"), "holds no list_attr_celeba.txt.*MMLAB"),
    "no partition": (gone("list_eval_partition.txt"), "holds no list_eval_partition.txt.*MMLAB"),
    "unreadable": (
        a_directory("list_attr_celeba.txt"),
        "list_attr_celeba.txt: is a folder, where a file",
    ),
    "archive cut off": (cut_archive, "img_align_celeba.zip: is no whole zip archive"),
    "nothing": (shutil.rmtree, "source: does not exist, and should hold img_align_celeba.zip"),
}


@pytest.mark.parametrize("case", WRONG)
def test_celeba_files_that_disagree_or_are_missing_are_named_with_the_first_offender(
    case, tmp_path
):
    change, said = WRONG[case]
    archives.celeba(tmp_path / "source")
    change(tmp_path / "source")
    with pytest.raises(UserError, match=said) as error:
        run("celeba", tmp_path / "source", tmp_path / "dest")
    assert "\n" not in str(error.value) and not (tmp_path / "dest").exists()


def test_an_image_that_its_archive_holds_damaged_is_skipped(tmp_path):
    source = tmp_path / "source"
    images = archives.celeba(source, count=200)
    archive = source / "img_align_celeba.zip"
    whole = archive.read_bytes()
    at = whole.index(images["000100.jpg"]) + 50
    archive.write_bytes(whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :])
    written, _ = run("celeba", source, tmp_path / "dest")
    assert written.skipped == 1 and sum(written.counts.values()) == 199
    assert (
        (written.directory / "skipped.txt")
        .read_text()
        .startswith("img_align_celeba/000100.jpg\tBad CRC-32")
    )


ORIGINALS = [7, 3, 9, 2, 5]  # of the HQ images, by their number


def original(image):
    return f"{ORIGINALS[int(image[-9:-4])]:06d}.jpg"


def hq(kind="PNG"):
    return {f"image{i:05d}.png": archives.encoded(i, kind) for i in range(5)}


def hq_tables(directory):
    archives.celeba_tables(directory, [f"{i:06d}.jpg" for i in range(1, 10)])
    archives.celeba_hq_list(directory, ORIGINALS)


def test_celeba_hq_in_the_tar_of_tensorflow_datasets_has_everything_that_celeba_says_of_it(
    tmp_path,
):
    source, images = tmp_path / "source", hq()
    hq_tables(source)
    archives.tarred(
        source / "data1024x1024.tar", {f"./data/{name}": data for name, data in images.items()}
    )
    for place in (source, source / "data1024x1024.tar"):
        written, _ = run("celeba_hq", place, tmp_path / place.name)
        check(archives.read(written.directory), images, original)


def test_celeba_hq_of_the_authors_scripts_are_arrays_stored_as_png(tmp_path):
    rng, arrays = np.random.default_rng(0), {}
    for i in range(5):
        array = rng.integers(0, 256, (1, 3, 8, 8), np.uint8)
        arrays[f"imgHQ{i:05d}.npy"] = array[0].transpose(1, 2, 0)
        (tmp_path / "source").mkdir(exist_ok=True)
        np.save(tmp_path / "source" / f"imgHQ{i:05d}.npy", array)
    hq_tables(tmp_path)  # beside the folder
    written, _ = run("celeba_hq", tmp_path / "source", tmp_path / "dest")
    found = archives.read(written.directory)
    assert set(found) == {archives.celeba_facts(original(name))["split"] for name in arrays}
    for split, examples in found.items():
        np.testing.assert_array_equal(
            archives.pixels(written.directory, split),
            [arrays[example["filename"]] for example in examples],
        )
        for example in examples:
            assert (
                example["attributes"]
                == archives.celeba_facts(original(example["filename"]))["attributes"]
            )


def test_celeba_hq_without_a_mapping_is_all_for_training_which_is_said(tmp_path):
    images = hq()
    archives.celeba_tables(tmp_path, list(archives.celeba_images(9)))
    written, said = run(
        "celeba_hq", archives.zipped(tmp_path / "hq.zip", images), tmp_path / "dest"
    )
    assert (
        "all images are in train, without attributes and identities, since no image_list.txt"
        in said
    )
    expected = [
        {"image": images[name], "filename": name, "identity": -1} for name in sorted(images)
    ]
    assert archives.read(written.directory) == {"train": expected}


def test_celeba_hq_with_a_mapping_and_no_partition_has_its_attributes(tmp_path):
    images = hq()
    hq_tables(tmp_path)
    (tmp_path / "list_eval_partition.txt").unlink()
    written, said = run(
        "celeba_hq", archives.zipped(tmp_path / "hq.zip", images), tmp_path / "dest"
    )
    assert "no list_eval_partition.txt beside the images" in said
    found = archives.read(written.directory)
    assert list(found) == ["train"] and [
        example["filename"] for example in found["train"]
    ] == sorted(images)
    assert [e["identity"] for e in found["train"]] == [
        archives.celeba_facts(original(name))["identity"] for name in sorted(images)
    ]


HQ_WRONG = {
    "an image more": (
        lambda source: archives.unpacked(source, {"image00005.png": b""}),
        "image_list.txt: does not list 00005",
    ),
    "an image less": (gone("image00003.png"), "image_list.txt: lists 00003, which is not in"),
    "no number": (
        lambda source: archives.unpacked(source, {"mean.png": b""}),
        "the image mean.png does not end in its number",
    ),
    "a number twice": (
        lambda source: archives.unpacked(source, {"00001.png": b""}),
        "has the same number as",
    ),
    "files that do not fit": (
        damage("image_list.txt", "000003.jpg", "000004.jpg"),
        "image_list.txt: line 3 ",
    ),
    "no columns": (
        damage("image_list.txt", "orig_file", "file"),
        "image_list.txt: does not begin with the columns",
    ),
    "not in celeba": (
        damage("list_eval_partition.txt", "000009.jpg 1\n", ""),
        "partition.txt: does not list 000009.jpg, which is in .*list.txt",
    ),
    "two archives": (
        lambda s: [archives.zipped(s / f"{n}.zip", hq()) for n in "ab"],
        "holds several archives: name one",
    ),
    "nothing": (shutil.rmtree, "does not exist, and should hold images: had from CelebA-HQ"),
    "compressed": (
        lambda s: archives.tarred(s / "a.tar", hq(), "w:gz"),
        "a.tar: is a gzip archive, no zip or uncompressed tar archive: unpack it",
    ),
    "no images": (
        lambda s: archives.zipped(s / "a.zip", {"README.txt": b""}),
        "a.zip: holds no .png",
    ),
}


@pytest.mark.parametrize("case", HQ_WRONG)
def test_celeba_hq_files_that_disagree_or_are_missing_are_named(case, tmp_path):
    change, said = HQ_WRONG[case]
    hq_tables(archives.unpacked(tmp_path / "source", hq()))
    change(tmp_path / "source")
    with pytest.raises(UserError, match=said) as error:
        run("celeba_hq", tmp_path / "source", tmp_path / "dest")
    assert "\n" not in str(error.value) and not (tmp_path / "dest").exists()
