"""Restrict a method to the classes whose images the generator makes.

All other examples are trained on as they are. NaTra's Table 2 tells cats, or cars, from other
pictures, with a generator of cats, or cars.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array, Float

from natra_jax.types import Batch, Keys, LogitsFn, Method, Variation, Vary


def restrict_to_classes(method: Method, classes: Sequence[int], num_classes: int) -> Method:
    """Vary the examples of `classes` alone.

    The variation of any other example is replaced by its own image and its label, one-hot.
    """
    if method.vary is None:
        return method
    return replace(method, vary=Partial(_vary(tuple(classes), num_classes), method.vary))


@cache
def _vary(classes: tuple[int, ...], num_classes: int) -> Callable[..., Variation]:
    def vary(
        inner: Vary, logits_fn: LogitsFn, keys: Keys, batch: Batch, epsilon: Float[Array, " B"]
    ) -> Variation:
        made = inner(logits_fn, keys, batch, epsilon)
        inside = jnp.isin(batch["label"], jnp.array(classes))

        def choose(varied: Array, original: Any) -> Array:
            mask = inside.reshape(-1, *[1] * (varied.ndim - 1))
            return jnp.where(mask, varied, original.astype(varied.dtype))

        return Variation(
            choose(made.inputs, batch["image"]),
            choose(made.targets, jax.nn.one_hot(batch["label"], num_classes)),
            choose(made.epsilon, epsilon),
            None if made.failed is None else made.failed & inside,
            made.metrics,
            None if made.delta is None else choose(made.delta, batch["delta"]),
        )

    return vary
