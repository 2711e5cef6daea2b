"""CIFAR-10's binary version and MNIST's idx files: the same pixels and labels, damage named."""

import gzip
import os
import tarfile

import numpy as np
import pytest

from natra_jax.data import importing
from natra_jax.data.importing import containers
from natra_jax.types import UserError
from tests.data import archives


def run(kind, source, dest):
    lines = []
    return importing.from_files(kind, source, dest, kind, lines.append), " ".join(lines)


def check(written, images, labels):
    found = archives.read(written.directory)
    assert set(found) == set(images) == set(written.counts)
    for split, examples in found.items():
        assert [example["label"] for example in examples] == labels[split].tolist()
        assert all(example["image"].startswith(b"\x89PNG") for example in examples)
        stored = archives.pixels(written.directory, split)
        np.testing.assert_array_equal(stored.reshape(images[split].shape), images[split])


def archive(source, files):
    return archives.tarred(
        source / "cifar-10-binary.tar.gz",
        {f"cifar-10-batches-bin/{n}": d for n, d in files.items()},
        "w:gz",
    ).parent


def archive_itself(source, files):
    return archive(source, files) / "cifar-10-binary.tar.gz"


def inside(source, files):
    return archives.unpacked(source / "cifar-10-batches-bin", files).parent


@pytest.mark.parametrize("layout", [archive, archive_itself, archives.unpacked, inside])
def test_cifar10_is_read_back_as_it_was_published(layout, tmp_path):
    files, images, labels = archives.cifar10()
    (tmp_path / "source").mkdir()
    written, said = run("cifar10", layout(tmp_path / "source", files), tmp_path / "dest")
    assert "published are train 50000, test 10000 images, here are train 20, test 4" in said
    check(written, images, labels)
    assert (written.directory / "label.labels.txt").read_text().split() == archives.CIFAR10


@pytest.mark.parametrize("compressed", [True, False])
def test_mnist_is_read_back_as_it_was_published(compressed, tmp_path):
    images, labels = archives.mnist(tmp_path / "MNIST" / "raw", compressed)
    written, _ = run("mnist", tmp_path, tmp_path / "dest")
    check(written, images, labels)
    assert archives.pixels(written.directory, "train").shape == (5, 28, 28, 1)


def test_mnist_that_a_browser_unpacked_is_read_by_its_old_names_and_in_folders_of_them(tmp_path):
    images, labels = archives.mnist(tmp_path, compressed=False)
    for path in sorted(tmp_path.iterdir()):
        if path.name.startswith("train"):
            path.rename(path.with_name(f"{path.name}.gz"))
        else:  # as programs unpack NAME.zip
            aside = path.rename(tmp_path / "aside")
            path.mkdir()
            aside.rename(path / path.name)
    written, _ = run("mnist", tmp_path, tmp_path / "dest")
    check(written, images, labels)


@pytest.mark.parametrize("head", [True, False])
def test_mnist_is_read_of_kaggles_tables_too(head, tmp_path):
    images, labels = archives.mnist(tmp_path / "idx", compressed=False)
    columns = ["label", *(f"{i}x{j}" for i in range(1, 29) for j in range(1, 29))]
    for split, its in images.items():
        rows = np.column_stack([labels[split], its.reshape(len(its), -1)]).tolist()
        lines = [",".join(map(str, row)) for row in ([columns] * head + rows)]
        (tmp_path / f"mnist_{split}.csv").write_text("\n".join(lines))
    written, _ = run("mnist", tmp_path, tmp_path / "dest")
    check(written, images, labels)


ROW = ",".join(["1"] * 785)


@pytest.mark.parametrize(
    "text, said",
    [
        ("label,1x1\n7,0\n", "line 2 has 2 values, not 785: each row has to be a label and 784"),
        ("label\n" + ROW + "\n\n" + ROW[:-2], "line 4 has 784 values, not 785: each row has"),
        (ROW + "\n" + ROW[:-1] + "1.5", "value 785 of line 2 is '1.5', not 0 to 255: each row"),
        ("label\n" + ",".join(["256"] * 785), "value 1 of line 2 is '256', not 0 to 255: each row"),
        ("label\n" + ",".join(["-1"] * 785), "value 1 of line 2 is '-1', not 0 to 255: each row"),
        ("", "is no table with rows of numbers: each row has to be a label and 784"),
    ],
)
def test_tables_that_are_not_mnists_are_refused_in_one_line(text, said, tmp_path):
    archives.mnist(tmp_path, compressed=False)
    (tmp_path / "mnist_train.csv").write_text(text)
    with pytest.raises(UserError, match=f"mnist_train.csv: {said}") as error:
        run("mnist", tmp_path, tmp_path / "dest")
    assert "\n" not in str(error.value)


