"""Only regular files are opened, and nothing waits for another program."""

import errno
import io
import os
import socket
from pathlib import Path

import numpy as np
import pytest
from etils import epath
from jax.tree_util import Partial

from natra_jax import files, json_files
from natra_jax.data import Concat, Subset, batches, contents, folder, from_arrays
from natra_jax.data.decoding import Preprocess, decode
from natra_jax.data.importing import containers
from natra_jax.inputs import Inputs
from natra_jax.latents.encoding import in_batches
from natra_jax.types import UserError
from natra_jax.weights.formats import detect


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))


def _folder(path: Path) -> None:
    path.mkdir()


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [_pipe, _socket, _folder, _device])
@pytest.mark.parametrize("kind", [Path, epath.Path])
def test_what_is_no_regular_file_is_refused_without_waiting(make, kind, tmp_path):
    path = kind(tmp_path / "weights")
    make(Path(path))
    for read in (files.open_file, files.require_regular, lambda path: files.read_bytes(path, 9)):
        with pytest.raises(UserError, match=rf"{tmp_path}/weights: is a .*: name a regular file"):
            read(path)


def test_a_pipe_that_takes_the_files_place_is_refused_without_waiting(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "weights")
    monkeypatch.setattr(files, "require_regular", lambda path: None)  # it was a file then
    with pytest.raises(UserError, match="is a pipe"):
        files.open_file(tmp_path / "weights")


READERS = {
    "bytes": containers.whole,
    "image": lambda path: decode(path, Preprocess(4)),
    "content": lambda path: contents.digest(str(path.parent), [contents.file("x", path.stat())]),
    "json": lambda path: json_files.read(path, dict, "write it anew"),
    "weights": detect.read,
    "folder": lambda path: folder.listed(str(path.parent)),
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_too_many_open_files_is_no_fault_of_the_file(name, number, tmp_path, monkeypatch):
    def fail(path, *_, **__):
        raise OSError(number, os.strerror(number), path)

    (tmp_path / "x").write_bytes(b"content")
    monkeypatch.setattr(os, "open", fail)
    monkeypatch.setattr(os, "scandir", fail)
    with pytest.raises(UserError) as error:
        READERS[name](tmp_path / "x")
    said = str(error.value)
    assert said.startswith(str(tmp_path)) and said.endswith(f"): {files.MORE_OPEN_FILES}"), said


def test_files_and_links_to_them_are_read_up_to_a_size(tmp_path):
    (tmp_path / "file").write_bytes(b"12345")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    with files.open_file(tmp_path / "link") as file:
        assert file.read() == b"12345"
    assert files.read_bytes(epath.Path(tmp_path / "link"), 5) == b"12345"
    with pytest.raises(UserError, match="is larger than 4 bytes"):
        files.read_bytes(tmp_path / "file", 4)


def test_no_more_is_asked_for_than_may_be_there(tmp_path):
    asked = []

    class Noted(io.BytesIO):
        def read(self, size=-1):
            asked.append(size)
            return super().read(size)

    for size in (0, 5, 2**20 - 1, 2**20, 2**22 + 3):
        asked.clear()
        data = bytes(size)
        assert files.read_within(Noted(data), 2**28) == data and max(asked) <= 2**20 + 1
        assert files.read_within(Noted(data), size, likely=3) == data
        assert size == 0 or files.read_within(Noted(data), size - 1, likely=size) is None


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux alone has /proc")
@pytest.mark.parametrize("name", ["/proc/self/status", "/proc/kmsg", "/proc/self/pagemap"])
def test_files_of_the_system_have_no_end_and_are_refused(name, tmp_path):
    (tmp_path / "link").symlink_to(name)
    for read in (files.open_file, files.require_regular, Inputs().sha256):
        with pytest.raises(UserError, match="is a file of the system's, .*: name a regular file"):
            read(tmp_path / "link")


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    (tmp_path / "file").write_bytes(b"12345")
    files.require_small(tmp_path / "file", 5)
    with pytest.raises(UserError, match="file: has 5 bytes, more than 4, and is not read"):
        files.require_small(tmp_path / "file", 4)


def test_a_name_stays_on_its_line(tmp_path):
    (tmp_path / "x\ny").mkdir()
    with pytest.raises(UserError, match=r"/x\\ny: is a folder, where a file is wanted"):
        files.open_file(tmp_path / "x\ny")
    with (
        pytest.raises(UserError, match=r"/x\\ny/z: cannot be read"),
        files.reading(tmp_path / "x\ny" / "z"),
    ):
        (tmp_path / "x\ny" / "z").stat()


def test_a_missing_file_is_an_error_of_the_file_system(tmp_path):
    for read in (files.open_file, files.require_regular):
        with pytest.raises(FileNotFoundError):
            read(tmp_path / "none")


def test_an_array_that_is_cut_off_while_it_is_mapped_is_told(tmp_path):
    images = np.arange(20 * 4096, dtype=np.uint8).reshape(20, 64, 64, 1)
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    flat = np.memmap(tmp_path / "images.npy", np.uint8, "r", 128 + 3 * 4096, (17, 64, 64, 1))
    batch_at = batches({"image": mapped}, 4, seed=0)
    ways = (
        lambda: batch_at(0)["image"],
        lambda: batches({"image": Subset(flat, np.arange(8))}, 4, seed=0)(0),
        lambda: Concat([mapped, flat])[np.array([0, 30])],
        lambda: next(in_batches(Partial(lambda x: x), mapped, 4)),
        lambda: from_arrays((mapped, np.arange(20) % 2)),
        lambda: files.require_whole(mapped[3:]),
        lambda: files.require_whole(flat),
    )
    for read in ways:
        read()
    os.truncate(tmp_path / "images.npy", 4096)
    for read in ways:
        with pytest.raises(UserError, match=f"^{tmp_path}/images.npy: was cut off .*: run again"):
            read()
    for whole in (images, mapped[np.arange(0)], "no array"):
        files.require_whole(whole)
    np.save(tmp_path / "new.npy", images)  # as files of ours are replaced: the old one is read on
    mapped = np.load(tmp_path / "new.npy", mmap_mode="r")
    np.save(tmp_path / "other.npy", images[:1])
    (tmp_path / "other.npy").replace(tmp_path / "new.npy")
    files.require_whole(mapped)
    assert (mapped == images).all()
