"""In the place of any file that is read, what is none is told in one line, and nothing waits."""

import contextlib
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from etils import epath
from ml_collections import ConfigDict

from natra_jax import files, predict, trees, workdir
from natra_jax.config import experiment
from natra_jax.data import batches, contents, folder
from natra_jax.data.decoding import Preprocess, check, decode
from natra_jax.data.encoded_images import Decoded, Files
from natra_jax.data.importing import celeba, celeba_hq, cifar10, containers, lsun, mnist
from natra_jax.data.importing import folder as folder_importer
from natra_jax.data.loader import prefetch
from natra_jax.data.records import Records, builder
from natra_jax.inputs import Inputs
from natra_jax.stages.context import open_array
from natra_jax.training import pretrained
from natra_jax.training.checkpoint import Checkpoints
from natra_jax.types import UserError
from natra_jax.weights import generator_config
from natra_jax.weights.formats import detect
from tests.data import archives, photos

DEADLINE = 5  # seconds


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # the name of a socket may have 108 characters
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(path.name)
    finally:
        os.chdir(here)


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _folder(path: Path) -> None:
    path.mkdir()


def _link_to_nothing(path: Path) -> None:
    path.symlink_to(path.with_name("nothing"))


def _link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


def _locked(path: Path) -> None:
    path.write_bytes(b"locked")
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("root may read everything")


WAITING = [_pipe, _socket, _device]
ODD = [*WAITING, _folder, _link_to_nothing, _link_to_itself, _locked]


@contextlib.contextmanager
def deadline() -> Iterator[None]:
    """Fail where the body waits, whoever it waits in."""

    def late(*_: object) -> None:
        raise AssertionError("it waits")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(DEADLINE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _opened(importer: Any, source: Path) -> None:
    with importer(source):
        pass


def _one_image(root: Path) -> Path:
    """Return the place of an image beside others in a folder of photos."""
    archives.classes(root, [""])
    return root / "cat" / "odd.jpg"


def _cifar10(root: Path) -> Path:
    archives.unpacked(root, archives.cifar10()[0])
    (root / "data_batch_3.bin").unlink()
    return root / "data_batch_3.bin"


def _mnist(root: Path) -> Path:
    archives.mnist(root, compressed=False)
    (root / "t10k-labels-idx1-ubyte").unlink()
    return root / "t10k-labels-idx1-ubyte"


def _celeba_table(root: Path) -> Path:
    archives.celeba(root)
    (root / "list_attr_celeba.txt").unlink()
    return root / "list_attr_celeba.txt"


def _celeba_archive(root: Path) -> Path:
    archives.celeba(root)
    (root / "img_align_celeba.zip").unlink()
    return root / "img_align_celeba.zip"


def _lsun(root: Path) -> Path:
    (root / "cat").mkdir(parents=True)
    return root / "cat" / "data.mdb"


def _hugging_face(root: Path) -> Path:
    archives.unpacked(root, {"config.json": b"{}"})
    return root / "model.safetensors"


def _under(name: str) -> Callable[[Path], Path]:
    def place(root: Path) -> Path:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        return root / name

    return place


def _generator(root: Path) -> None:
    c = ConfigDict({"weights": str(root / "net.pkl"), "family": "", "truncation": 0.0})
    assert generator_config.is_file(c)
    Inputs().generator(c)


# name: (makes everything but the file, and returns its place, reads what is there)
READERS: dict[str, tuple[Callable[[Path], Path], Callable[[Path], object]]] = {
    "weights": (_under("net.pkl"), lambda root: detect.read(root / "net.pkl")),
    "weights of Hugging Face": (_hugging_face, detect.read),
    "card of Hugging Face": (_under("config.json"), detect.read),
    "generator.weights": (_under("net.pkl"), _generator),
    "digest": (_under("a.npz"), lambda root: Inputs().sha256(root / "a.npz")),
    "npz": (_under("a.npz"), lambda root: trees.read(epath.Path(root / "a.npz"))),
    "array": (
        _under("a.npy"),
        lambda root: open_array(cast("Any", SimpleNamespace(workdir=epath.Path(root))), "a.npy"),
    ),
    "config": (_under("a.py"), lambda root: experiment.load(str(root / "a.py"))),
    "config by name": (_under("a.py"), lambda root: experiment.find(str(root / "a.py"))),
    "image": (_under("a.png"), lambda root: decode(root / "a.png", Preprocess(8))),
    "head of an image": (_under("a.png"), lambda root: check(str(root / "a.png"))),
    "predict": (_under("a"), lambda root: predict.read_image(str(root / "a"), (8, 8, 3), "crop")),
    "content": (
        _under("a.png"),
        lambda root: contents.digest(str(root), [contents.File("a.png", 1, ())]),
    ),
    "table": (_under("a.txt"), lambda root: containers.whole(root / "a.txt")),
    "mnist": (_mnist, lambda root: _opened(mnist.opened, root)),
    "cifar10": (_cifar10, lambda root: _opened(cifar10.opened, root)),
    "cifar10's archive": (
        _under("cifar-10-binary.tar.gz"),
        lambda root: _opened(cifar10.opened, root / "cifar-10-binary.tar.gz"),
    ),
    "celeba's table": (_celeba_table, lambda root: _opened(celeba.opened, root)),
    "celeba's archive": (_celeba_archive, lambda root: _opened(celeba.opened, root)),
    "celeba_hq's archive": (
        _under("a.zip"),
        lambda root: _opened(celeba_hq.opened, root / "a.zip"),
    ),
    "lsun": (_lsun, lambda root: _opened(lsun.opened, root)),
    "folder to import": (
        _under("a.zip"),
        lambda root: _opened(folder_importer.opened, root / "a.zip"),
    ),
}


@pytest.mark.parametrize("make", ODD, ids=lambda make: make.__name__[1:])
@pytest.mark.parametrize("name", READERS)
def test_what_is_no_regular_file_is_told_in_one_line(name, make, tmp_path):
    place, read = READERS[name]
    if (name, make) in (("digest", _folder), ("config by name", _locked)):
        pytest.skip("it is found, and is what is asked for")
    make(place(tmp_path / "a"))
    with deadline(), pytest.raises(UserError) as error:
        read(tmp_path / "a")
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)
    assert not any(word in str(error.value) for word in ("damaged", "again", "repair"))


