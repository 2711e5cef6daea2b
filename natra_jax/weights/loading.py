"""From a path to a generator: a directory that was converted before, or a foreign checkpoint.

A foreign checkpoint may be of any format in `formats` and any family in `families`.
"""

from __future__ import annotations

import os

from etils import epath

from natra_jax.types import Generator, Params, UserError
from natra_jax.weights import converted
from natra_jax.weights.families import AUTO, Loaded, convert
from natra_jax.weights.formats.detect import read
from natra_jax.weights.formats.detect import require_known as require_known


def find(path: str | os.PathLike, family: str = AUTO) -> Loaded:
    """Read the generator at path, with its description.

    Raises UserError, beginning with the path, wherever `load` does.
    """
    path = epath.Path(path).expanduser()
    if converted.is_saved(path):
        loaded = converted.load(path.resolve())
        if family not in (AUTO, loaded.family):
            raise UserError(f"{path}: is of the family {loaded.family}, not {family}")
        return loaded
    checkpoint = read(path)
    try:
        return convert(checkpoint, family)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def load(path: str | os.PathLike, family: str = AUTO) -> tuple[Generator, Params]:
    """Read (generator, params) from path. Nothing that a file says is run.

    path: a checkpoint file, a Hugging Face folder, or a directory that
    `python -m natra_jax.weights` wrote. family: a key of `natra_jax.weights.FAMILIES`, or 'auto' to
    recognise it by the names of the tensors.

    Raises UserError if there is nothing at path, if it is damaged or malicious, or if it is of no
    family or another one.
    """
    loaded = find(path, family)
    return loaded.generator, loaded.params
