"""Pretrained generators: weights that come with the package, each with a card of its making."""

from __future__ import annotations

import jax
from etils import epath

from natra_jax import trees
from natra_jax.types import Generator, Params, UserError

_DIRECTORY = epath.Path(__file__).parent / "weights"


def weights_path(name: str) -> epath.Path:
    """Return the .npz of the pretrained weights called name; its card is the .json beside it.

    Raises UserError for an unknown name.
    """
    path = _DIRECTORY / f"{name}.npz"
    if not path.exists():
        valid = ", ".join(sorted(p.stem for p in _DIRECTORY.glob("*.npz")))
        raise UserError(
            f"no weights called {name!r} come with natra_jax (config field generator.weights; "
            f"there are: {valid})"
        )
    return path


def load_weights(name: str, generator: Generator) -> Params:
    """Load the pretrained weights called name; UserError if they do not fit the generator."""
    return trees.load(weights_path(name), jax.eval_shape(generator.init, jax.random.key(0)))
