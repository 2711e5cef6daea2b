"""Adaptive per-example perturbation and label smoothing: NaTra section 3.4.3 and eq. 13, after CAT (Cheng et al. 2020).

One visit of example i, at no cost beyond the attack itself:
    y~ = soft_labels(..., epsilon_i); attack at trial_radius(epsilon_i) on y~; epsilon_i <- updated_radius(epsilon_i, misclassified);
    y~ again with the new epsilon_i for the update of the classifier.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp


def trial_radius(epsilon: jax.Array, rho: float, epsilon_max: float) -> jax.Array:
    """The radius to attack at: epsilon + rho, at most epsilon_max. [B] -> [B]."""
    return jnp.minimum(epsilon + rho, epsilon_max)


def updated_radius(
    epsilon: jax.Array, misclassified: jax.Array, rho: float, epsilon_max: float
) -> jax.Array:
    """Stays where the attack won, grows by rho where the classifier held, and stays in [0, epsilon_max] (eq. 13). [B] -> [B]."""
    return jnp.clip(jnp.where(misclassified, epsilon, epsilon + rho), 0.0, epsilon_max)


def soft_labels(
    keys: jax.Array, labels: jax.Array, epsilon: jax.Array, smoothing: float, num_classes: int
) -> jax.Array:
    """(1 - a) onehot(y) + a u with a = min(1, smoothing * epsilon) and u ~ Dirichlet(1), [B, C].

    The same keys give the same u, so that a visit's second call differs from its first only through epsilon.
    """
    # a Dirichlet(1) draw is a normalised vector of exponential draws
    draws = jax.vmap(lambda key: jax.random.exponential(key, (num_classes,), epsilon.dtype))(keys)
    uniform_on_simplex = draws / draws.sum(axis=-1, keepdims=True)
    amount = jnp.minimum(1.0, smoothing * epsilon)[:, None]
    return (1 - amount) * jax.nn.one_hot(
        labels, num_classes, dtype=epsilon.dtype
    ) + amount * uniform_on_simplex
