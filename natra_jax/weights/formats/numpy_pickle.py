"""Dicts of NumPy arrays: those of `numpy.save` (.npy) and of `pickle.dump`.

    checkpoint = read_npy(file, path)

`numpy.save` of a dict writes an array of one Python object, as a pickle behind the header of the
array. Both pickles are read by the rules of `restricted_unpickler`, and may be dicts in dicts.
"""

from __future__ import annotations

import io
import re
from pathlib import PurePath
from typing import Any

from natra_jax.weights.formats.bounded import Bounded
from natra_jax.weights.formats.pickle_globals import (
    PickledArray,
    containers,
    numpy_arrays,
    stand_in,
)
from natra_jax.weights.formats.restricted_unpickler import Unreadable, load, naming, take
from natra_jax.weights.formats.state_dict import flatten
from natra_jax.weights.tensors import Checkpoint

_OBJECT = re.compile(
    r"\{'descr': '\|?O\d?', 'fortran_order': (?:False|True), 'shape': \(\), ?\} *\n"
)
_MOST_HEADER = 2**16
NAMES = ("numpy.core.", "numpy._core.", "numpy.ndarray", "numpy.dtype")  # in the pickle of a dict


def read_npy(file: io.BufferedIOBase, path: PurePath) -> Checkpoint:
    """Read the dict of arrays that numpy.save wrote. file: read from its start.

    path: for messages alone. Raises UserError for any other array, and for what is no dict of
    arrays.
    """
    with naming(path):
        bounded = Bounded(file)
        start = take(bounded, 8)
        width = 2 if start[6] == 1 else 4
        length = int.from_bytes(take(bounded, width), "little")
        header = take(bounded, min(length, _MOST_HEADER)).decode("latin1")
        if not _OBJECT.fullmatch(header):
            raise Unreadable(
                "is a single NumPy array without a name: save all arrays by name in an .npz"
            )
        found = load(bounded, _globals(), unknown=stand_in)
        if not (isinstance(found, PickledArray) and found.objects and len(found.objects) == 1):
            raise Unreadable(
                "is a single NumPy object: save a dict of arrays, or all arrays by name in an .npz"
            )
        return flatten(found.objects[0], path)


def read_pickle(file: io.BufferedIOBase, path: PurePath) -> Checkpoint:
    """Read the dict of arrays that pickle.dump wrote. file: read from its start.

    path: for messages alone. Raises UserError for what is no dict of arrays.
    """
    with naming(path):
        return flatten(load(Bounded(file), _globals(), unknown=stand_in), path)


def _globals() -> dict[tuple[str, str], Any]:
    """Return new globals, for one file."""
    return {**containers(), **numpy_arrays(lenient=True)}
