"""The function that an attack on a classifier climbs: a loss of its logits, and its success."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Bool, Float, Integer, PyTree

from natra_jax.attacks.search import LossFn
from natra_jax.losses import cross_entropy, dlr, margin, misclassified
from natra_jax.types import Array

LabelLoss = Callable[[Float[Array, "B C"], Integer[Array, " B"]], Float[Array, " B"]]
"""(logits [B, C], labels [B]) -> [B]"""
LOSSES: dict[str, LabelLoss] = {"ce": cross_entropy, "dlr": dlr, "margin": margin}


def objective(
    logits_fn: Callable[[PyTree], Array],
    labels: Any,
    *,
    loss: str | LabelLoss = "ce",
    targeted: bool = False,
) -> LossFn:
    """Build the function inputs -> (loss [B], success [B]) of a classifier.

    Args:
        logits_fn: inputs -> logits [B, C], the classifier.
        labels: int [B].
        loss: 'ce' (cross entropy), 'dlr' (Croce & Hein 2020), 'margin', or a function
            (logits, labels) -> [B] to be raised.
        targeted: labels are the classes to be reached. The loss is lowered, and success is their
            being predicted.

    Returns:
        A `jax.tree_util.Partial`. Where logits_fn, and a loss of your own, are Partials with their
        arrays bound, it can be an argument of what is jitted.

    Raises:
        ValueError: the loss is unknown.
    """
    if isinstance(loss, str) and loss in LOSSES:
        loss = LOSSES[loss]
    if not callable(loss):
        raise ValueError(
            f"loss must be one of {', '.join(map(repr, LOSSES))} "
            f"or a function (logits, labels) -> [B], got {loss!r}"
        )
    return Partial(_measure(targeted), _partial(loss), _partial(logits_fn), jnp.asarray(labels))


@cache
def _measure(targeted: bool) -> Callable[..., tuple[Array, Array]]:
    def measure(
        loss: LabelLoss,
        logits_fn: Callable[[PyTree], Array],
        labels: Integer[Array, " B"],
        inputs: PyTree,
    ) -> tuple[Float[Array, " B"], Bool[Array, " B"]]:
        logits = logits_fn(inputs)
        value, wrong = loss(logits, labels), misclassified(logits, labels)
        return (-value, ~wrong) if targeted else (value, wrong)

    return measure


def _partial(function: Callable[..., Array]) -> Partial:
    """Wrap a function as a pytree. A Partial stays as it is."""
    return function if isinstance(function, Partial) else Partial(function)
