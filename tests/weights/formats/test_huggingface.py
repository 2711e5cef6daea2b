"""Hugging Face folders: one file or shards, and nothing from outside the folder."""

import json
from pathlib import Path

import numpy as np
import pytest

from natra_jax.types import UserError
from natra_jax.weights.formats import huggingface, safetensors
from tests.weights import writers

RNG = np.random.default_rng(0)
ARRAYS = {f"layer{i}.weight": RNG.normal(size=(2, i + 1)).astype(np.float32) for i in range(5)}
CONFIG = {"z_dim": 12, "layers": [[True, 1, 2]], "eps": 1e-4}


def read_file(path: Path):
    with path.open("rb") as file:
        return safetensors.read(file, path)


def read(folder):
    return huggingface.read(folder, read_file)


def refused(folder, match):
    with pytest.raises(UserError, match=match) as error:
        read(folder)
    assert str(error.value).startswith(str(folder)) and "\n" not in str(error.value)


@pytest.fixture
def sharded(tmp_path):
    return writers.huggingface(tmp_path / "model", ARRAYS, CONFIG, "model.safetensors", shards=2)


def reindexed(folder, change):
    """The folder with its index's weight_map changed."""
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    change(index["weight_map"])
    path.write_text(json.dumps(index))
    return folder


@pytest.mark.parametrize("shards", [1, 2, 5])
def test_tensors_and_config_come_back(tmp_path, shards):
    found = read(writers.huggingface(tmp_path, ARRAYS, CONFIG, "model.safetensors", shards))
    assert found.config == CONFIG and set(found.tensors) == set(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found.tensors[name], array)


def test_safetensors_are_preferred_to_pickles(tmp_path):
    writers.huggingface(tmp_path, {"old": ARRAYS["layer0.weight"]}, CONFIG, "pytorch_model.bin")
    assert set(
        read(writers.huggingface(tmp_path, ARRAYS, CONFIG, "model.safetensors")).tensors
    ) == set(ARRAYS)


def test_a_folder_without_config_or_weights_is_refused(tmp_path):
    refused(tmp_path, "without config.json")
    (tmp_path / "config.json").write_text("{}")
    refused(tmp_path, "neither model.safetensors nor pytorch_model.bin")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "no JSON"),
        ("[1]", "no JSON object"),
        ("{" * 99999, "no JSON"),
        ('{"a":1,"a":2}', "twice"),
    ],
)
def test_a_damaged_config_is_refused(sharded, text, match):
    (sharded / "config.json").write_text(text)
    refused(sharded, match)


def test_a_config_far_too_large_is_not_read(sharded):
    with (sharded / "config.json").open("wb") as file:
        file.truncate(10**11)  # a file with a hole: no such space is taken
    refused(sharded, "is larger than 33554432 bytes")


@pytest.mark.parametrize(
    "index",
    [
        "[]",
        "{}",
        '{"weight_map": {}}',
        '{"weight_map": []}',
        '{"weight_map": {"a": 1}}',
        '{"weight_map": 3}',
    ],
)
def test_an_index_that_maps_nothing_to_files_is_refused(sharded, index):
    (sharded / "model.safetensors.index.json").write_text(index)
    refused(sharded, "weight_map|no JSON object")


@pytest.mark.parametrize(
    "name",
    ["../outside.safetensors", "/etc/passwd", "..", "", "a/b", "..\\outside.safetensors", "a\0b"],
)
def test_a_shard_name_that_leads_out_of_the_folder_is_refused(sharded, name):
    (sharded.parent / "outside.safetensors").write_bytes(
        writers.safetensors({"layer0.weight": ARRAYS["layer0.weight"]})
    )
    refused(
        reindexed(sharded, lambda names: names.update({"layer0.weight": name})),
        "leads out of the folder",
    )


@pytest.mark.parametrize(
    "name", ["model-00001-of-00002.safetensors", "config.json", "model.safetensors.index.json"]
)
def test_a_link_that_leads_out_of_the_folder_is_refused(sharded, name):
    outside = sharded.parent / "outside"
    (sharded / name).rename(outside)
    (sharded / name).symlink_to(outside)
    refused(sharded, "a link that leads out")


def test_a_link_within_the_folder_or_to_the_folder_is_followed(sharded):
    (sharded / "model-00001-of-00002.safetensors").rename(sharded / "blob")
    (sharded / "model-00001-of-00002.safetensors").symlink_to("blob")
    link = sharded.parent / "link"
    link.symlink_to(sharded)
    assert set(read(link).tensors) == set(ARRAYS)


def test_a_snapshot_in_hugging_faces_cache_leads_to_its_blobs_alone(tmp_path):
    blobs, snapshot = (
        tmp_path / "models--a--b" / "blobs",
        tmp_path / "models--a--b" / "snapshots" / "0123",
    )
    blobs.mkdir(parents=True)
    writers.huggingface(snapshot, ARRAYS, CONFIG, "model.safetensors", shards=2)
    for path in list(snapshot.iterdir()):
        path.rename(blobs / path.name)
        path.symlink_to(Path("../../blobs") / path.name)
    assert set(read(snapshot).tensors) == set(ARRAYS)
    (blobs / "config.json").rename(tmp_path / "models--a--b" / "config.json")
    (snapshot / "config.json").unlink()
    (snapshot / "config.json").symlink_to("../../config.json")
    refused(snapshot, "a link that leads out")


def test_a_link_in_a_circle_and_a_missing_shard_are_refused(sharded):
    shard = sharded / "model-00002-of-00002.safetensors"
    shard.unlink()
    refused(sharded, "'model-00002-of-00002.safetensors' is missing")
    shard.symlink_to(shard.name)
    refused(sharded, "is missing")


def test_an_index_that_disagrees_with_its_shards_is_refused(sharded):
    refused(
        reindexed(
            sharded, lambda names: names.update({"more": "model-00001-of-00002.safetensors"})
        ),
        "lacks 'more'",
    )


def test_a_tensor_that_the_index_does_not_name_is_refused(sharded):
    refused(
        reindexed(sharded, lambda names: names.pop("layer0.weight")),
        "holds, unlike the index, 'layer0.weight'",
    )


def test_a_folder_in_place_of_a_shard_is_refused(sharded):
    (sharded / "model-00002-of-00002.safetensors").unlink()
    (sharded / "model-00002-of-00002.safetensors").mkdir()
    refused(sharded, "is a folder, where a file is wanted")
