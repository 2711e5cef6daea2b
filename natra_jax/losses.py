"""Losses on logits [B, C], per example. A training step averages them; an attack adds them up."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def cross_entropy(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """-sum_c targets_c log softmax(logits)_c (NaTra eq. 5), [B]. targets: class indices [B] or distributions [B, C]."""
    log_probabilities = jax.nn.log_softmax(logits)
    if targets.ndim == logits.ndim:
        return -jnp.sum(targets * log_probabilities, axis=-1)
    return -jnp.take_along_axis(log_probabilities, targets[..., None], axis=-1)[..., 0]


def misclassified(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Whether the largest logit is another class than labels [B]; bool [B]."""
    return jnp.argmax(logits, axis=-1) != labels


def margin(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Largest wrong logit minus the right one, [B]: positive where the example is misclassified, 0 on a tie."""
    right = jnp.take_along_axis(logits, labels[..., None], axis=-1)[..., 0]
    wrong = jnp.where(jax.nn.one_hot(labels, logits.shape[-1], dtype=bool), -jnp.inf, logits).max(
        axis=-1
    )
    return wrong - right


def dlr(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Difference of logits ratio, margin / (largest logit - third largest), [B] (Croce & Hein 2020, eq. 6): scale free.

    Raises ValueError for fewer than three classes, where it is not defined.
    """
    if logits.shape[-1] < 3:
        raise ValueError(
            f"dlr: the loss needs at least 3 classes, got logits of shape {logits.shape}"
        )
    first, _, third = jnp.moveaxis(jax.lax.top_k(logits, 3)[0], -1, 0)
    return margin(logits, labels) / (first - third + 1e-12)


def soft_cross_entropy(logits: jax.Array, targets: jax.Array, labels: jax.Array) -> jax.Array:
    """Cross entropy to the targets, [B], whatever the labels: the loss of a method that has nothing else to say."""
    return cross_entropy(logits, targets)


def mixed(kappa: float, logits: jax.Array, targets: jax.Array, labels: jax.Array) -> jax.Array:
    """CAT's mixed loss (Cheng et al. 2020, CAT-MIX), [B]: cross entropy to the soft targets + max(margin to the label, -kappa)."""
    return cross_entropy(logits, targets) + jnp.maximum(margin(logits, labels), -kappa)
