"""The JSON inside checkpoints with entries exchanged, missing or of other kinds: read, or one line.

That is the header of safetensors, the config and the index of a folder, the config beside arrays,
and what orbax writes beside its arrays.
"""

import gc
import json
import random
import struct

import jax
import numpy as np
import pytest
from etils import epath

from natra_jax import orbax_tree
from natra_jax.files import below
from natra_jax.types import UserError
from natra_jax.weights.families import convert
from natra_jax.weights.tensors import Checkpoint
from tests.mutations import COUNTS, edited, frugal, mutated, soon
from tests.weights import made, writers
from tests.weights.formats.test_fuzzing import ARRAYS, CONFIG, outcomes

# what a header of tensors may hold in others' places
TENSORS = ("F64", "BF16", "I8", "C64", [2, 3], [0], [3, -2], [2**40, 0], [2**31, 2**31], [0, 24])
SHARDS = ("model-00001-of-00002.safetensors", "config.json", "../config.json", "model.safetensors")
TREE = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": [{"c": np.zeros(2, np.float16)}]}


@pytest.mark.parametrize("count", COUNTS)
def test_headers_of_safetensors_are_read_or_one_line(tmp_path, count):
    whole, path = writers.safetensors(ARRAYS, {"format": "pt"}), tmp_path / "file"
    (length,) = struct.unpack("<Q", whole[:8])
    header, values, rng = json.loads(whole[8 : 8 + length]), whole[8 + length :], random.Random(0)

    def changed():
        for number in range(count):
            text = json.dumps(edited(rng, header, rng.randint(0, 3), TENSORS))
            path.write_bytes(writers.with_header(text, values))
            yield f"header {number}", path

    was_read, refused = outcomes(changed())
    assert was_read > count / 20 and refused > count / 5


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("name", ["config.json", "model.safetensors.index.json"])
def test_files_beside_shards_are_read_or_one_line(tmp_path, name, count):
    folder = writers.huggingface(tmp_path / "folder", ARRAYS, CONFIG, "model.safetensors", 2)
    value, rng = json.loads((folder / name).read_text()), random.Random(name)

    def changed():
        for number in range(count):
            text = json.dumps(edited(rng, value, rng.randint(0, 3), SHARDS)).encode()
            (folder / name).write_bytes(text if rng.random() < 0.7 else mutated(rng, value))
            yield f"{name} {number}", folder

    was_read, refused = outcomes(changed())
    assert was_read > count / 20 and refused > count / 20


CONFIGS = {
    "biggan_deep_hf": made.hugging_face,
    "stylegan2_nv": lambda: writers.golden("stylegan2_nv_16_fp16")[:2],
}


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("family", CONFIGS)
def test_configs_make_a_generator_or_one_line(family, count):
    (tensors, config), rng = CONFIGS[family](), random.Random(family)
    config = json.loads(json.dumps(config))
    with frugal(sum(array.nbytes for array in tensors.values())):
        for number in range(count):
            changed = edited(rng, config, rng.randint(1, 2), (4, 16, 64, 2.0, "orig", "resnet"))
            with soon(f"{family}, number {number}"):
                try:
                    found = convert(Checkpoint(tensors, changed), family)
                    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found.params))
                except UserError as error:
                    assert str(error).isprintable() and len(str(error)) < 1000


SETTINGS = {
    "stylegan2_nv": ("stylegan2_nv_16_fp16", {"layers": {"conv_clamp": ["\x1b[31m"]}}),
    "stylegan1": ("stylegan1_genforce_32", {"fused_scale": "\x1b[31m"}),
    "biggan_deep_hf": ("", {"truncation": "\x1b[31m"}),
}


@pytest.mark.parametrize("family", SETTINGS)
def test_no_setting_steers_a_terminal(family):
    name, settings = SETTINGS[family]
    tensors, config = writers.golden(name)[:2] if name else made.hugging_face()
    with pytest.raises(UserError, match=r"x1b\[31m") as error:
        convert(Checkpoint(tensors, config | settings), family)
    assert str(error.value).isprintable()


class Orbax:
    """A directory that orbax wrote, and its files as they were."""

    def __init__(self, path):
        orbax_tree.save(path, TREE)
        self.path = path
        self.like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), TREE)
        self.files = {file: file.read_bytes() for file in below(path)}

    def outcome(self, what):
        """True if the arrays were read, False if they were refused as they should be."""
        try:
            with soon(what):
                there = orbax_tree.stored(self.path)
                orbax_tree.require_same(self.path, there, self.like, "generator")
                found = orbax_tree.load(self.path, self.like)
        except UserError as error:
            assert str(error).isprintable() and str(error).startswith(str(self.path)), what
            return False
        assert jax.tree.map(np.shape, found) == jax.tree.map(np.shape, TREE), what
        return True


@pytest.fixture
def orbax(tmp_path):
    gc.collect()
    gc.freeze()  # what is collected after each refusal would be all that was ever imported
    yield Orbax(epath.Path(tmp_path / "params"))
    gc.unfreeze()


@pytest.mark.parametrize("count", COUNTS)
def test_what_orbax_says_of_its_arrays_is_read_or_one_line(orbax, count):
    path = orbax.path / "_METADATA"
    value, rng, counts = json.loads(path.read_text()), random.Random(0), [0, 0]
    for number in range(count):
        path.write_bytes(mutated(rng, value))
        counts[orbax.outcome(f"_METADATA {number}")] += 1
    assert min(counts) > count / 20


@pytest.mark.parametrize("count", COUNTS)
def test_the_files_that_orbax_wrote_are_read_or_one_line(orbax, count):
    rng, names = random.Random(0), sorted(orbax.files)
    for number in range(count):
        name = rng.choice(names)
        changed = bytearray(orbax.files[name])
        for _ in range(rng.choice([1, 1, 2, 4])):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        if rng.random() < 0.1:
            del changed[rng.randrange(len(changed)) :]
        name.write_bytes(bytes(changed))
        orbax.outcome(f"{name.name} {number}")
        name.write_bytes(orbax.files[name])
