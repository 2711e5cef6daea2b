"""Archives from strangers: nothing is written to disk, followed, or read without bound."""

import io
import os
import tarfile
import zipfile

import numpy as np
import pytest

from natra_jax.data.importing import containers, images
from natra_jax.data.importing.images import Corrupt
from natra_jax.types import UserError
from tests.data import archives

NAMES = ["../../up.png", "/absolute.png", "dir/ü.png", "dir/plain.png"]


@pytest.mark.parametrize("make", [archives.zipped, archives.tarred])
def test_members_are_read_by_whatever_name_and_never_written(make, tmp_path):
    place = tmp_path / "a" / "b"
    place.mkdir(parents=True)
    members = {name: name.encode() for name in NAMES}
    path = make(place / f"hostile{'.zip' if make is archives.zipped else '.tar'}", members)
    with containers.opened(path) as container:
        assert {name: container.read(name) for name in container.members} == members
    assert list(archives.tree(tmp_path)) == [str(path.relative_to(tmp_path))]


def test_hidden_members_and_directories_are_left_out(tmp_path):
    members = {
        "a/": b"",
        "a/1.png": b"1",
        "__MACOSX/a/._1.png": b"",
        "a/.hidden/2.png": b"",
        ".DS_Store": b"",
    }
    with containers.opened(archives.zipped(tmp_path / "a.zip", members)) as container:
        assert set(container.members) == {"a/1.png"}


def test_links_devices_and_sparse_members_of_a_tar_are_not_followed(tmp_path):
    (tmp_path / "secret.png").write_bytes(b"secret")
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        kinds = [
            ("sym.png", tarfile.SYMTYPE),
            ("hard.png", tarfile.LNKTYPE),
            ("pipe.png", tarfile.FIFOTYPE),
            ("disk.png", tarfile.BLKTYPE),
        ]
        for name, kind in kinds:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, str(tmp_path / "secret.png")
            archive.addfile(info)
        info = tarfile.TarInfo("sparse.png")
        info.pax_headers = {"GNU.sparse.map": "0,0", "GNU.sparse.size": str(2**40)}
        archive.addfile(info)
    with containers.opened(tmp_path / "a.tar") as container:
        assert not container.members


def test_links_in_a_zip_are_not_followed(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        info = zipfile.ZipInfo("link.png")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, str(tmp_path / "secret.png"))
    with containers.opened(tmp_path / "a.zip") as container:
        assert not container.members


