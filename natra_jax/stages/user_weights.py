"""The weights that a user has for the experiment's classifier, of this package or of others."""

from __future__ import annotations

import contextlib
import zipfile
from typing import Any

import jax
import jax.numpy as jnp
from etils import epath
from flax import linen as nn

from natra_jax import trees
from natra_jax.files import open_file
from natra_jax.inputs import Inputs
from natra_jax.stages import classifier
from natra_jax.stages.classifier import Description
from natra_jax.stages.context import Config
from natra_jax.stages.data import DatasetInfo
from natra_jax.training import pretrained
from natra_jax.types import UserError
from natra_jax.weights import classifiers as foreign

_LAST = "head"  # the name of the last layer in every network that others train too


def read_weights(
    config: Config, info: DatasetInfo | Description, path: str, inputs: Inputs
) -> dict[str, Any]:
    """Read the weights that the user has for the classifier.

    Args:
      config: the experiment.
      info: of the data.
      path: an .npz file of this package, a directory that orbax wrote or, for a classifier that
        others train too, a file of theirs.
      inputs: the files that the config names, so that each is read once.

    Returns:
      The variables {"params", "batch_stats"}, perhaps with auxiliary BatchNorm.

    Raises:
      UserError: if they do not fit the classifier.
    """
    where = epath.Path(path).expanduser()
    if not _is_foreign(config, where):
        like = classifier.variables_like(config, info)
        return pretrained.read(where, like) if where.is_dir() else trees.load(where, like)
    found = _read_foreign(config, where, inputs)
    if (classes := found.arguments["num_classes"]) != info.num_classes:
        raise UserError(f"{where}: tells {classes} classes apart, the data have {info.num_classes}")
    return found.params


def first_weights(
    config: Config, info: DatasetInfo | Description, path: str, seed: int, inputs: Inputs
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Read weights as `read_weights` does, as the start of a training.

    Where a file of others is of another number of classes, the last layer is a fresh one.

    Args:
      config: the experiment.
      info: of the data.
      path: as for `read_weights`.
      seed: of a fresh last layer.
      inputs: the files that the config names.

    Returns:
      (variables, notes for the user, a line each).

    Raises:
      UserError: if they do not fit the classifier.
    """
    where = epath.Path(path).expanduser()
    if not _is_foreign(config, where):
        return read_weights(config, info, path, inputs), ()
    arguments, variables, notes = _read_foreign(config, where, inputs)
    params, classes = variables["params"], arguments["num_classes"]
    if classes == info.num_classes:
        return variables, notes
    rows = params[_LAST]["kernel"].shape[0]
    last = nn.Dense(info.num_classes).init(jax.random.key(seed), jnp.zeros((1, rows)))["params"]
    fresh = f"the last layer is fresh, for {info.num_classes} classes in place of {classes}"
    return variables | {"params": params | {_LAST: last}}, (*notes, fresh)


def _is_foreign(config: Config, path: epath.Path) -> bool:
    """Return whether the variables at path are in a format of others.

    The format of this package is an .npz of arrays under 'params/'.
    """
    own = config.classifier.factory or config.classifier.name not in foreign.CLASSIFIERS
    if own or not path.is_file():
        return False
    # the reader reports what is wrong with a file that is no archive, or a damaged one
    with (
        contextlib.suppress(Exception),
        open_file(path) as file,
        zipfile.ZipFile(file) as archive,
    ):
        names = archive.namelist()
        return not any(name.startswith("params/") and name.endswith(".npy") for name in names)
    return True


def _read_foreign(config: Config, path: epath.Path, inputs: Inputs) -> foreign.Converted:
    """Read a file of others; raise UserError if the network in it has other options."""
    name = config.classifier.name
    found = inputs.once(("classifier", str(path), name), lambda: foreign.load(path, name))
    for option, value in classifier.network_options(config).items():
        if (theirs := found.arguments[option]) != value:
            raise UserError(
                f"{path}: is of a network with {option} {theirs}: set config field "
                f"{classifier.options_section(config)}.{option} to that"
            )
    return found
