"""Files of publishers with bytes changed: opened, or one line; never another kind of error."""

import gzip
import io
import tarfile
import warnings
import zipfile

import numpy as np
import pytest

from natra_jax.data import importing
from natra_jax.data.importing import images
from natra_jax.data.importing.images import Corrupt
from natra_jax.types import UserError
from tests.data import archives
from tests.mutations import COUNTS, soon


def celeba_zip(source):
    archives.celeba(source, 4)
    return source, source / "img_align_celeba.zip", "celeba"


def celeba_squeezed(source):
    images = archives.celeba(source, 4)
    with zipfile.ZipFile(source / "img_align_celeba.zip", "w", zipfile.ZIP_BZIP2) as archive:
        for name, data in images.items():
            archive.writestr(name, data)
    return source, source / "img_align_celeba.zip", "celeba"


def table(name):
    def make(source):
        archives.celeba(source, 4)
        return source, source / name, "celeba"

    return make


def hq_tar(source):
    source.mkdir()
    members = {f"{i}.png": archives.encoded(i, "PNG") for i in range(3)}
    return source, archives.tarred(source / "a.tar", members), "celeba_hq"


def hq_npy(source):
    source.mkdir()
    np.save(source / "0.npy", np.zeros((3, 6, 6), np.uint8))
    return source, source / "0.npy", "celeba_hq"


def cifar(mode, name):
    def make(source):
        source.mkdir()
        return source, archives.tarred(source / name, archives.cifar10(1)[0], mode), "cifar10"

    return make


def idx(part):
    def make(source):
        archives.mnist(source, compressed=True)
        return source, source / f"{part}.gz", "mnist"

    return make


def plain_idx(source):
    archives.mnist(source, compressed=True)
    path = source / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.decompress(path.read_bytes()))
    return source, path, "mnist"


def hq_folder(source):
    """Images that a mapping names."""
    source.mkdir()
    for i in range(3):
        (source / f"{i}.png").write_bytes(archives.encoded(i, "PNG"))
    rows = [f"{i} {i + 10} {i + 11:06d}.jpg" for i in range(3)]
    path = source / "image_list.txt"
    path.write_text("\n".join(["idx orig_idx orig_file", *rows]) + "\n")
    return source, path, "celeba_hq"


