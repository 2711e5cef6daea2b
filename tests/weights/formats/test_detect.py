"""A file's format is told from what it holds, whatever the file is called.

What cannot be read is refused in one line with what to do.
"""

import gzip
import io
import json
import os
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from natra_jax.types import UserError
from natra_jax.weights.formats import detect
from natra_jax.weights.formats.detect import read
from tests.weights import writers

RNG = np.random.default_rng(0)
ARRAYS = {
    "mapping.fc0.weight": RNG.normal(size=(3, 4)).astype(np.float32),
    "synthesis.b4.conv1.weight": RNG.normal(size=(2, 4, 3, 3)).astype(np.float32),
    "synthesis.b4.conv1.noise_const": RNG.normal(size=(4, 4)).astype(np.float32),
    "synthesis.b4.conv1.noise_strength": np.array(0.5, np.float32),
}
CONFIG = {"z_dim": 3, "synthesis_kwargs": {"channel_base": 16, "conv_clamp": None}}
COMPONENTS = {
    "mapping": {"Dense0/weight": ARRAYS["mapping.fc0.weight"]},
    "synthesis": {"4x4/Conv/weight": np.ones((2, 2), np.float32)},
}

FORMATS = {
    "torch zip": (writers.torch_zip(ARRAYS), None),
    "torch zip, other root": (
        writers.torch_zip(ARRAYS, root="G_ema", location="cuda:0", byteorder=None),
        None,
    ),
    "torch zip, channels last": (writers.torch_zip(ARRAYS, channels_last=True), None),
    "torch training checkpoint": (
        writers.torch_zip({**ARRAYS, "args": {"step": 3}}),
        None,
    ),
    "torch legacy": (writers.torch_legacy(ARRAYS, location="cuda:0"), None),
    "torch legacy, channels last": (writers.torch_legacy(ARRAYS, channels_last=True), None),
    **{
        f"NVIDIA, protocol {protocol}": (writers.nvidia(ARRAYS, CONFIG, protocol), CONFIG)
        for protocol in (2, 3, 4)
    },
    "NVIDIA, channels last": (
        writers.nvidia(ARRAYS, CONFIG, channels_last=True, location="cuda:0"),
        CONFIG,
    ),
    **{
        f"TensorFlow, protocol {protocol}": (
            writers.tensorflow(ARRAYS, CONFIG, None, protocol),
            CONFIG,
        )
        for protocol in (2, 3, 4)
    },
    "TensorFlow, ProGAN's": (
        writers.tensorflow(ARRAYS, CONFIG, class_name="tfutil.Network", version=2),
        CONFIG,
    ),
    "npz": (writers.npz(ARRAYS), None),
    "npz, compressed, with config": (
        writers.npz(ARRAYS, CONFIG, compressed=True, **{"in/z": np.ones(3)}),
        CONFIG,
    ),
    "safetensors": (writers.safetensors(ARRAYS), None),
}


@pytest.fixture
def refused(tmp_path):
    """Return (data, match) -> None, which requires that a file with that data is refused so.

    The message is one line that starts with the file's path.
    """

    def check(data, match, name="network.pkl"):
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(UserError, match=match) as error:
            read(path)
        said = str(error.value)
        assert (
            said.startswith(f"{path}: ")
            and said.count(str(path)) == 1
            and "\n" not in said
            and len(said) < 600
        )

    return check


def same(found, arrays, config):
    assert found.config == config and set(found.tensors) == set(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found.tensors[name], array, err_msg=name)
        assert found.tensors[name].dtype == array.dtype and found.tensors[name].shape == array.shape


@pytest.mark.parametrize("name", ["weights", "model.pkl", "model.npz"])
@pytest.mark.parametrize("format", FORMATS)
def test_every_format_is_read_under_any_name(tmp_path, format, name):
    data, config = FORMATS[format]
    (tmp_path / name).write_bytes(data)
    same(read(tmp_path / name), ARRAYS, config)


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("weights", ["pytorch_model.bin", "model.safetensors"])
def test_a_hugging_face_folder_is_read_in_one_file_or_in_shards(tmp_path, weights, shards):
    same(read(writers.huggingface(tmp_path, ARRAYS, CONFIG, weights, shards)), ARRAYS, CONFIG)


def test_weights_of_a_hugging_face_folder_may_be_of_pytorch_before_1_6(tmp_path):
    writers.huggingface(tmp_path, ARRAYS, CONFIG)
    (tmp_path / "pytorch_model.bin").write_bytes(writers.torch_legacy(ARRAYS))
    same(read(str(tmp_path)), ARRAYS, CONFIG)


