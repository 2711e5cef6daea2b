"""Files that are wrong somewhere, and state dicts that are wrong in one place each.

A reader or converter may refuse them with a UserError, or not mind, but fail in no other way.
"""

from __future__ import annotations

import random

import numpy as np

from natra_jax.types import UserError
from natra_jax.weights.tensors import Tensors

ODD_VALUES = (
    True,
    1,
    -1,
    0,
    10**30,
    0.5,
    float("nan"),
    "auto",
    "x" * 5000,
    b"x",
    [1, 2],
    [None],
    {},
    {"a": 1},
    object(),
    np.ones(3),
)


def damaged_tensors(tensors):
    """(name, what was done to it, state dict), for all names."""
    for name, array in tensors.items():
        wrong = {
            "missing": None,
            "of another rank": array[None],
            "empty": np.zeros((0, *array.shape[1:]), np.float32),
            "not finite": np.full(array.shape, np.nan, np.float32),
            "too large": np.full(array.shape, 1e300),
            "text": np.full(array.shape, "x"),
            "larger": np.concatenate([array, array]) if array.ndim else np.zeros(2, np.float32),
        }
        for how, value in wrong.items():
            changed = {
                other: value if other == name else tensor for other, tensor in tensors.items()
            }
            yield (
                name,
                how,
                {other: tensor for other, tensor in changed.items() if tensor is not None},
            )


def refused(convert, tensors, config):
    """Whether convert raises a UserError of one line; any other exception is the test's."""
    try:
        convert(Tensors(tensors, "this family"), config)
    except UserError as error:
        assert str(error) and "\n" not in str(error)
        return True
    return False


def taken_all_the_same(convert, tensors, config):
    """Names whose damage convert does not mind, each with what was done to it."""
    return {
        (name, how)
        for name, how, changed in damaged_tensors(tensors)
        if not refused(convert, changed, config)
    }


def try_odd_settings(convert, tensors, config, names):
    """Try every setting of those names at odd values, one at a time; return those not refused."""
    return {
        (name, repr(value)[:20])
        for name in names
        for value in ODD_VALUES
        if not refused(convert, tensors, {**config, name: value})
    }


def count_refused(read, good: bytes, rng: random.Random, times: int, path: str) -> int:
    """Return how many of so many damaged versions of the file are refused.

    Each is refused by a UserError of one short line that begins with path.
    """
    said = 0
    for _ in range(times):
        data = bytearray(good)
        for _ in range(rng.choice((1, 3))):
            at = rng.randrange(len(data))
            data[at : at + rng.choice((0, 1, 4))] = rng.randbytes(rng.choice((0, 1, 4)))
        try:
            read(bytes(data))
        except UserError as error:
            said += 1
            assert (
                str(error).startswith(f"{path}: ")
                and str(error).isprintable()
                and len(str(error)) < 400
            )
    return said
