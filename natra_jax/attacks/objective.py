"""The function that an attack on a classifier climbs: a loss of its logits, and its success."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Bool, Float, Integer, PyTree

from natra_jax.attacks.search import LossFn, require_flag
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
        logits_fn: inputs -> logits [B, C], the classifier, with C >= 2; `binary` makes one of a
            classifier that has a single logit.
        labels: int [B].
        loss: 'ce' (cross entropy), 'dlr' (Croce & Hein 2020), 'margin', or a function
            (logits, labels) -> [B] to be raised.
        targeted: labels are the classes to be reached. The loss is lowered, and success is their
            being predicted. Logits that are NaN predict no class.

    Returns:
        A `jax.tree_util.Partial`. Where logits_fn, and a loss of your own, are Partials with their
        arrays bound, it can be an argument of what is jitted.

    Raises:
        ValueError: the loss is unknown, targeted is neither True nor False, or, where the function
            is called, logits_fn does not return floating-point logits [B, C] with C >= 2.
    """
    require_flag("targeted", targeted)
    if isinstance(loss, str) and loss in LOSSES:
        loss = LOSSES[loss]
    if not callable(loss):
        raise ValueError(
            f"loss must be one of {', '.join(map(repr, LOSSES))} "
            f"or a function (logits, labels) -> [B], got {loss!r}"
        )
    return Partial(_measure(targeted), _partial(loss), _partial(logits_fn), jnp.asarray(labels))


def binary(logits_fn: Callable[[PyTree], Array]) -> Partial:
    """Wrap a classifier of one logit x, [B] or [B, 1], as one of two classes: logits (0, x).

    Class 1 is predicted where x > 0, and the cross entropy is the binary cross entropy of
    sigmoid(x). Bind the classifier's weights with `jax.tree_util.Partial`, as everywhere.

    Returns:
        inputs -> logits [B, 2]. It raises ValueError where logits_fn returns another shape.
    """
    return Partial(_two_classes, _partial(logits_fn))


def _two_classes(logits_fn: Callable[[PyTree], Array], inputs: PyTree) -> Float[Array, "B 2"]:
    logit = logits_fn(inputs)
    if logit.ndim == 0 or logit.shape[1:] not in ((), (1,)):
        raise ValueError(
            f"binary: logits_fn must return one logit, [B] or [B, 1], got shape {logit.shape}"
        )
    logit = logit.reshape(-1)
    return jnp.stack([jnp.zeros_like(logit), logit], axis=-1)


def require_logits(logits: Any, count: int) -> None:
    """Raise ValueError unless logits are floating point [count, C] with C >= 2.

    logits: what a classifier returned, or its `jax.eval_shape`.
    """
    shape: Any = getattr(logits, "shape", None)
    dtype: Any = getattr(logits, "dtype", None)
    required = f"logits_fn must return logits [{count}, C]"
    if shape in ((count,), (count, 1)):
        raise ValueError(
            f"{required} with C >= 2, got one logit, {shape}: wrap it as attacks.binary(logits_fn)"
        )
    if shape is None or len(shape) != 2 or shape[0] != count:
        raise ValueError(f"{required}, got {logits if shape is None else f'{dtype} {shape}'}")
    if not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(f"{required} in floating point, got {dtype}: they have no gradient")


def evaluated(logits_fn: Callable[[PyTree], Array], inputs: PyTree) -> Any:
    """Return logits_fn(inputs). Raise ValueError where it changes state of its own."""
    try:
        return logits_fn(inputs)
    except Exception as error:
        if type(error).__name__ != "TraceContextError":  # Flax's, which is not imported for it
            raise
        raise ValueError(
            "logits_fn changes state of its own: put a Flax nnx module into evaluation mode, "
            "model.eval(), first"
        ) from error


@cache
def _measure(targeted: bool) -> Callable[..., tuple[Array, Array]]:
    def measure(
        loss: LabelLoss,
        logits_fn: Callable[[PyTree], Array],
        labels: Integer[Array, " B"],
        inputs: PyTree,
    ) -> tuple[Float[Array, " B"], Bool[Array, " B"]]:
        logits = evaluated(logits_fn, inputs)
        require_logits(logits, len(labels))
        value = loss(logits, labels)
        wrong = misclassified(logits, labels) | jnp.isnan(logits).any(-1)
        return (-value, ~wrong) if targeted else (value, wrong)

    return measure


def _partial(function: Callable[..., Array]) -> Partial:
    """Wrap a function as a pytree. A Partial stays as it is."""
    return function if isinstance(function, Partial) else Partial(function)
