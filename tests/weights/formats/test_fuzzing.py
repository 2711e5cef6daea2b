"""Small valid files of every format, damaged at random.

What comes out is a checkpoint or a UserError, soon, and in bounded memory.
"""

import io
import json
import pickle
import random
import resource
import warnings
import zipfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from natra_jax.types import UserError
from natra_jax.weights.formats.detect import read
from tests.mutations import COUNTS, soon
from tests.weights import writers
from tests.weights.writers import Call, Global

RNG = np.random.default_rng(0)
ARRAYS = {
    "fc.weight": RNG.normal(size=(3, 2)).astype(np.float32),
    "fc.bias": RNG.normal(size=3).astype(np.float16),
    "b4.conv1.weight": RNG.normal(size=(2, 1, 3, 3)).astype(np.float32),
    "b4.noise_const": np.arange(4).reshape(2, 2),
    "w_avg": np.array(1.5),
}
CONFIG = {
    "z_dim": 3,
    "synthesis_kwargs": {"channel_base": 16, "conv_clamp": None},
    "resample": [1, 3.5, 3, True],
}


def _npy(tree):
    file = io.BytesIO()
    np.save(file, tree, allow_pickle=True)
    return file.getvalue()


TRAINING = {
    "g_ema": {f"module.{name}": array for name, array in ARRAYS.items()},
    "args": {"size": 8},
    "latent_avg": np.ones(2),
}
SEEDS = {
    "torch zip": writers.torch_zip(ARRAYS),
    "torch zip, training": writers.torch_zip(TRAINING, root="model"),
    "torch zip, an optimizer": writers.torch_zip(
        {
            "G": ARRAYS,
            "D": Call(Global("models.D"), (Global("torch.float32"),), {"a": [1]}, {"b": 2}, True),
            "optimizer": {"state": {0: {"step": 1}}, 1.5: {(1, 2): np.float64(3)}},
        }
    ),
    "npy of a dict": _npy(ARRAYS),
    "pickle of a dict": pickle.dumps(ARRAYS),
    "torch legacy": writers.torch_legacy(ARRAYS, channels_last=True),
    **{
        f"NVIDIA {protocol}": writers.nvidia(ARRAYS, CONFIG, protocol, channels_last=protocol == 4)
        for protocol in (2, 3, 4)
    },
    **{
        f"TensorFlow {protocol}": writers.tensorflow(ARRAYS, CONFIG, {"mapping": ARRAYS}, protocol)
        for protocol in (2, 4)
    },
    "npz": writers.npz(ARRAYS),
    "npz, config": writers.npz(ARRAYS, CONFIG, compressed=True),
    "safetensors": writers.safetensors(ARRAYS, metadata={"format": "pt"}),
}
FOLDERS = ("pytorch_model.bin", "model.safetensors")
EXTREMES = [
    value.to_bytes(8, "little")
    for value in (
        0,
        1,
        2**7,
        2**15,
        2**16 - 1,
        2**31 - 1,
        2**31,
        2**32 - 1,
        2**40,
        2**63 - 1,
        2**63,
        2**64 - 1,
    )
]
OPCODES = (
    b"(.012FGIJKLMNPQRSTUVX]abcdeghijlopqrstu}"
    b"\x80\x81\x82\x85\x86\x87\x88\x8a\x8b\x8c\x8d\x8e\x8f\x90\x91\x92\x93\x94\x95\x96\x97\x98)"
)
MEMORY = 2**29


def flip(rng, data):
    for _ in range(rng.choice([1, 1, 2, 8, 64])):
        data[rng.randrange(len(data))] ^= rng.choice([1 << rng.randrange(8), rng.randrange(1, 256)])


def cut(rng, data):
    del data[rng.randrange(len(data)) :]


def insert(rng, data):
    at = rng.randrange(len(data) + 1)
    data[at:at] = rng.choice(
        [rng.randbytes(rng.choice([1, 2, 4, 9, 300])), bytes(rng.choice([1, 8, 1000]))]
    )


def remove(rng, data):
    at = rng.randrange(len(data))
    del data[at : at + rng.choice([1, 2, 4, 8, 100])]


def repeat(rng, data):
    at, size = rng.randrange(len(data)), rng.choice([1, 2, 10, 200])
    data[at:at] = data[at : at + size] * rng.choice([1, 2, 50])


def lengthen(rng, data):
    """A length field, or what might be one, at an extreme."""
    at, width = rng.randrange(len(data)), rng.choice([1, 2, 4, 8])
    data[at : at + width] = rng.choice(EXTREMES)[:width]