def test_components_of_tensorflow_networks_come_behind_their_names(tmp_path):
    (tmp_path / "a").write_bytes(
        writers.tensorflow({"lod": np.array(0.0, np.float32)}, CONFIG, COMPONENTS, protocol=2)
    )
    expected = {"lod": np.array(0.0, np.float32)} | {
        f"{part}/{name}": v for part, inside in COMPONENTS.items() for name, v in inside.items()
    }
    same(read(tmp_path / "a"), expected, CONFIG)


@pytest.mark.parametrize(
    "name",
    [
        "stylegan2_nv_16_fp16.npz",
        "tfpkl_progan_16.pkl",
        "tfpkl_stylegan1_16.pkl",
        "tfpkl_stylegan2_16.pkl",
    ],
)
def test_golden_files_are_read(name):
    found = read(writers.GOLDEN / name)
    assert (
        found.config
        and len(found.tensors) > 10
        and all(np.isfinite(array).all() for array in found.tensors.values())
    )


def test_a_golden_state_dict_comes_back_from_every_format(tmp_path):
    tensors, config, _ = writers.golden("stylegan2_nv_16_fp16")
    for i, data in enumerate(
        (
            writers.nvidia(tensors, config, 3, channels_last=True),
            writers.torch_legacy(tensors),
            writers.npz(tensors),
        )
    ):
        (tmp_path / str(i)).write_bytes(data)
        same(read(tmp_path / str(i)), tensors, config if i == 0 else None)


def zipped(**members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def tarred():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("model"), io.BytesIO())
    return file.getvalue()


def npy():
    file = io.BytesIO()
    np.save(file, np.ones(3))
    return file.getvalue()


LFS = (
    "version https://git-lfs.github.com/spec/v1\n"
    "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\n"
    "size 12345\n"
)
MISTAKEN = {
    "empty": (b"", "is empty: get it again"),
    "LFS": (LFS.encode(), "git-LFS pointer.*git lfs pull"),
    "page": (
        b"<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title>",
        "a web page: .* download the file itself",
    ),
    "page, late": (b"\n\n  <html lang='en'>\n<body>" + b"x" * 5000, "a web page"),
    "page, marked": ("\ufeff<html>".encode(), "a web page"),
    "XML": (
        b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>",
        "XML or HTML: .* download the file itself",
    ),
    "JSON": (json.dumps(CONFIG).encode(), "a JSON text"),
    "words": (b"Entry not found", "is a text: .* download the file itself"),
    "array": (npy(), "a single NumPy array.*npz"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + b"\0" * 90, "HDF5"),
    "gzip": (gzip.compress(FORMATS["npz"][0]), "a packed file: unpack"),
    "tar": (tarred(), "a tar archive: unpack"),
    "picture": (b"\x89PNG\r\n\x1a\n" + b"\0" * 90, "an image"),
    "noise": (b"\xc3\x28" + RNG.bytes(500), "no format known here"),
    "byte": (b"\x80", "no format known here"),
    "zip of nothing": (zipped(), "neither PyTorch nor NumPy .holds nothing"),
    "zip of others": (
        zipped(**{"model/network.pkl": FORMATS["torch zip"][0]}),
        "neither PyTorch nor NumPy .*network.pkl.*unpack it",
    ),
    "TorchScript": (
        zipped(**{"a/data.pkl": b"\x80\2}.", "a/constants.pkl": b"\x80\2}.", "a/code/a.py": b""}),
        "TorchScript",
    ),
    "pickle of nothing": (
        pickle.dumps({"a": 1}),
        "a pickle of no network known here .names no class at all",
    ),
    "pickle of arrays": (
        pickle.dumps([np.ones(3)]),
        "holds a value of type list, no state dict",
    ),
    "cut pickle": (FORMATS["NVIDIA, protocol 4"][0][:30], "a pickle of no network"),
    "no tensors": (writers.safetensors({}), "no tensors"),
    "nothing saved": (writers.torch_zip({}), "no tensors|no generator's tensors"),
    "name of lines": (writers.safetensors({"a\nb": np.ones(1)}), r"names a tensor 'a\\nb'"),
    "name too long": (writers.safetensors({"a" * 501: np.ones(1)}), "names a tensor 'aaa"),
}


