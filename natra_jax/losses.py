"""Losses on logits [B, C] against targets, per example. A training step averages them; an attack adds them up."""

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
    wrong = jnp.where(jax.nn.one_hot(labels, logits.shape[-1], dtype=bool), -jnp.inf, logits).max(axis=-1)
    return wrong - right
