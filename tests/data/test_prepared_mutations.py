"""Prepared data sets with bytes changed: read, or one line; never another kind of error."""

import json
import random
import warnings

import numpy as np
import pytest
import tensorflow_datasets as tfds

from natra_jax.data import prepared, records
from natra_jax.data.descriptions import require_shards
from natra_jax.types import UserError
from tests import mutations
from tests.data.prepared_sets import prepare
from tests.data.test_source_folder import SETTINGS
from tests.mutations import COUNTS

COUNT = 12
LABEL = {"label": "label", "own_splits": False}
SHARD = "set-train.array_record-00000-of-00001"
NUMBERS = (b"\xff" * 8, bytes(8), b"\xff\xff\xff\x7f", b"\x80" + bytes(6) + b"\1", b"\x80\x80\x01")


@pytest.fixture
def directory(tmp_path):
    features = {"label": tfds.features.ClassLabel(names=["a", "b"]), "yes": np.bool_}
    rows = [{"label": i % 2, "yes": i % 3 == 0} for i in range(COUNT)]
    return prepare(tmp_path / "set" / "1.0.0", features, {"train": rows}, shards=1)


def with_bytes(rng, whole):
    """The shard with bytes changed where it has any, cut off, or with pages in others' places."""
    found, inside = bytearray(whole), [i for i, byte in enumerate(whole) if byte]
    for _ in range(rng.choice([1, 1, 2, 5])):
        at = min(rng.choice(inside) + rng.choice([0, 0, 1, 8]), len(found) - 1)
        token = rng.choice(NUMBERS) if rng.random() < 0.4 else rng.randbytes(1)
        found[at : at + len(token)] = token[: len(found) - at]
    kind = rng.random()
    if kind < 0.1:
        del found[rng.randrange(len(found)) :]
    elif kind < 0.2:
        at, other = rng.choice(inside), rng.choice(inside)
        found[at : at + 64] = whole[other : other + 64]
    return bytes(found)


def read_all(root):
    """Read every label and every image; return whether that was refused, as it should be."""
    try:
        with warnings.catch_warnings(action="error"):
            source = prepared.load(name="set", path=str(root), **SETTINGS | LABEL)
            for split in source.splits.values():
                images = split.image[:]
                assert images.shape == (len(split.label), 4, 4, 3) and images.dtype == np.uint8
    except UserError as error:
        said = str(error)
        assert said.isprintable() and len(said) < 1500, said
        assert "damaged" not in said and (str(root) in said or "data.label" in said), said
        return True
    return False


def change_all(directory, name, change, count):
    """Return how many of so many changes of a file were refused."""
    path, rng, refused = directory / name, random.Random(name), 0
    whole, root = path.read_bytes(), directory.parents[1]
    there = sorted(root.rglob("*"))
    with mutations.frugal(len(whole)):
        for number in range(count):
            path.write_bytes(change(rng, whole))
            with mutations.soon(f"{name}, number {number}"):
                refused += read_all(root)
    assert sorted(root.rglob("*")) == there  # nothing is written beside
    return refused


@pytest.mark.parametrize("count", COUNTS)
def test_changed_records_are_read_or_one_line(directory, count, monkeypatch):
    """The descriptions are as they were, and read once."""
    once = records.builder(directory)

    def builder(of):
        require_shards(of, once)
        return once

    monkeypatch.setattr(records, "builder", builder)
    monkeypatch.setattr(prepared, "builder", builder)
    assert change_all(directory, SHARD, with_bytes, count) > count / 10


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("name", ["features.json", "dataset_info.json"])
def test_changed_descriptions_are_read_or_one_line(directory, name, count):
    value = json.loads((directory / name).read_text())
    refused = change_all(directory, name, lambda rng, _: mutations.mutated(rng, value), count)
    assert refused > count / 10


@pytest.mark.parametrize("count", COUNTS)
def test_changed_lists_of_classes_are_read_or_one_line(directory, count):
    change_all(directory, "label.labels.txt", with_bytes, count)