@pytest.mark.parametrize("kind", ["zip", "tar", "folder"])
def test_a_member_beyond_the_bound_is_corrupt_and_read_no_further(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(containers, "MOST_BYTES", 1000)
    members = {"zeros.png": bytes(10**6), "right.png": bytes(1000)}
    make = {"zip": archives.zipped, "tar": archives.tarred, "folder": archives.unpacked}[kind]
    with containers.opened(make(tmp_path / f"a.{kind}", members)) as container:
        assert container.read("right.png") == bytes(1000)
        with pytest.raises(Corrupt, match="more than 1000 bytes"):
            container.read("zeros.png")


def test_a_table_beyond_the_bound_is_refused(tmp_path):
    (tmp_path / "table.txt").write_bytes(bytes(1001))
    with pytest.raises(UserError, match="table.txt: is larger than 1000 bytes"):
        containers.whole(tmp_path / "table.txt", most=1000)


def encrypted(path):
    data = archives.zipped(path, {"1.png": b"1"}).read_bytes()
    at = data.index(b"PK\x01\x02") + 8
    path.write_bytes(data[:at] + b"\x01" + data[at + 1 :])


def twice(path):
    data = archives.zipped(path, {"1.png": b"1", "2.png": b"2"}).read_bytes()
    path.write_bytes(data.replace(b"2.png", b"1.png"))


REFUSED = {
    "encrypted": ("a.zip", encrypted, "1.png is encrypted"),
    "a name twice": ("a.zip", twice, "holds 1.png twice"),
    "no zip": (
        "a.zip",
        lambda path: path.write_bytes(b"PK" + bytes(100)),
        "is no whole zip archive",
    ),
    "empty": ("a.zip", lambda path: path.write_bytes(b""), "is no whole zip archive"),
    "no tar": (
        "a.tar",
        lambda path: path.write_bytes(b"x" * 2000),
        "is no whole uncompressed tar archive",
    ),
    "cut tar": (
        "a.tar",
        lambda path: path.write_bytes(
            archives.tarred(path, {"1.png": bytes(9000)}).read_bytes()[:2000]
        ),
        "is no whole",
    ),
    "missing": ("a.tar", lambda path: None, "cannot be read .No such file"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_archives_that_cannot_be_read_are_refused_in_one_line(case, tmp_path):
    name, make, said = REFUSED[case]
    make(tmp_path / name)
    with (
        pytest.raises(UserError, match=f"{name}: .*{said}|{name}: {said}") as error,
        containers.opened(tmp_path / name),
    ):
        pass
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["a.zip", "a.tar"])
def test_an_archive_without_permission_is_refused_in_one_line(name, tmp_path, monkeypatch):
    def denied(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(containers, "open_file", denied)
    with (
        pytest.raises(UserError, match=f"{name}: cannot be read .Permission denied.: check"),
        containers.opened(tmp_path / name),
    ):
        pass


def test_the_same_file_name_in_two_folders_is_refused_where_names_tell_images(tmp_path):
    with (
        containers.opened(
            archives.unpacked(tmp_path / "a", {"x/1.jpg": b"", "y/1.jpg": b"", "z/1.txt": b""})
        ) as container,
        pytest.raises(UserError, match="holds 1.jpg twice, as x/1.jpg and y/1.jpg"),
    ):
        containers.by_basename(container, [".jpg"])


def test_a_file_name_that_is_no_utf_8_is_named(tmp_path):
    with open(os.fsencode(tmp_path) + b"/\xff.png", "wb"):
        pass
    with (
        pytest.raises(UserError, match=r"the file name '\\udcff.png' is not in UTF-8"),
        containers.opened(tmp_path),
    ):
        pass


def test_linked_folders_of_the_user_are_followed_but_not_in_a_circle(tmp_path):
    archives.unpacked(tmp_path / "elsewhere", {"1.jpg": b"1"})
    archives.unpacked(tmp_path / "source", {"cat/2.jpg": b"2"})
    (tmp_path / "source" / "dog").symlink_to(tmp_path / "elsewhere")
    with containers.opened(tmp_path / "source") as container:
        assert {name: container.read(name) for name in container.members} == {
            "cat/2.jpg": b"2",
            "dog/1.jpg": b"1",
        }
    (tmp_path / "source" / "dog" / "again").symlink_to(tmp_path / "source")
    with containers.opened(tmp_path / "source") as container:
        assert set(container.members) == {"cat/2.jpg", "dog/1.jpg"}
    (tmp_path / "source" / "elk").symlink_to(tmp_path / "elsewhere")
    said = "elk: is the folder .*/dog once more, by a link: name a folder that holds it once"
    with pytest.raises(UserError, match=said), containers.opened(tmp_path / "source"):
        pass


def test_a_link_to_nothing_is_named(tmp_path):
    (tmp_path / "1.jpg").symlink_to(tmp_path / "nowhere.jpg")
    with (
        pytest.raises(UserError, match="1.jpg: cannot be read .No such file"),
        containers.opened(tmp_path),
    ):
        pass


def test_a_file_that_may_not_be_read_stops_the_import(tmp_path):
    archives.unpacked(tmp_path, {"1.png": b"1"})
    with containers.opened(tmp_path) as container:
        (tmp_path / "1.png").unlink()
        (tmp_path / "1.png").mkdir()
        with pytest.raises(UserError, match="1.png: is a folder, where a file is wanted"):
            container.read("1.png")


def npy(array, **changes):
    file = io.BytesIO()
    np.save(file, array)
    data = file.getvalue()
    for old, new in changes.items():
        data = data.replace(old.encode(), new.encode())
    return data


def test_arrays_of_the_three_layouts_are_the_same_image():
    image = np.random.default_rng(0).integers(0, 256, (4, 5, 3), np.uint8)
    for array in (image, image.transpose(2, 0, 1).copy(), image.transpose(2, 0, 1)[None].copy()):
        np.testing.assert_array_equal(images.from_npy(npy(array)), image)


ZEROS = np.zeros((4, 5, 3), np.uint8)
NO_ARRAYS = {
    "floats": npy(np.zeros((4, 5, 3))),
    "gray": npy(ZEROS[..., 0]),
    "two channels": npy(ZEROS[..., :2].copy()),
    "two images": npy(np.stack([ZEROS, ZEROS])),
    "fortran": npy(np.asfortranarray(ZEROS)),
    "cut": npy(ZEROS)[:-1],
    "more": npy(ZEROS) + b"0",
    "nothing": npy(ZEROS[:0]),
    "huge": npy(ZEROS).replace(
        b"(4, 5, 3), }                    ", b"(99999999, 99999999, 3), }      "
    ),
    "negative": npy(ZEROS).replace(b"(4, 5, 3), }  ", b"(-4, -5, 3), }"),
    "pickled": npy(np.array([[[print] * 3]], object)),
    "empty file": b"",
    "head alone": npy(ZEROS)[:20],
    "another file": archives.encoded(0),
    "no dictionary": npy(ZEROS).replace(b"{'descr'", b"['descr'"),
}


@pytest.mark.parametrize("case", NO_ARRAYS)
def test_files_that_are_no_arrays_of_an_image_are_corrupt(case):
    with pytest.raises(Corrupt):
        images.from_npy(NO_ARRAYS[case])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GIF89a" + bytes(20),
        archives.encoded(0)[:-40],
        archives.encoded(0, "PNG")[:60],
        b"PF\n1 1\n-1.0\n" + bytes(12),
    ],
)
def test_what_does_not_decode_is_corrupt(data):
    with pytest.raises(Corrupt) as reason:
        images.checked(data)
    assert str(reason.value) and "BytesIO" not in str(reason.value)


def test_an_archive_that_asks_for_the_memory_of_its_decompressor_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("1.png", b"1")
    with (
        pytest.raises(UserError, match="1.png is compressed by LZMA: unpack the archive"),
        containers.opened(tmp_path / "a.zip"),
    ):
        pass


@pytest.mark.parametrize(
    "content, said",
    [
        (b"\x1f\x8b" + bytes(40), "a.tar: is a gzip archive, .*: unpack it and name the folder"),
        (b"<html><body>not found", "a.tar: is a web page, no zip or .*: name another file"),
        (b"%PDF-1.5", "a.tar: is a PDF document, no zip"),
    ],
)
def test_what_is_no_archive_is_said(content, said, tmp_path):
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(UserError, match=said), containers.opened(tmp_path / "a.tar"):
        pass


def test_archives_are_told_by_content_and_not_by_name(tmp_path):
    archives.zipped(tmp_path / "a.tar", {"1.png": b"1"})
    archives.tarred(tmp_path / "b.bin", {"BMW/1.png": b"1"})
    for name, member in (("a.tar", "1.png"), ("b.bin", "BMW/1.png")):
        with containers.opened(tmp_path / name) as container:
            assert container.read(member) == b"1"


def test_a_pipe_in_the_place_of_an_archive_keeps_nobody_waiting(tmp_path):
    os.mkfifo(tmp_path / "a.zip")
    with (
        pytest.raises(UserError, match="a.zip: is a pipe"),
        containers.opened(tmp_path / "a.zip"),
    ):
        pass
    with pytest.raises(UserError, match="a.zip: is a pipe"):
        containers.whole(tmp_path / "a.zip")