@pytest.mark.parametrize("make", ODD, ids=lambda make: make.__name__[1:])
def test_an_image_of_a_folder_that_is_none_is_told_before_anything_is_read(make, tmp_path):
    make(_one_image(tmp_path / "a"))
    if make is _folder:
        assert len(folder.listed(str(tmp_path / "a"))) == 4  # a folder may have any name
        return
    with deadline(), pytest.raises(UserError, match=f"^{tmp_path}/a/cat"):
        contents.digest(str(tmp_path / "a"), folder.listed(str(tmp_path / "a")))


@pytest.mark.parametrize("make", WAITING, ids=lambda make: make.__name__[1:])
def test_libraries_that_open_files_themselves_meet_regular_ones_alone(make, tmp_path):
    like = {"params": {"a": np.zeros(1, np.float32)}, "batch_stats": {}}
    (tmp_path / "orbax" / "d").mkdir(parents=True)
    (tmp_path / "orbax" / "_METADATA").write_text("{}")
    make(tmp_path / "orbax" / "d" / "a")
    (tmp_path / "steps" / "7").mkdir(parents=True)
    make(tmp_path / "steps" / "7" / "_CHECKPOINT_METADATA")
    for read in (
        lambda: pretrained.read(epath.Path(tmp_path / "orbax"), like),
        lambda: Checkpoints(epath.Path(tmp_path / "steps")),
    ):
        with deadline(), pytest.raises(UserError, match=r"is a \w+, where a file is wanted"):
            read()


@pytest.mark.parametrize("make", WAITING, ids=lambda make: make.__name__[1:])
@pytest.mark.parametrize("name", ["label.labels.txt", "a-train.array_record-00001-of-00002"])
def test_a_prepared_data_set_is_of_regular_files(name, make, tmp_path):
    tfds = pytest.importorskip("tensorflow_datasets")
    from tests.data.prepared_sets import prepare

    features = {"label": tfds.features.ClassLabel(names=["cat", "dog"])}
    place = prepare(tmp_path / "a" / "1.0.0", features, {"train": [{"label": 0}] * 2})
    (place / name).unlink()
    make(place / name)
    for read in (builder, lambda place: Records(str(place), "train").read(1)):
        with deadline(), pytest.raises(UserError, match=f"{name}: is a .*, where a file"):
            read(place)


@pytest.mark.parametrize("make", ODD, ids=lambda make: make.__name__[1:])
def test_a_task_with_what_is_no_file_is_not_done(make, tmp_path):
    task = epath.Path(tmp_path / "task")
    workdir.begin(task, "f")
    (task / "a").write_bytes(b"")  # as long as pipes and devices are
    workdir.commit(task, "f", {})
    assert workdir.is_done(task, "f")
    (task / "a").unlink()
    make(Path(task / "a"))
    with deadline():
        assert not workdir.is_done(task, "f")
        with pytest.raises(UserError) if make is not _folder else contextlib.nullcontext():
            workdir.commit(task, "f", {})


def _doubling(root: Path) -> None:
    """Make 24 folders, each with two links to the next: 2^24 ways."""
    for i in range(24):
        (root / f"d{i}").mkdir(parents=True)
        for name in "xy":
            (root / f"d{i}" / name).symlink_to(root / f"d{i + 1}")
    (root / "d24").mkdir()
    (root / "d24" / "a.png").write_bytes(b"")


def _cycles(root: Path) -> None:
    """Make a folder with three links to itself, which are ways without end."""
    root.mkdir()
    for name in ("cat", "x", "y"):
        (root / name).symlink_to(".")


