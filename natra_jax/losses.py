"""Losses on logits [B, C], per example. A training step averages them; an attack adds them up."""

from __future__ import annotations

from functools import cache

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Integer

from natra_jax.types import Array, Loss


def cross_entropy(
    logits: Float[Array, "B C"], targets: Float[Array, "B C"] | Integer[Array, " B"]
) -> Float[Array, " B"]:
    """Compute -sum_c targets_c log softmax(logits)_c (NaTra eq. 5).

    targets: class indices [B] or distributions [B, C].
    """
    log_probabilities = jax.nn.log_softmax(logits)
    if targets.ndim == logits.ndim:
        return -jnp.sum(targets * log_probabilities, axis=-1)
    return -jnp.take_along_axis(log_probabilities, targets[..., None], axis=-1)[..., 0]


def misclassified(logits: Float[Array, "B C"], labels: Integer[Array, " B"]) -> Bool[Array, " B"]:
    """Tell whether the largest logit is another class than the label."""
    return jnp.argmax(logits, axis=-1) != labels


def margin(logits: Float[Array, "B C"], labels: Integer[Array, " B"]) -> Float[Array, " B"]:
    """Subtract the right logit from the largest wrong one.

    The margin is positive where the example is misclassified, 0 on a tie.
    """
    right = jnp.take_along_axis(logits, labels[..., None], axis=-1)[..., 0]
    is_right = jax.nn.one_hot(labels, logits.shape[-1], dtype=bool)
    wrong = jnp.where(is_right, -jnp.inf, logits).max(axis=-1)
    return wrong - right


def dlr(logits: Float[Array, "B C"], labels: Integer[Array, " B"]) -> Float[Array, " B"]:
    """Compute the difference of logits ratio (Croce & Hein 2020, eq. 6), which is scale free.

    It is margin / (largest logit - third largest).

    Raises:
        ValueError: fewer than three classes, for which it is not defined.
    """
    if logits.shape[-1] < 3:
        raise ValueError(
            f"dlr: the loss needs at least 3 classes, got logits of shape {logits.shape}"
        )
    first, _, third = jnp.moveaxis(jax.lax.top_k(logits, 3)[0], -1, 0)
    return margin(logits, labels) / (first - third + 1e-12)


def soft_cross_entropy(
    logits: Float[Array, "B C"], targets: Float[Array, "B C"], labels: Integer[Array, " B"]
) -> Float[Array, " B"]:
    """Compute the cross entropy to the targets, whatever the labels (most methods' loss)."""
    return cross_entropy(logits, targets)


@cache
def mixed(kappa: float) -> Loss:
    """Build CAT's mixed loss (Cheng et al. 2020, CAT-MIX).

    It is the cross entropy to the soft targets + max(margin to the label, -kappa).
    """

    def loss(
        logits: Float[Array, "B C"],
        targets: Float[Array, "B C"],
        labels: Integer[Array, " B"],
    ) -> Float[Array, " B"]:
        return cross_entropy(logits, targets) + jnp.maximum(margin(logits, labels), -kappa)

    return loss