def reprogram(rng, data):
    """Put opcodes of pickles, or digits and signs of JSON and array headers, in others' places."""
    for _ in range(rng.choice([1, 2, 5])):
        data[rng.randrange(len(data))] = rng.choice(
            OPCODES if rng.random() < 0.7 else b"-0123456789,:[]{}()'\"eELtT"
        )


def splice(rng, data):
    other = rng.choice(list(SEEDS.values()))
    data[rng.randrange(len(data)) :] = other[rng.randrange(len(other)) :]


MUTATIONS = (flip, cut, insert, remove, repeat, lengthen, lengthen, reprogram, reprogram, splice)


def mutated(rng, data):
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        if changed:
            rng.choice(MUTATIONS)(rng, changed)
    return bytes(changed)


def repacked(rng, data):
    """The zip archive with one of its members mutated and the checksums right again."""
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as archive, zipfile.ZipFile(packed, "w") as written:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
        pickled = [name for name in members if name.endswith("data.pkl")]
        chosen = (
            rng.choice(pickled + list(members)) if rng.random() < 0.5 or not pickled else pickled[0]
        )
        for name, content in members.items():
            # torch.save compresses nothing
            method = (
                zipfile.ZIP_STORED
                if pickled
                else rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
            )
            written.writestr(name, mutated(rng, content) if name == chosen else content, method)
    return packed.getvalue()


def files(name, count):
    """(what it was, bytes) of so many damaged files of a kind."""
    rng = random.Random(name)
    for i in range(count):
        inside = SEEDS[name][:2] == b"PK" and rng.random() < 0.6
        yield f"{name}, number {i}", (repacked if inside else mutated)(rng, SEEDS[name])


def folders(name, shards, count, directory):
    """(what it was, path) of so many folders with a damaged file."""
    rng = random.Random(f"{name} {shards}")
    folder = writers.huggingface(directory / "folder", ARRAYS, CONFIG, name, shards)
    paths = [
        path for path in sorted(folder.iterdir()) for _ in range(1 + 3 * ("json" in path.name))
    ]
    for i in range(count):
        path = rng.choice(paths)
        before = path.read_bytes()
        path.write_bytes(mutated(rng, before))
        yield f"{name} in {shards}, number {i}, {path.name}", folder
        path.write_bytes(before)


@contextmanager
def limited_memory():
    """Allow not more than MEMORY beyond what the process has: allocating more fails.

    Only Linux can say and do so.
    """
    statistics = Path("/proc/self/statm")
    if not statistics.exists():
        yield
        return
    pages = int(statistics.read_text().split()[0])
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


def outcome(what, path):
    """True if a checkpoint was read, False if it was refused as it should be."""
    try:
        with soon(what), warnings.catch_warnings(action="error"):
            found = read(path)
    except UserError as error:
        said = str(error)
        assert said.startswith(str(path)) and "\n" not in said and len(said) < 1000, (what, said)
        assert "more memory than there is" not in said, (what, said)
        return False
    assert all(
        isinstance(name, str) and type(array) is np.ndarray for name, array in found.tensors.items()
    ), what
    assert sum(array.nbytes for array in found.tensors.values()) <= MEMORY, what
    assert found.config is None or json.dumps(found.config), what
    return True


def outcomes(damaged):
    """(read, refused) of (what it was, path), in bounded memory."""
    counts = [0, 0]
    with limited_memory():
        for what, path in damaged:
            counts[outcome(what, path)] += 1
    return counts[True], counts[False]


@pytest.mark.parametrize("name", SEEDS)
def test_what_is_mutated_is_sound_before(tmp_path, name):
    (tmp_path / "file").write_bytes(SEEDS[name])
    assert outcome(name, tmp_path / "file")


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("name", SEEDS)
def test_damaged_files_give_a_users_error_or_a_checkpoint(tmp_path, name, count):
    path = tmp_path / "file"

    def damaged():
        for what, data in files(name, count):
            path.write_bytes(data)
            yield what, path

    was_read, refused = outcomes(damaged())
    assert was_read > count / 200 and refused > count / 5


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("shards", [1, 2])
@pytest.mark.parametrize("name", FOLDERS)
def test_damaged_folders_give_a_users_error_or_a_checkpoint(tmp_path, name, shards, count):
    was_read, refused = outcomes(folders(name, shards, count, tmp_path))
    assert was_read > count / 200 and refused > count / 5
