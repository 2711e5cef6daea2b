"""How many mutations of each kind are tried, what they may cost, and changes of JSON."""

from __future__ import annotations

import copy
import json
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from natra_jax.types import UserError

COUNTS = [200, pytest.param(20_000, marks=pytest.mark.slow)]  # of each kind
SECONDS = 5.0  # that one may take
_BYTES = 50_000_000  # that one may take, and ten times its file

# what stands in place of an entry
WRONG = (
    *(None, True, False, 0, -1, 1, 1.5, 2**16, 10**9, 2**40, -(2**70), 10**299, 1e300),
    *("", "x", "\0", "../..", "a" * 5000, "\udc80", "\ud800", float("nan"), float("inf")),
    *([], {}, [1], [None], [[]], {"a": 1}, [1] * 300),
)
TOKENS = (b"[", b"{", b'"', b",", b"9" * 400, b"-", b"e9", b"\\ud800", b"\xff")


@contextmanager
def soon(what: str) -> Iterator[None]:
    """Require that what is tried ends soon, by the time that it computes, if by an error then ours.

    what: is said where it does not.
    """
    start = time.thread_time()
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise AssertionError(what) from error
    finally:
        assert time.thread_time() - start < SECONDS, what


@contextmanager
def frugal(file_bytes: int) -> Iterator[None]:
    """Require that at no time much more memory is taken than what is read. Linux alone can tell."""
    forget = Path("/proc/self/clear_refs")
    if not forget.exists():
        yield
        return
    before = _memory("VmRSS")
    forget.write_text("5")  # the most that was taken so far
    yield
    assert _memory("VmHWM") - before < _BYTES + 10 * file_bytes


def _memory(name: str) -> int:
    """Return a number of this process's status, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """Yield the paths of all entries at any depth."""
    entries = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for name, entry in entries:
        yield (*path, name)
        yield from places(entry, (*path, name))


def changed(value: Any, path: tuple, new: Any) -> Any:
    """Return a copy of value with another entry at path; `...` takes it away."""
    whole = copy.deepcopy(value)
    inner = whole
    for name in path[:-1]:
        inner = inner[name]
    if new is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = new
    return whole


def edited(rng: random.Random, value: Any, edits: int, more: tuple = ()) -> Any:
    """Return value with entries taken away, replaced, or exchanged with others of its own.

    more: what may stand in their place besides WRONG.
    """
    for _ in range(edits):
        if some := list(places(value)):
            path = rng.choice(some)
            new = rng.choice((..., *WRONG, *more, value, entry_at(value, rng.choice(some))))
            value = changed(value, path, new)
    return value


def entry_at(value: Any, path: tuple) -> Any:
    for name in path:
        value = value[name]
    return value


def mutated(rng: random.Random, value: Any) -> bytes:
    """Return a mutation of the JSON of value: of its entries, of its bytes, or of both."""
    data = bytearray(json.dumps(edited(rng, value, rng.randint(0, 2))).encode())
    for _ in range(rng.randint(0, 3)):
        at, kind = rng.randrange(len(data) + 1), rng.randrange(4)
        if kind == 0:
            data[at:at] = rng.choice(TOKENS)
        elif kind == 1:
            del data[at : at + rng.randint(1, 9)]
        elif kind == 2:
            data[at : at + 1] = bytes([rng.randrange(256)])
        else:
            other = rng.randrange(len(data) + 1)
            data[at:at] = data[other : other + 20]
    return bytes(data)