def test_another_mnist_of_the_same_shape_is_another_source(tmp_path):
    archives.mnist(tmp_path / "source", compressed=False)
    run("mnist", tmp_path / "source", tmp_path / "dest")
    path = tmp_path / "source" / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(UserError, match="holds another data set, or this one from another source"):
        run("mnist", tmp_path / "source", tmp_path / "dest")


def cut(name, count):
    return lambda files: files | {name: files[name][:count]}


def changed(name, at, byte):
    return lambda files: files | {name: files[name][:at] + bytes([byte]) + files[name][at + 1 :]}


def without(name):
    return lambda files: {key: data for key, data in files.items() if key != name}


CIFAR_WRONG = {
    "cut": (
        cut("data_batch_3.bin", -1),
        "data_batch_3.bin has 12291 bytes, not a multiple of 3073",
    ),
    "empty": (cut("test_batch.bin", 0), "test_batch.bin has 0 bytes"),
    "label": (
        changed("data_batch_2.bin", 3073, 10),
        "data_batch_2.bin: image 1 has the label 10, not 0 to 9",
    ),
    "missing": (
        without("data_batch_5.bin"),
        "holds no data_batch_5.bin: had from CIFAR-10 binary version, Alex Krizhevsky",
    ),
    "no names": (without("batches.meta.txt"), "holds no .*batches.meta.txt: had from CIFAR-10"),
    "one name": (
        lambda files: files | {"batches.meta.txt": b"cat\n" * 10},
        "batches.meta.txt lists 1 classes in 10 words, not ten",
    ),
    "nine names": (cut("batches.meta.txt", -8), "batches.meta.txt lists 9 classes"),
}


@pytest.mark.parametrize("case", CIFAR_WRONG)
@pytest.mark.parametrize("layout", [archive, archives.unpacked])
def test_cifar10_files_that_are_damaged_or_missing_are_named(case, layout, tmp_path):
    change, said = CIFAR_WRONG[case]
    source = tmp_path / "source"
    source.mkdir()
    with pytest.raises(UserError, match=said) as error:
        run("cifar10", layout(source, change(archives.cifar10()[0])), tmp_path / "dest")
    assert (
        "\n" not in str(error.value)
        and str(source) in str(error.value)
        and not (tmp_path / "dest").exists()
    )


def test_an_archive_of_cifar10_that_is_cut_off_is_refused(tmp_path):
    path = archive_itself(tmp_path, archives.cifar10()[0])
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(UserError, match="cifar-10-binary.tar.gz: is no whole tar archive"):
        run("cifar10", tmp_path, tmp_path / "dest")


def test_what_gunzip_reads_is_read_whatever_lies_behind_it(tmp_path):
    path = archive_itself(tmp_path, archives.cifar10()[0])
    whole = containers.expanded(path)
    for behind in (b"gabc", b"\0" * 700, b"\x1f"):
        path.write_bytes(path.read_bytes() + behind)
        assert containers.expanded(path) == whole
    path.write_bytes(gzip.compress(whole[:5]) + gzip.compress(whole[5:]) + b"more")
    assert containers.expanded(path) == whole


def test_a_source_that_is_no_file_and_no_folder_is_said(tmp_path):
    os.mkfifo(tmp_path / "source")
    for kind in ("mnist", "cifar10"):
        with pytest.raises(UserError, match="source: is a pipe, where a file is wanted"):
            run(kind, tmp_path / "source", tmp_path / "dest")


