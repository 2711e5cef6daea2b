"""A flat state dict out of what a file holds.

Choose the network that is meant, and check the names and values that a checkpoint may have.
"""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

import numpy as np

from natra_jax.weights.formats.pickle_globals import Instance
from natra_jax.weights.formats.restricted_unpickler import Unreadable, malformed, naming
from natra_jax.weights.tensors import Checkpoint, shown

# The names under which training scripts keep the generator, that of averaged weights first.
_NETWORKS = (
    "g_ema",
    "G_ema",
    "generator_smooth",
    "g_running",
    "netG_ema",
    "generator_ema",
    "generator",
    "netG",
    "g",
)
_WRAPPINGS = ("models", "state_dict", "model_state_dict", "model", "params")
_MEAN = "latent_avg"  # beside g_ema, in what rosinality/stylegan2-pytorch converts
_PARALLEL = "module."  # before every name that torch.nn.DataParallel saves
_MAX_VALUES, _MAX_DEPTH = 10_000, 16  # in a configuration
_MAX_TENSORS, _MAX_NAME = 100_000, 500


def select(found: Any, path: PurePath) -> Checkpoint:
    """Return the generator's tensors in what `torch_save` read.

    That is a state dict, or a training script's dict with one in it. A dict of several networks
    gives the generator, the one of averaged weights if there is one. A mean code beside it is kept
    as 'latent_avg', and the 'module.' that torch.nn.DataParallel puts before every name is left
    out. There is no config: what such files say of their training (such as argparse's arguments) is
    not what a network was made with.

    path: for messages alone. Raises UserError, naming what is there, if no generator is found.
    """
    with naming(path):
        chosen = _chosen(found)
        tensors = _tensors(chosen)
        if type(found) is dict and chosen is not found and isinstance(found.get(_MEAN), np.ndarray):
            if _MEAN in tensors:
                raise Unreadable(
                    f"has {_MEAN} twice, within the network and beside it: leave one out"
                )
            tensors[_MEAN] = found[_MEAN]
        return Checkpoint(tensors)


def plain(value: Any, what: str) -> Any:
    """Return a copy of value, which may be of any type, as plain values.

    These are numbers, texts, truth values, None, lists (for tuples, too) and dicts by texts. Raises
    Unreadable, naming `what` the value is, if there is anything else in it, or if it is far larger
    than what a network is made with.
    """
    left = _MAX_VALUES

    def copied(value: Any, depth: int) -> Any:
        nonlocal left
        left -= 1
        if left < 0 or depth > _MAX_DEPTH:
            raise Unreadable(
                f"has more in {what} than any network is made with: it is damaged or was tampered "
                "with"
            )
        if isinstance(value, np.generic):
            value = value.item()
        if type(value) in (bool, int, float, str, type(None)):
            return value
        if type(value) in (list, tuple):
            return [copied(item, depth + 1) for item in value]
        if type(value) is dict and all(type(name) is str for name in value):
            return {name: copied(item, depth + 1) for name, item in value.items()}
        raise Unreadable(
            f"has {_said(value)} in {what}: only numbers, texts, lists and dicts by name are read"
        )

    return copied(value, 0)


class NamedTensors:
    """Tensors by name, collected from networks within networks.

    A stranger's networks may be one another's parts without end, so how many are entered is
    bounded.
    """

    def __init__(self) -> None:
        self.tensors: dict[str, np.ndarray] = {}
        self._left = _MAX_TENSORS

    def enter(self, prefix: str, entries: int) -> None:
        """Count a network with so many entries (tensors and parts), before it is looked at.

        prefix: the names that lead to it. Raises Unreadable if there were too many.
        """
        self._left -= 1 + entries
        if (
            self._left < 0
            or len(prefix) > _MAX_NAME
            or prefix.count("/") + prefix.count(".") > 2 * _MAX_DEPTH
        ):
            raise Unreadable(
                "has more networks within networks than any generator: it is damaged or was "
                "tampered with"
            )

    def add(self, name: str, array: np.ndarray) -> None:
        """Add a tensor. Raises Unreadable if the name is there already or is no network's."""
        if name in self.tensors or len(name) > 2 * _MAX_NAME:
            raise malformed(f"the tensor {shown(name)}")
        self.tensors[name] = array


def _chosen(found: Any) -> Any:
    """Return the dict of tensors within found, or found itself."""
    for _ in range(len(_WRAPPINGS)):
        if type(found) is not dict:
            return found
        inside = [name for name in (*_NETWORKS, *_WRAPPINGS) if type(found.get(name)) is dict]
        if not inside:
            return found
        found = found[inside[0]]
    return found


def _tensors(state_dict: Any) -> dict[str, np.ndarray]:
    """Return a state dict's tensors, without DataParallel's prefix.

    Raises Unreadable, saying what is there, for anything but a dict of tensors by texts.
    """
    if type(state_dict) is not dict:
        raise Unreadable(
            f"holds {_said(state_dict)}, no state dict: save the state_dict() of the generator"
        )
    if not any(isinstance(value, np.ndarray) for value in state_dict.values()):
        there = ", ".join(shown(name) for name in list(state_dict)[:8]) or "nothing"
        raise Unreadable(
            f"holds no generator's tensors ({there}): save its state_dict(), alone or as 'g_ema' "
            "or 'state_dict'"
        )
    for name, value in state_dict.items():
        if not (isinstance(name, str) and isinstance(value, np.ndarray)):
            raise Unreadable(
                f"has {_said(value)} as {shown(name)} among its tensors: save the state_dict() "
                "alone"
            )
    parallel = all(name.startswith(_PARALLEL) for name in state_dict)
    return {
        name.removeprefix(_PARALLEL) if parallel else name: value
        for name, value in state_dict.items()
    }


def _said(value: Any) -> str:
    """Return a value's type, in words: the value itself may be endless."""
    if isinstance(value, Instance):
        return f"an object of {value.name}"
    return f"a value of type {type(value).__name__}"
