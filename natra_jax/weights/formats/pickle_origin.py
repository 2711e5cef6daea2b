"""The program that wrote a pickle, told from its opcodes alone: nothing in it is loaded or run."""

from __future__ import annotations

import pickletools
from collections.abc import Iterator
from itertools import islice
from typing import Any

from natra_jax.weights.formats.bounded import Bounded

LEGACY_TORCH = 0x1950A86A20F9469CFC6C  # the number that torch.save wrote first, before 1.6
_TENSORFLOW = {"tfutil.Network", "dnnlib.tflib.network.Network", "network.Network"}
_PYTORCH = {"torch_utils.persistence._reconstruct_persistent_obj"}
_MOST = 200_000  # opcodes looked at: the first network stands among the first few thousand


def origin(file: Bounded) -> tuple[str, list[str]]:
    """Return (origin, the globals seen) of the pickle that the file holds.

    origin: 'legacy' for torch.save's stream before 1.6; 'pytorch' or 'tensorflow' for a pickle that
    names the network class of NVIDIA's code for either; else 'unknown'.
    """
    file.seek(0)
    seen: list[str] = []
    for name in _globals(file):
        if isinstance(name, int):
            return "legacy", []
        seen.append(name)
        if name in _TENSORFLOW:
            return "tensorflow", seen
        if name in _PYTORCH:
            return "pytorch", seen
    return "unknown", seen


def _globals(file: Bounded) -> Iterator[str | int]:
    """Yield the globals that the stream names, 'module.name', until it ends or makes no sense.

    Yields LEGACY_TORCH if the stream begins with that.
    """
    memo: dict[int, str | None] = {}
    # the last two texts pushed, and what the last opcode pushed if it was a text
    strings, value = ["", ""], None
    opcodes: Iterator[tuple[pickletools.OpcodeInfo, Any, int | None]]
    # genops asks for an IO, and uses no more of it than a Bounded has
    opcodes = islice(pickletools.genops(file), _MOST)  # pyright: ignore[reportArgumentType]
    try:
        for number, (opcode, argument, _) in enumerate(opcodes):
            match opcode.name:
                case "LONG1" if number <= 2 and argument == LEGACY_TORCH:  # behind PROTO and FRAME
                    yield LEGACY_TORCH
                case "GLOBAL":
                    yield argument.replace(" ", ".", 1)
                case "STACK_GLOBAL":
                    yield ".".join(strings)
                case "MEMOIZE":
                    memo[len(memo)] = value
                    continue
                case "BINPUT" | "LONG_BINPUT" | "PUT":
                    memo[argument] = value
                    continue
            if opcode.name in ("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE"):
                value = str(argument)[:200]
            else:
                value = (
                    memo.get(argument) if opcode.name in ("BINGET", "LONG_BINGET", "GET") else None
                )
            if value is not None:
                strings = [strings[1], value]
    except (ValueError, OverflowError, Warning):  # damaged from here on; what was seen may do
        return
