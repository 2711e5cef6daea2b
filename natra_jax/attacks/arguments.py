"""Arguments of the one-call attacks, as their callers give them: arrays, lists, and mistakes."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from natra_jax.attacks.search import is_numeric
from natra_jax.printable import shown


def numbers(x: Any) -> jax.Array | np.ndarray | None:
    """Return x as an array, with all of its bits where it is known.

    None for what is no array of numbers.
    """
    if isinstance(x, Tracer):
        return x
    if not is_numeric(x):
        return None
    holds_traced = any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(x))
    try:
        return array(x) if holds_traced or isinstance(x, jax.Array) else np.asarray(x)
    except (TypeError, ValueError, OverflowError):  # rows of several lengths, numbers without end
        return None


def kind(x: Any) -> str:
    """Return the dtype and shape of an array, and whatever else it is as Python writes it."""
    if not (hasattr(x, "dtype") and hasattr(x, "shape")):
        return shown(x)
    return f"{'masked ' * isinstance(x, np.ma.MaskedArray)}{x.dtype} {x.shape}"


def array(x: Any, dtype: Any = None) -> jax.Array:
    """Convert to an array. Known values stay known even while something around is traced."""
    if isinstance(x, Tracer):
        return x.astype(dtype or x.dtype)
    with jax.ensure_compile_time_eval():
        return jnp.asarray(x, dtype)


def is_key(key: Any) -> bool:
    """Tell whether key is one of jax.random.key, or of the older jax.random.PRNGKey."""
    if not isinstance(key, jax.Array):
        return False
    if jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        return key.ndim == 0
    return key.dtype == jnp.uint32 and key.ndim == 1
