"""NVIDIA's .pkl files of TensorFlow networks: ProGAN, StyleGAN, StyleGAN2.

    checkpoint = read(file, path)
    checkpoint.tensors  # variables of Gs: '4x4/Dense/weight' (ProGAN);
    #   'mapping/Dense0/weight', 'synthesis/4x4/Conv/weight', 'dlatent_avg' (StyleGAN)
    checkpoint.config  # {"resolution": 1024, "latent_size": 512, ...}

They are read without TensorFlow; the source in them is never run. Such a file is a pickle of the
three networks (G, D, Gs), Gs being the generator of averaged weights. A network's state has its
variables as (name, array), the keyword arguments that it was built with, and its components by
name: those of StyleGAN are 'mapping' and 'synthesis'. A variable's name here is the one it has
there, behind the names of the components it is in, with a '/' after each. Layouts are TensorFlow's.
The arguments of a network stand above those of its components where both have one.
"""

from __future__ import annotations

import io
from pathlib import PurePath
from typing import Any

import numpy as np

from natra_jax.printable import shown
from natra_jax.weights.formats.bounded import Bounded
from natra_jax.weights.formats.pickle_globals import (
    Instance,
    PickledArray,
    containers,
    empty_dict,
    instance,
    numpy_arrays,
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

_NETWORK = "Network"
_MODULES = "tfutil", "dnnlib.tflib.network"
_THEANO = "network"


def read(file: io.BufferedIOBase, path: PurePath) -> Checkpoint:
    """Read the variables of Gs and the arguments that it was built with.

    file: seekable, read from its start. path: for messages alone. Raises UserError if the file is
    damaged or malicious, or is none of the three networks.
    """
    with naming(path):
        saved = load(Bounded(file), _globals(), unknown=stand_in)
        if type(saved) in (tuple, list) and len(saved) == 3 and isinstance(saved[2], StandIn):
            raise Unreadable(f"has {saved[2].said} as Gs, the generator to use")
        if (
            type(saved) not in (tuple, list)
            or len(saved) != 3
            or not isinstance(saved[2], Instance)
        ):
            raise Unreadable(
                "does not hold the three networks (G, D, Gs): give a network snapshot as training "
                "saves it"
            )
        return _checkpoint(saved[2])


def _globals() -> Globals:
    """Return new globals, for one file."""

    def theano(arguments: tuple) -> None:
        raise Unreadable(
            "is of ProGAN's first version, for Theano, which is not read: give the network of its "
            "TensorFlow version"
        )

    return {
        **containers(),
        **numpy_arrays(lenient=True),
        **{(module, _NETWORK): instance(f"{module}.{_NETWORK}") for module in _MODULES},
        (_THEANO, _NETWORK): Global(f"{_THEANO}.{_NETWORK}", theano),
        ("dnnlib.util", "EasyDict"): empty_dict("dnnlib.util.EasyDict"),
    }


def _checkpoint(network: Instance) -> Checkpoint:
    """Collect the variables and arguments of the network and its components."""
    found = NamedTensors()

    def collect(network: Any, prefix: str) -> dict[Any, Any]:
        """Add the network's variables to found, and return the arguments that it was built with."""
        if not isinstance(network, Instance) or network.state is None:
            raise malformed(f"the network {shown(prefix)}")
        variables: Any = network.state.get("variables")
        components: Any = network.state.get("components", {})
        arguments: Any = network.state.get("static_kwargs", {})
        if (
            type(variables) not in (list, tuple)
            or type(components) is not dict
            or type(arguments) is not dict
        ):
            raise malformed(f"the network {shown(prefix)}")
        found.enter(prefix, len(variables) + len(components) + len(arguments))
        for variable in variables:
            name, array = _variable(variable)
            found.add(prefix + name, array)
        inner: dict = {}
        for name, component in components.items():
            if not isinstance(name, str):
                raise malformed(f"the network {shown(prefix)}")
            inner |= collect(component, f"{prefix}{name}/")
        return inner | arguments

    arguments = collect(network, "")
    return Checkpoint(found.tensors, plain(arguments, "what Gs was built with"))


def _variable(variable: Any) -> tuple[str, np.ndarray]:
    """Return a variable's (name, array). Raises Unreadable if it is none."""
    match variable:
        case (str() as name, PickledArray(array=np.ndarray() as array)):
            return name, array
        case (str() as name, np.generic() as number):
            return name, np.asarray(number)
        case (str() as name, StandIn() as unread):
            raise Unreadable(f"has {unread.said} as the variable {shown(name)}")
        case (str() as name, PickledArray(objects=list())):
            raise Unreadable(
                f"has a NumPy type other than of numbers as the variable {shown(name)}"
            )
    raise malformed("a variable")