MNIST_WRONG = {
    "cut": (
        "train-images-idx3-ubyte",
        lambda data: data[:-1],
        "train-images-idx3-ubyte: is no whole idx file of bytes .3919 of them",
    ),
    "more": (
        "train-images-idx3-ubyte",
        lambda data: data + b"\0",
        "has 1 bytes more than the 3920",
    ),
    "none": (
        "train-images-idx3-ubyte",
        lambda data: archives.idx(np.zeros((0, 28, 28), np.uint8)),
        "train-images-idx3-ubyte: is empty, by its head .0, 28, 28.: put the file",
    ),
    "head": (
        "t10k-labels-idx1-ubyte",
        lambda data: data[:6],
        "t10k-labels-idx1-ubyte: is no whole idx file",
    ),
    "kind": (
        "t10k-labels-idx1-ubyte",
        lambda data: b"\0\0\x0d" + data[3:],
        "is no idx file of bytes with 1 axes, but begins with 0xd01",
    ),
    "count": (
        "t10k-labels-idx1-ubyte",
        lambda data: archives.idx(np.zeros(4, np.uint8)),
        "has 4 labels for the 5 images of t10k-images-idx3-ubyte: put the files of one data set",
    ),
    "label": (
        "train-labels-idx1-ubyte",
        lambda data: data[:9] + b"\x0a" + data[10:],
        "label 1 is 10, not 0 to 9",
    ),
    "missing": (
        "train-labels-idx1-ubyte",
        None,
        "holds no train-labels-idx1-ubyte or .*Yann LeCun",
    ),
}


@pytest.mark.parametrize("case", MNIST_WRONG)
def test_mnist_files_that_are_damaged_or_missing_are_named(case, tmp_path):
    name, change, said = MNIST_WRONG[case]
    archives.mnist(tmp_path / "source", compressed=False)
    path = tmp_path / "source" / name
    if change is None:
        path.unlink()
    else:
        path.write_bytes(change(path.read_bytes()))
    with pytest.raises(UserError, match=said) as error:
        run("mnist", tmp_path / "source", tmp_path / "dest")
    assert "\n" not in str(error.value) and not (tmp_path / "dest").exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:-9],
        lambda data: b"no gzip",
        lambda data: data[:20] + bytes(30) + data[50:],
    ],
)
def test_mnist_files_whose_compression_is_damaged_are_named(change, tmp_path):
    archives.mnist(tmp_path, compressed=True)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(UserError, match="train-images-idx3-ubyte.gz: is no whole idx file"):
        run("mnist", tmp_path, tmp_path / "dest")


@pytest.mark.parametrize("name", ["cifar-10-python.tar.gz", "cifar-10-batches-py"])
def test_the_python_version_of_cifar10_names_the_binary_one(name, tmp_path):
    (tmp_path / name).write_bytes(b"")
    for source in (tmp_path, tmp_path / name):
        with pytest.raises(
            UserError, match=f"{name}: is CIFAR-10's Python version.*get cifar-10-bi"
        ):
            run("cifar10", source, tmp_path / "dest")


def keras(path, **changes):
    rng = np.random.default_rng(0)
    arrays = {
        f"{letter}_{split}": rng.integers(0, 10, (n, 28, 28) if letter == "x" else n, np.uint8)
        for split, n in (("train", 5), ("test", 3))
        for letter in "xy"
    }
    np.savez(path, **{name: array for name, array in (arrays | changes).items() if len(array)})
    return arrays


@pytest.mark.parametrize("place", ["", "mnist.npz"])
def test_mnist_is_read_of_keras_archive_too(place, tmp_path):
    arrays = keras(tmp_path / "mnist.npz")
    written, _ = run("mnist", tmp_path / place, tmp_path / "dest")
    images = {split: arrays[f"x_{split}"][..., None] for split in ("train", "test")}
    check(written, images, {split: arrays[f"y_{split}"] for split in images})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"x_train": []}, "has no x_train of uint8"),
        ({"x_train": np.zeros((5, 28, 28))}, "has no x_train of uint8"),
        ({"y_test": np.zeros(2, np.uint8)}, "has 2 labels for the 3 images"),
        ({"y_train": np.full(5, 10, np.uint8)}, "label 0 is 10, not 0 to 9"),
        ({"y_train": np.array([None] * 5)}, "cannot be read as an .npz of arrays"),
    ],
)
def test_archives_that_are_not_keras_are_refused_in_one_line(changes, said, tmp_path):
    keras(tmp_path / "mnist.npz", **changes)
    with pytest.raises(UserError, match=said) as error:
        run("mnist", tmp_path, tmp_path / "dest")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_tar_whose_member_says_2_to_the_70_bytes_is_refused_at_once(mode, tmp_path):
    path = tmp_path / "cifar-10-binary.tar.gz"
    info = tarfile.TarInfo("first.bin")
    info.size = 2**70
    data = info.tobuf(tarfile.GNU_FORMAT) + bytes(1024)
    path.write_bytes(gzip.compress(data) if mode == "w:gz" else data)
    with pytest.raises(UserError, match="is no whole tar archive|holds no batches.meta.txt"):
        run("cifar10", tmp_path, tmp_path / "dest")
