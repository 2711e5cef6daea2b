"""What an attack on a classifier climbs: a loss of its logits, and whether it is wrong yet."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from natra_jax.attacks.search import LossFn, PyTree
from natra_jax.losses import cross_entropy, dlr, margin, misclassified
from natra_jax.types import Bound

LOSSES = {"ce": cross_entropy, "dlr": dlr, "margin": margin}
Loss = Callable[[jax.Array, jax.Array], jax.Array]  # (logits [B, C], labels [B]) -> [B]


def objective(
    logits_fn: Callable[[PyTree], jax.Array],
    labels: jax.Array,
    *,
    loss: str | Loss = "ce",
    targeted: bool = False,
) -> LossFn:
    """inputs -> (loss [B], success [B]) of a classifier inputs -> logits [B, C], for labels int [B].

    loss: 'ce' (cross entropy), 'dlr' (Croce & Hein 2020), 'margin', or a function (logits, labels) -> [B] to be raised. targeted: labels
    are the classes to be reached: the loss is lowered, and success is their being predicted.
    The result is a pytree where logits_fn is a `jax.tree_util.Partial`, so that it can be an argument of what is jitted.

    Raises ValueError for an unknown loss.
    """
    if not (callable(loss) or isinstance(loss, str) and loss in LOSSES):
        raise ValueError(
            f"loss must be one of {', '.join(map(repr, LOSSES))} or a function (logits, labels) -> [B], got {loss!r}"
        )
    logits_fn = logits_fn if isinstance(logits_fn, Partial) else Partial(logits_fn)
    return Partial(
        Bound(_measure, LOSSES[loss] if isinstance(loss, str) else loss, targeted),
        logits_fn,
        jnp.asarray(labels),
    )


def _measure(loss, targeted, logits_fn, labels, inputs):
    logits = logits_fn(inputs)
    value, wrong = loss(logits, labels), misclassified(logits, labels)
    return (-value, ~wrong) if targeted else (value, wrong)
