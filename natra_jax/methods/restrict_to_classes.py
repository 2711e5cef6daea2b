"""A method that varies some classes alone: those whose images the generator makes. All others are trained on as they are.

NaTra's Table 2 tells cats, or cars, from other pictures, with a generator of cats, or cars.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from natra_jax.types import Bound, Method, Variation


def restrict_to_classes(method: Method, classes: Sequence[int], num_classes: int) -> Method:
    """The method, with the variation of every example that is not of `classes` replaced by its own image and its label, one-hot."""
    if method.vary is None:
        return method
    return replace(method, vary=Partial(Bound(_vary, tuple(classes), num_classes), method.vary))


def _vary(classes, num_classes, vary, logits_fn, keys, batch, epsilon) -> Variation:
    made = vary(logits_fn, keys, batch, epsilon)
    inside = jnp.isin(batch["label"], jnp.array(classes))

    def choose(varied, plain):
        return jnp.where(inside.reshape(-1, *[1] * (varied.ndim - 1)), varied, plain)

    return Variation(
        choose(made.inputs, batch["image"].astype(made.inputs.dtype)),
        choose(made.targets, jax.nn.one_hot(batch["label"], num_classes, dtype=made.targets.dtype)),
        choose(made.epsilon, epsilon.astype(made.epsilon.dtype)),
        None if made.failed is None else made.failed & inside,
        made.metrics,
    )
