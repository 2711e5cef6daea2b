"""Checkpoints in every format that is read, and the golden files.

They are written without PyTorch, TensorFlow or Hugging Face. Each writer takes {name: array} and
gives bytes. The pickles name the globals that the real ones name, in the same layouts, and what
they would run if they were loaded by pickle fails.
"""

from __future__ import annotations

import functools
import io
import json
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

GOLDEN = Path(__file__).parents[1] / "golden"
MAGIC, PROTOCOL_VERSION = 0x1950A86A20F9469CFC6C, 1001
STORAGES = {
    "float32": "FloatStorage",
    "float64": "DoubleStorage",
    "float16": "HalfStorage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "int16": "ShortStorage",
    "int8": "CharStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
}
BUFFERS = (
    "noise_const",
    "resample_filter",
    "w_avg",
    "num_batches_tracked",
    "running_mean",
    "running_var",
    "lod",
)


class Golden(NamedTuple):
    tensors: dict[str, np.ndarray]  # the state dict
    config: dict
    data: dict[str, np.ndarray]  # inputs and outputs


def golden(name: str) -> Golden:
    """tests/golden/NAME.npz."""
    with np.load(GOLDEN / f"{name}.npz") as archive:
        arrays = {key: archive[key] for key in archive.files}
    config = json.loads(str(arrays.pop("config")))
    tensors = {
        key.removeprefix("p/"): arrays.pop(key) for key in list(arrays) if key.startswith("p/")
    }
    return Golden(tensors, config, arrays)


class StandIn:
    """A global that need not exist."""

    def __init__(self, name: str):
        self.module, _, self.name = name.rpartition(".")
        self.__name__ = self.name

    def __call__(self):
        raise AssertionError("stands for a name in a pickle alone")


Global = functools.cache(StandIn)  # one object for one name: pickle writes it once


class Call(NamedTuple):
    """What is pickled as function(*arguments), with a state where there is one.

    It is made by __new__ where `new` is set.
    """

    function: StandIn
    arguments: tuple
    state: Any = None
    items: dict | None = None
    new: bool = False


class Storage(NamedTuple):
    """What is pickled as a persistent id."""

    values: np.ndarray  # [n]
    key: str
    location: str = "cpu"
    tail: tuple = ()  # (None,) in legacy streams


class Pickler(pickle._Pickler):
    """Python's own, which can be told how to write a Global, a Call and a Storage."""

    dispatch = pickle._Pickler.dispatch.copy()

    def persistent_id(self, obj):
        if not isinstance(obj, Storage):
            return None
        return (
            "storage",
            Global(f"torch.{STORAGES[obj.values.dtype.name]}"),
            obj.key,
            obj.location,
            obj.values.size,
            *obj.tail,
        )

    def save_stand_in(self, obj):
        if self.proto >= 4:
            self.save(obj.module)
            self.save(obj.name)
            self.write(pickle.STACK_GLOBAL)
        else:
            self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())
        self.memoize(obj)

    def save_call(self, obj):
        self.save(obj.function)
        self.save(obj.arguments)
        self.write(pickle.NEWOBJ if obj.new else pickle.REDUCE)
        self.memoize(obj)
        if obj.items is not None:
            self._batch_setitems(obj.items.items())
        if obj.state is not None:
            self.save(obj.state)
            self.write(pickle.BUILD)

    dispatch[StandIn] = save_stand_in
    dispatch[Call] = save_call


def dumps(obj: Any, protocol: int = 2) -> bytes:
    file = io.BytesIO()
    Pickler(file, protocol).dump(obj)
    return file.getvalue()


def easy_dict(entries: dict) -> Call:
    return Call(Global("dnnlib.util.EasyDict"), (), items=entries, new=True)


def strided(array: np.ndarray, channels_last: bool = False) -> tuple[np.ndarray, tuple[int, ...]]:
    """(values as they lie in memory, strides in elements)."""
    array = np.asarray(array)
    axes = (0, 2, 3, 1) if channels_last and array.ndim == 4 else tuple(range(array.ndim))
    lying = np.ascontiguousarray(array.transpose(axes))
    steps = [lying[(0,) * (i + 1)].size if lying.size else 1 for i in range(lying.ndim)]
    return lying.reshape(-1), tuple(steps[axes.index(i)] for i in range(array.ndim))


def tensor(array: np.ndarray, storage: Any, strides: tuple[int, ...], offset: int = 0) -> Call:
    return Call(
        Global("torch._utils._rebuild_tensor_v2"),
        (storage, offset, tuple(np.shape(array)), strides, False, OrderedDict()),
    )


