"""NVIDIA's .pkl files of PyTorch networks (stylegan2-ada-pytorch).

    checkpoint = read(file, path)
    checkpoint.tensors  # of G_ema, by state-dict names: 'mapping.fc0.weight', 'synthesis.b4.const'
    checkpoint.config  # what it was made with: {"z_dim": 512, "img_resolution": 256, ...}, and
    #   what its layers were: {"layers": {"conv_clamp": [256]}}

They are read without PyTorch and without the source code that they carry. Such a file is a pickle
of {'G', 'D', 'G_ema', 'augment_pipe', 'training_set_kwargs'}. Each network is an object that
NVIDIA's torch_utils.persistence would make by running the module source that stands beside its
state; here the state alone is kept. The values of tensors are streams of torch.save within the
pickle, which are read by the same rules.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import PurePath
from typing import Any

import numpy as np

from natra_jax.printable import shown
from natra_jax.weights.formats import torch_save
from natra_jax.weights.formats.bounded import Bounded
from natra_jax.weights.formats.pickle_globals import (
    Instance,
    containers,
    empty_dict,
    numpy_arrays,
    once,
    stand_in,
)
from natra_jax.weights.formats.restricted_unpickler import (
    Global,
    Globals,
    StandIn,
    Unreadable,
    load,
    malformed,
    naming,
)
from natra_jax.weights.formats.state_dict import NamedTensors, plain
from natra_jax.weights.tensors import Checkpoint

_CHOSEN = "G_ema"
LAYERS = "layers"  # in the config: {setting: its values in all layers that have it, each once}
_OF_LAYERS = ("conv_clamp",)  # settings that layers keep and that the program has defaults for
_PERSISTENT = "torch_utils.persistence", "_reconstruct_persistent_obj"
_STORAGE = "torch.storage", "_load_from_bytes"


def read(file: io.BufferedIOBase, path: PurePath) -> Checkpoint:
    """Read the tensors of G_ema and the arguments that it was made with.

    file: seekable, read from its start. path: for messages alone. Raises UserError if the file is
    damaged or malicious, or has no G_ema.
    """
    with naming(path):
        saved = load(Bounded(file), _globals(), unknown=stand_in)
        if isinstance(saved, StandIn):
            raise Unreadable(f"holds {saved.said}: give a network snapshot")
        if type(saved) is not dict or not isinstance(saved.get(_CHOSEN), Instance):
            there = type(saved) is dict and _CHOSEN in saved
            raise Unreadable(
                f"{'has an empty' if there else 'has no'} {_CHOSEN}, the generator to use: give a "
                "network snapshot or its final .pkl"
            )
        state = saved[_CHOSEN].state or {}
        arguments, named = state.get("_init_args", ()), state.get("_init_kwargs", {})
        if type(named) is not dict or type(arguments) not in (tuple, list):
            raise malformed(f"what {_CHOSEN} was made with")
        if arguments:
            raise Unreadable(
                f"has arguments without names in {_CHOSEN}: save it as NVIDIA's training does, "
                "with all of them named"
            )
        tensors, of_layers = _tensors(saved[_CHOSEN])
        config = plain(named, f"what {_CHOSEN} was made with")
        return Checkpoint(tensors, config | ({LAYERS: of_layers} if of_layers else {}))


def _globals() -> Globals:
    """Return new globals, for one file."""
    return {
        **containers(),
        **numpy_arrays(lenient=True),
        **torch_save.tensors(),
        ("dnnlib.util", "EasyDict"): empty_dict("dnnlib.util.EasyDict"),
        _PERSISTENT: Global(".".join(_PERSISTENT), _persistent),
        _STORAGE: Global(".".join(_STORAGE), _storages()),
    }


def _persistent(arguments: tuple) -> Instance:
    """Keep the state of a network that NVIDIA's code would make by running its source."""
    match arguments:
        case (dict() as meta,):
            name, state = meta.get("class_name"), meta.get("state")
            if isinstance(name, str) and type(state) is dict:
                return Instance(name[:100], state)
    raise malformed("a network")


def _storages() -> Callable[[tuple], torch_save.Storage]:
    """Return the function that reads a storage's values out of a stream within the pickle."""

    @once
    def parsed(data: bytes) -> torch_save.Storage:
        return torch_save.load_legacy(Bounded(io.BytesIO(data)), torch_save.storages())

    def storage(arguments: tuple) -> torch_save.Storage:
        match arguments:
            case (bytes() as data,):
                found = parsed(data)
                if isinstance(found, torch_save.Storage):
                    return found
        raise malformed("a storage")

    return storage


def _tensors(network: Instance) -> tuple[dict[str, np.ndarray], dict[str, list[Any]]]:
    """Return (the tensors of the network and the modules in it, settings of its layers).

    The tensors are by their state-dict names, the settings as `LAYERS` describes.
    """
    found = NamedTensors()
    of_layers: dict[str, list[Any]] = {}

    def collect(module: Any, prefix: str) -> None:
        if isinstance(module, StandIn):
            raise Unreadable(
                f"has {module.said} as the part {shown(prefix)} of {_CHOSEN}: only the "
                "layers of NVIDIA's programs are read"
            )
        if not isinstance(module, Instance):
            raise malformed(f"the network's part {shown(prefix)}")
        parameters, buffers, modules = (
            _entries(module, kind) for kind in ("_parameters", "_buffers", "_modules")
        )
        found.enter(prefix, len(parameters) + len(buffers) + len(modules))
        for setting in _OF_LAYERS:
            if module.state and setting in module.state:
                value = plain(module.state[setting], f"{setting} of the part {shown(prefix)}")
                known = of_layers.setdefault(setting, [])
                if value not in known:
                    known.append(value)
        for name, value in (*parameters.items(), *buffers.items()):
            if isinstance(name, str) and isinstance(value, np.ndarray):
                found.add(prefix + name, value)
            elif isinstance(value, StandIn):
                raise Unreadable(f"has {value.said} in the part {shown(prefix)} of {_CHOSEN}")
            elif value is not None:  # None: such as no bias
                raise malformed(f"a tensor of the network's part {shown(prefix)}")
        for name, inner in modules.items():
            if not isinstance(name, str):
                raise malformed(f"the network's part {shown(prefix)}")
            if inner is not None:
                collect(inner, f"{prefix}{name}.")

    collect(network, "")
    return found.tensors, of_layers


def _entries(module: Instance, kind: str) -> dict[Any, Any]:
    """Return a module's entries of the kind: '_parameters', '_buffers' or '_modules'."""
    found = (module.state or {}).get(kind, {})
    if type(found) is not dict:
        raise malformed(f"a network's {kind}")
    return found