def hq_sparse(source):
    """A tar with what tars have besides files: pax and GNU records, links, a sparse file."""
    source.mkdir()
    with tarfile.open(source / "a.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        for i, kind in enumerate((tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE) * 2):
            data = archives.encoded(i, "PNG") if kind == tarfile.REGTYPE else b""
            info = tarfile.TarInfo(f"{'d' * 120 if i > 2 else 'd'}/{i}.png")
            info.type, info.linkname, info.size = kind, "0.png", len(data)
            info.pax_headers = {"comment": "x"} if i != 3 else {"GNU.sparse.realsize": str(2**40)}
            archive.addfile(info, io.BytesIO(data))
    return source, source / "a.tar", "celeba_hq"


def digits_csv(source):
    source.mkdir()
    for split in ("train", "test"):
        rows = [",".join(["3", *["7"] * 784]) for _ in range(2)]
        (source / f"mnist_{split}.csv").write_text("\n".join(rows) + "\n")
    return source, source / "mnist_train.csv", "mnist"


def photos(source):
    archives.classes(source, [""])
    return source, next(source.rglob("*.*")), "folder"


SOURCES = {
    "tar of all kinds": hq_sparse,
    "mapping": hq_folder,
    "csv": digits_csv,
    "folder": photos,
    "zip": celeba_zip,
    "zip, bzip2": celeba_squeezed,
    "attributes": table("list_attr_celeba.txt"),
    "identities": table("identity_CelebA.txt"),
    "partition": table("list_eval_partition.txt"),
    "tar": hq_tar,
    "npy": hq_npy,
    "tar.gz": cifar("w:gz", "cifar-10-binary.tar.gz"),
    "plain tar": cifar("w", "cifar-10-binary.tar"),
    "idx.gz": idx("train-images-idx3-ubyte"),
    "idx": plain_idx,
}
TOKENS = (b"\xff" * 8, bytes(8), b"\x80" + bytes(6) + b"\1", b"-1", b",", b'"', b"9" * 40, b"[[[[")

FIELDS = ((0, 100), (124, 12), (156, 1), (157, 100), (257, 8), (345, 155), (386, 24), (482, 2))
WORDS = (
    b"\x80" + bytes(2) + b"\xff" * 9,  # about 2^70
    b"\xff" * 12,
    b"\x80" + bytes(10) + b"\1",
    b"77777777777",
    b"-1",
    b"",
    *(b"S", b"x", b"g", b"L", b"K", b"1", b"2", b"7", b"D", b"V"),
    b"../../up.png",
    b"/abs.png",
    b"\xff\xfe.png",
)


def mutated(data, rng):
    """The bytes with some changed, most near an end, cut off, repeated or replaced by tokens."""
    found = bytearray(data)
    for _ in range(rng.integers(1, 6)):
        length = len(found)
        at = int(rng.integers(0, length) if rng.random() < 0.4 else rng.integers(0, 600)) % length
        at = length - 1 - at if rng.random() < 0.3 else at
        token = TOKENS[rng.integers(len(TOKENS))] if rng.random() < 0.4 else rng.bytes(1)
        found[at : at + len(token)] = token
    if rng.random() < 0.2:
        del found[rng.integers(1, len(found)) :]
    if rng.random() < 0.1:
        found += found[: rng.integers(0, len(found))]
    return bytes(found)


def reheaded(data, rng):
    """The tar with fields of its headers changed, and their checksums right again."""
    found, blocks = bytearray(data), range(0, len(data), 512)
    heads = [at for at in blocks if data[at + 257 : at + 262] == b"ustar"] or blocks[:1]
    for _ in range(rng.integers(1, 4)):
        at = heads[rng.integers(len(heads))]
        start, size = FIELDS[rng.integers(len(FIELDS))]
        value = WORDS[rng.integers(len(WORDS))] if rng.random() < 0.8 else rng.bytes(size)
        found[at + start : at + start + size] = value[:size].ljust(size, b"\0")
        whole = found[at : at + 148] + b" " * 8 + found[at + 156 : at + 512]
        found[at + 148 : at + 156] = b"%06o\0 " % sum(whole)
    return bytes(found)


def try_all(make, path, count):
    """Return how often so many mutations were refused, or an image of theirs."""
    source, changed, kind = make(path)
    there = sorted(source.parent.rglob("*"))
    whole, rng, refused = changed.read_bytes(), np.random.default_rng(0), 0
    for number in range(count):
        is_tar = whole[257:262] == b"ustar" and rng.random() < 0.5
        changed.write_bytes((reheaded if is_tar else mutated)(whole, rng))
        try:
            with (
                soon(f"{changed.name}, number {number}"),
                warnings.catch_warnings(action="error"),
                images.bounded(),
                importing.IMPORTERS[kind](source) as data,
            ):
                for entries in data.splits.values():
                    for entry in entries:
                        try:
                            content = data.read(entry)
                            assert len(content) < 2**22
                            if entry.pixels is not None:
                                entry.pixels(content)
                            else:
                                images.checked(content)
                        except Corrupt as error:
                            refused += 1
                            assert "\n" not in str(error)
        except UserError as error:
            refused += 1
            assert "\n" not in str(error) and str(source) in str(error)
    assert sorted(source.parent.rglob("*")) == there  # nothing is written beside
    return refused


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("kind", SOURCES)
def test_whatever_is_wrong_with_a_source_it_is_read_or_one_line(kind, count, tmp_path):
    assert try_all(SOURCES[kind], tmp_path / "source", count) > count / 20