def _tensors(
    tree: Any, storages: list[Storage], tail: tuple, location: str, channels_last: bool
) -> Any:
    """The tree with each array as a tensor, whose storage is added to storages."""
    if isinstance(tree, dict):
        return type(tree)(
            (name, _tensors(value, storages, tail, location, channels_last))
            for name, value in tree.items()
        )
    if not isinstance(tree, np.ndarray):
        return tree
    values, strides = strided(tree, channels_last)
    storages.append(Storage(values, str(len(storages)), location, tail))
    return tensor(tree, storages[-1], strides)


def torch_zip(
    tree: Any,
    root: str = "archive",
    location: str = "cpu",
    channels_last: bool = False,
    byteorder: str | None = "little",
) -> bytes:
    """torch.save of {name: array}, or of such dicts in dicts with other plain values, since 1.6."""
    storages: list[Storage] = []
    data = dumps(_tensors(tree, storages, (), location, channels_last))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(f"{root}/data.pkl", data)
        if byteorder:
            archive.writestr(f"{root}/byteorder", byteorder)
        for storage in storages:
            archive.writestr(f"{root}/data/{storage.key}", storage.values.tobytes())
        archive.writestr(f"{root}/version", "3\n")
    return file.getvalue()


def torch_legacy(tree: Any, location: str = "cpu", channels_last: bool = False) -> bytes:
    """torch.save before 1.6."""
    storages: list[Storage] = []
    return _legacy(_tensors(tree, storages, (None,), location, channels_last), storages)


def _legacy(obj: Any, storages: list[Storage]) -> bytes:
    system = {
        "protocol_version": PROTOCOL_VERSION,
        "little_endian": True,
        "type_sizes": {"short": 2, "int": 4, "long": 4},
    }
    pickles = [MAGIC, PROTOCOL_VERSION, system, obj, [storage.key for storage in storages]]
    data = [
        struct.pack("<q", storage.values.size) + storage.values.tobytes() for storage in storages
    ]
    return b"".join([*map(dumps, pickles), *data])


def storage_bytes(values: np.ndarray, location: str = "cpu") -> bytes:
    """What a storage's own pickle holds: torch.save of it alone."""
    storage = Storage(values, "94113498123456", location, (None,))
    return _legacy(storage, [storage])


def nvidia(
    tensors: dict[str, np.ndarray],
    config: dict,
    protocol: int = 4,
    channels_last: bool = False,
    location: str = "cpu",
    class_name: str = "Generator",
) -> bytes:
    """The .pkl of NVIDIA's PyTorch code: G_ema holds the tensors, G and D others."""

    def persistent(name: str, state: dict) -> Call:
        meta = {
            "type": "class",
            "version": 6,
            "module_src": "\ufeffraise SystemExit('run')",
            "class_name": name,
            "state": state,
        }
        return Call(Global("torch_utils.persistence._reconstruct_persistent_obj"), (meta,))

    def leaf(array: np.ndarray, trained: bool) -> Call:
        values, strides = strided(array, channels_last)
        storage = Call(Global("torch.storage._load_from_bytes"), (storage_bytes(values, location),))
        made = tensor(array, storage, strides)
        return (
            Call(Global("torch._utils._rebuild_parameter"), (made, True, OrderedDict()))
            if trained
            else made
        )

    def module(name: str, arrays: dict[str, np.ndarray], kwargs: dict) -> Call:
        own = {key: array for key, array in arrays.items() if "." not in key}
        below: dict[str, dict] = {}
        for key, array in arrays.items():
            if key not in own:
                first, _, rest = key.partition(".")
                below.setdefault(first, {})[rest] = array
        state = {
            "training": False,
            "_parameters": OrderedDict(
                (key, leaf(array, True)) for key, array in own.items() if key not in BUFFERS
            )
            | {"unused": None},
            "_buffers": OrderedDict(
                (key, leaf(array, False)) for key, array in own.items() if key in BUFFERS
            ),
            "_non_persistent_buffers_set": set(),
            "_backward_hooks": OrderedDict(),
            "_forward_hooks": OrderedDict(),
            "_modules": OrderedDict(
                (key, module("Layer", inside, {})) for key, inside in below.items()
            ),
            "_init_args": (),
            "_init_kwargs": easy_dict(
                {
                    key: easy_dict(value) if isinstance(value, dict) else value
                    for key, value in kwargs.items()
                }
            ),
        }
        return persistent(name, state)

    others = {key: np.zeros_like(array) for key, array in list(tensors.items())[:2]}
    whole = {
        "training_set_kwargs": easy_dict(
            {"class_name": "training.dataset.ImageFolderDataset", "max_size": np.int64(7)}
        ),
        "G": module(class_name, others, config),
        "D": module("Discriminator", others, {}),
        "G_ema": module(class_name, tensors, config),
        "augment_pipe": None,
    }
    return dumps(whole, protocol)


