"""Whose pickle a stream is, told from its opcodes alone: nothing in it is loaded, made or run."""

from __future__ import annotations

import pickletools
from collections.abc import Iterator
from itertools import islice
from typing import BinaryIO

LEGACY_TORCH = 0x1950A86A20F9469CFC6C  # the number that torch.save wrote first, before 1.6
_TENSORFLOW = {"tfutil.Network", "dnnlib.tflib.network.Network", "network.Network"}
_PYTORCH = {"torch_utils.persistence._reconstruct_persistent_obj"}
_MOST = 200_000  # opcodes looked at: the first network stands among the first few thousand


def lineage(file: BinaryIO) -> tuple[str, list[str]]:
    """('legacy' | 'pytorch' | 'tensorflow' | 'unknown', the globals seen) of the pickle that the file holds.

    legacy: torch.save's stream before 1.6. pytorch, tensorflow: a pickle that names the network class of NVIDIA's code for either.
    """
    file.seek(0)
    seen = []
    for name in _globals(file):
        if name == LEGACY_TORCH:
            return "legacy", []
        seen.append(name)
        if name in _TENSORFLOW:
            return "tensorflow", seen
        if name in _PYTORCH:
            return "pytorch", seen
    return "unknown", seen


def _globals(file: BinaryIO) -> Iterator[str | int]:
    """The globals that the stream names, 'module.name', until it ends or makes no sense; LEGACY_TORCH if it begins with that."""
    memo: dict[int, str | None] = {}
    strings, value = ["", ""], None  # the last two, and what the last opcode pushed if it was one
    try:
        for number, (opcode, argument, _) in enumerate(islice(pickletools.genops(file), _MOST)):
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
                value = argument[:200]
            else:
                value = (
                    memo.get(argument) if opcode.name in ("BINGET", "LONG_BINGET", "GET") else None
                )
            if value is not None:
                strings = [strings[1], value]
    except (ValueError, OverflowError, Warning):  # the end, as far as telling whose it is goes
        return