@pytest.mark.parametrize("mistake", MISTAKEN)
def test_what_is_no_checkpoint_is_refused_with_what_to_do(refused, mistake):
    refused(*MISTAKEN[mistake])
    refused(*MISTAKEN[mistake], name="model.safetensors")


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_that_is_cut_off_is_refused(refused, format):
    data, _ = FORMATS[format]
    for part in (0.2, 0.7, 0.97):
        refused(data[: int(len(data) * part)], "damaged|cut off|missing")
    refused(data[:-1], "damaged|cut off|missing")


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_a_pickle_that_would_run_something_is_refused_and_not_run(refused, protocol, tmp_path):
    bomb = writers.Call(writers.Global("os.system"), (f"touch {tmp_path}/was_run",))
    refused(writers.dumps(bomb, protocol), "a pickle of no network known here .names 'os.system'")
    for kwargs in ({"a": bomb}, {"a": {"b": [bomb]}}):
        refused(writers.nvidia(ARRAYS, kwargs, protocol), "os.system")
        refused(writers.tensorflow(ARRAYS, kwargs, protocol=protocol), "os.system")
    refused(writers.torch_zip(ARRAYS | {"a": bomb}), "os.system")
    refused(writers.torch_legacy(ARRAYS | {"a": bomb}), "os.system")
    hidden = writers.nvidia(ARRAYS, CONFIG, protocol).replace(
        b"torch\nFloatStorage", b"sys\nbreakpointhook"
    )  # in the bytes of storages
    refused(hidden, "sys.breakpointhook")
    assert not (tmp_path / "was_run").exists()


def test_few_values_under_very_many_names_are_refused(refused):
    same = np.ones(2**18, np.float32)
    storage = writers.Call(
        writers.Global("torch.storage._load_from_bytes"), (writers.storage_bytes(same),)
    )
    tensor = writers.tensor(same, storage, (1,))
    state = {"_parameters": {f"{i}": tensor for i in range(300)}}
    meta = {"type": "class", "version": 6, "module_src": "", "class_name": "G", "state": state}
    network = writers.Call(
        writers.Global("torch_utils.persistence._reconstruct_persistent_obj"), (meta,)
    )
    refused(
        writers.dumps({"G_ema": network}),
        "314572800 bytes, more than the 268435456 that are plausible",
    )


def test_nothing_there_and_what_is_no_file_are_refused(tmp_path):
    for path, match in [
        (tmp_path / "missing.pkl", "No such file"),
        (tmp_path, "without config.json"),
        ("gs://bucket/network.pkl", "is not on this machine: copy it here"),
        ("/dev/zero", "is a device, where a file is wanted"),
    ]:
        with pytest.raises(UserError, match=match) as error:
            read(path)
        assert str(error.value).startswith(f"{path}: ")
    os.mkfifo(tmp_path / "pipe")  # which would wait for ever
    with pytest.raises(UserError, match="is a pipe"):
        read(tmp_path / "pipe")


def test_a_home_directory_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.npz").write_bytes(FORMATS["npz"][0])
    assert set(read("~/a.npz").tensors) == set(ARRAYS)
    with pytest.raises(UserError, match=f"^{tmp_path}/b|^~/b"):
        read(Path("~/b.npz"))


def test_a_folder_whose_weights_are_no_checkpoint_names_the_file(tmp_path):
    writers.huggingface(tmp_path, ARRAYS, CONFIG)
    (tmp_path / "pytorch_model.bin").write_text(LFS)
    with pytest.raises(UserError, match=f"^{tmp_path}/pytorch_model.bin: is a git-LFS pointer"):
        read(tmp_path)


@pytest.mark.parametrize("raised", [IndexError, KeyError, RecursionError, MemoryError, ValueError])
def test_whatever_a_library_raises_is_the_readers_own_error(tmp_path, monkeypatch, raised):
    def fails(*_):
        raise raised("so\nit is")

    monkeypatch.setattr(detect, "_read", fails)
    (tmp_path / "a").write_bytes(b"a")
    with pytest.raises(UserError, match="cannot be read|more memory than there is") as error:
        detect.read(tmp_path / "a")
    assert str(error.value).startswith(f"{tmp_path}/a: ") and str(error.value).isprintable()


def test_small_types_count_as_what_is_kept_of_them(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", w=np.zeros(2**27, np.int8))  # 512 MiB as float32
    with pytest.raises(UserError, match="unpacks to 536870912 bytes, more than"):
        read(tmp_path / "a.npz")


def test_a_type_that_numpy_cannot_make_is_one_line(tmp_path):
    head = b"{'descr': '<U999999999', 'fortran_order': False, 'shape': (), }"
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", b"\x93NUMPY\1\0" + len(head).to_bytes(2, "little") + head)
    with pytest.raises(UserError, match="cannot be read .TypeError") as error:
        read(tmp_path / "a.npz")
    assert "\n" not in str(error.value)
