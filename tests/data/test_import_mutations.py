"""Files of publishers with bytes changed: opened, or one line; never another kind of error."""

import gzip
import zipfile

import numpy as np
import pytest

from natra_jax.data import importing
from natra_jax.data.importing.images import Corrupt
from natra_jax.types import UserError
from tests.data import archives


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


SOURCES = {
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


def try_all(make, path, count):
    """Return how often so many mutations were refused, or an image of theirs."""
    source, changed, kind = make(path)
    whole, rng, refused = changed.read_bytes(), np.random.default_rng(0), 0
    for _ in range(count):
        changed.write_bytes(mutated(whole, rng))
        try:
            with importing.IMPORTERS[kind](source) as data:
                for entries in data.splits.values():
                    for entry in entries:
                        try:
                            content = data.read(entry)
                            if entry.pixels is not None:
                                entry.pixels(content)
                        except Corrupt as error:
                            refused += 1
                            assert "\n" not in str(error)
        except UserError as error:
            refused += 1
            assert "\n" not in str(error) and str(source) in str(error)
    return refused


@pytest.mark.parametrize("kind", SOURCES)
def test_whatever_is_wrong_with_a_source_it_is_read_or_one_line(kind, tmp_path):
    try_all(SOURCES[kind], tmp_path / "source", 200)


@pytest.mark.slow
@pytest.mark.parametrize("kind", SOURCES)
def test_whatever_is_wrong_with_a_source_it_is_read_or_one_line_20_000_times(kind, tmp_path):
    assert try_all(SOURCES[kind], tmp_path / "source", 20_000) > 1_000