def _load(path: Path) -> object:
    return folder.load(
        path=str(path),
        seed=0,
        resolution=8,
        channels=3,
        fit="crop",
        validation_share=0.1,
        test_share=0.1,
        own_splits=True,
        min_per_class=0,
        unlabelled="",
    )


def _known_classes(root: Path) -> object:
    """Load classes of which the test images lie at any depth."""
    archives.classes(root.parent / "data" / "train", [""])
    (root.parent / "data" / "test").symlink_to(root)
    return _load(root.parent / "data")


WALKS: dict[str, Callable[[Path], object]] = {
    "folder, listed": lambda root: folder.listed(str(root)),
    "folder, loaded": _load,
    "folder, classes at any depth": _known_classes,
    "folder, unlabelled": lambda root: folder.unlabelled_files(str(root)),
    "importers": lambda root: _opened(containers.opened, root),
    "weights": lambda root: Inputs().sha256(root),
    "orbax": files.require_regular_below,
    "work directory": lambda root: workdir.commit(epath.Path(root), "f", {}),
}


@pytest.mark.parametrize("make", [_doubling, _cycles], ids=lambda make: make.__name__[1:])
@pytest.mark.parametrize("name", WALKS)
def test_trees_of_links_are_walked_through_once(name, make, tmp_path):
    make(tmp_path / "a")
    searches = name in ("weights", "orbax", "work directory")
    said = "once more, by a link: name a folder that holds it once|is none of"
    leads_back = name == "importers" and make is _cycles
    refused = contextlib.nullcontext() if searches or leads_back else None
    with deadline(), refused or pytest.raises(UserError, match=said):
        WALKS[name](tmp_path / "a")


@pytest.mark.parametrize("name", WALKS)
def test_folders_in_folders_are_walked_through_up_to_a_depth(name, tmp_path):
    deep = tmp_path / "a" / "/".join("d" * 300)
    deep.mkdir(parents=True)
    (deep / "a.png").write_bytes(b"")
    with deadline(), pytest.raises(UserError, match="more than 100 folders deep"):
        WALKS[name](tmp_path / "a")


def test_links_to_folders_are_followed(tmp_path):
    archives.classes(tmp_path / "real", [""])
    (tmp_path / "a").mkdir()
    for name in ("cat", "dog"):
        (tmp_path / "a" / name).symlink_to(tmp_path / "real" / name)
    assert len(folder.listed(str(tmp_path / "a"))) == 4
    assert {path.name for path in files.below(epath.Path(tmp_path / "a"))} == {"0.jpg", "1.jpg"}


@pytest.mark.parametrize("threads", [0, 2])
def test_images_that_go_while_they_are_trained_on_are_named_with_what_to_do(threads, tmp_path):
    names = sorted(archives.classes(tmp_path, [""]))
    images = Decoded(Files(str(tmp_path), names), Preprocess(8))
    batch_at = batches({"image": images}, len(names), seed=0)
    with deadline(), prefetch(batch_at, 0, 2, threads=threads) as reader:
        next(reader)
    changes: dict[Callable[[], object], str] = {
        (tmp_path / names[2]).unlink: "is not there, or a link to nothing: bring it back",
        lambda: os.mkfifo(tmp_path / names[2]): "is a pipe, where a file is wanted",
        lambda: (tmp_path / names[1]).write_bytes(b""): "it is empty: bring its content back",
    }
    for (change, said), name in zip(changes.items(), (2, 2, 1), strict=True):
        change()
        with (
            deadline(),
            prefetch(batch_at, 0, 2, threads=threads) as reader,
            pytest.raises(UserError, match=f"^{tmp_path}/{names[name]}: .*{said}"),
        ):
            next(reader)
        if name == 2 and (tmp_path / names[2]).exists():
            (tmp_path / names[2]).unlink()
            archives.unpacked(tmp_path, {names[2]: archives.encoded(0)})


@pytest.mark.parametrize("size", [0, 5, 100, 1000, 4223])
def test_an_array_shorter_than_its_head_says_is_told_before_it_is_mapped(size, tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((4, 1024), np.uint8))
    context: Any = SimpleNamespace(workdir=epath.Path(tmp_path))
    assert open_array(context, "a.npy").shape == (4, 1024)
    os.truncate(tmp_path / "a.npy", size)
    with pytest.raises(UserError, match=f"^{tmp_path}/a.npy: cannot be read"):
        open_array(context, "a.npy")


@pytest.mark.parametrize("kind", ["bmp", "ppm", "tif"])
def test_pillow_maps_no_file_whose_end_may_be_cut_off_meanwhile(kind, tmp_path, monkeypatch):
    path = photos.write(tmp_path / f"a.{kind}")
    expected = decode(path.read_bytes(), Preprocess(8))
    monkeypatch.setattr("mmap.mmap", None)
    assert (decode(path, Preprocess(8)) == expected).all()