def tensorflow(
    tensors: dict[str, np.ndarray],
    config: dict,
    components: dict[str, dict[str, np.ndarray]] | None = None,
    protocol: int = 4,
    class_name: str = "dnnlib.tflib.network.Network",
    version: int = 4,
) -> bytes:
    """Return the .pkl of NVIDIA's TensorFlow code, (G, D, Gs).

    Gs has the tensors as its variables, and components with theirs.
    """

    def array(values: np.ndarray) -> Call:
        values = np.ascontiguousarray(values).reshape(np.shape(values))
        dtype = Call(
            Global("numpy.dtype"),
            (values.dtype.str[1:], False, True),
            (3, "<" if values.itemsize > 1 else "|", *[None] * 3, -1, -1, 0),
        )
        raw = values.tobytes()
        blank = b"b" if protocol > 2 else "b"  # Python 2 had text for both
        made = (Global("numpy.ndarray"), (0,), blank)
        return Call(
            Global("numpy.core.multiarray._reconstruct"), made, (1, values.shape, dtype, False, raw)
        )

    def network(name: str, variables: dict[str, np.ndarray], kwargs: dict, inside: dict) -> Call:
        state = {
            "version": version,
            "name": name,
            "static_kwargs": dict(kwargs),
            "components": dict(inside),
            "build_module_src": "raise SystemExit('run')",
            "build_func_name": f"{name}_main",
            "variables": [(key, array(value)) for key, value in variables.items()],
        }
        return Call(Global(class_name), (), state, new=True)

    inside = {
        name: network(name, variables, {}, {}) for name, variables in (components or {}).items()
    }
    others = {name: np.zeros_like(value) for name, value in tensors.items()}
    return dumps(
        (
            network("G", others, config, {}),
            network("D", {}, {}, {}),
            network("Gs", tensors, config, inside),
        ),
        protocol,
    )


def npz(
    tensors: dict[str, np.ndarray],
    config: dict | None = None,
    compressed: bool = False,
    **others: np.ndarray,
) -> bytes:
    """Plain, or with a config in the golden files' layout."""
    arrays = (
        dict(tensors)
        if config is None
        else {f"p/{name}": array for name, array in tensors.items()}
        | {"config": json.dumps(config)}
    )
    file = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(file, **arrays, **others)
    return file.getvalue()


SAFETENSORS = {"bool": "BOOL", "float16": "F16", "float32": "F32", "float64": "F64"} | {
    f"{kind}{bits}": f"{letter}{bits}"
    for kind, letter in (("int", "I"), ("uint", "U"))
    for bits in (8, 16, 32, 64)
}


def safetensors(
    tensors: dict[str, np.ndarray],
    metadata: dict[str, str] | None = None,
    bfloat16: tuple[str, ...] = (),
) -> bytes:
    """bfloat16: the float32 arrays of which only the upper halves are written."""
    header: dict = {"__metadata__": metadata} if metadata else {}
    data = b""
    for name, array in tensors.items():
        array = np.asarray(array)
        raw = (
            (array.view(np.uint32) >> 16).astype("<u2").tobytes()
            if name in bfloat16
            else array.tobytes()
        )
        dtype = "BF16" if name in bfloat16 else SAFETENSORS[array.dtype.name]
        header[name] = {
            "dtype": dtype,
            "shape": list(array.shape),
            "data_offsets": [len(data), len(data) + len(raw)],
        }
        data += raw
    return with_header(json.dumps(header), data)


def with_header(header: str | bytes, data: bytes = b"") -> bytes:
    """A safetensors file of any header, padded to eight bytes."""
    text = header.encode() if isinstance(header, str) else header
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def huggingface(
    folder: Path,
    tensors: dict[str, np.ndarray],
    config: dict,
    weights: str = "pytorch_model.bin",
    shards: int = 1,
) -> Path:
    """The folder; weights: pytorch_model.bin or model.safetensors, in so many shards."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    write = safetensors if weights.endswith(".safetensors") else torch_zip
    if shards == 1:
        (folder / weights).write_bytes(write(tensors))
        return folder
    stem, _, suffix = weights.rpartition(".")
    where = {
        name: f"{stem}-{i % shards + 1:05}-of-{shards:05}.{suffix}"
        for i, name in enumerate(tensors)
    }
    for shard in set(where.values()):
        (folder / shard).write_bytes(
            write({name: array for name, array in tensors.items() if where[name] == shard})
        )
    (folder / f"{weights}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    return folder
