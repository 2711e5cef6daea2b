"""Adaptive Perturbation Tuning: a radius per example, and label smoothing that follows it.

NaTra section 3.4.3 and eq. 13, after CAT (Cheng et al. 2020). One visit of example i, at no cost
beyond the attack itself:

    y~ = soft_labels(..., epsilon_i)
    attack at trial_radius(epsilon_i) on y~
    epsilon_i <- updated_radius(epsilon_i, misclassified)
    y~ again with the new epsilon_i, for the update of the classifier
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Integer

from natra_jax.types import Array, Keys

SMOOTHED_TOWARDS = ("dirichlet", "uniform")


def trial_radius(
    epsilon: Float[Array, " B"],
    rho: float | Float[Array, ""],
    epsilon_max: float | Float[Array, ""],
) -> Float[Array, " B"]:
    """Return the radius to attack at: epsilon + rho, at most epsilon_max."""
    return jnp.minimum(epsilon + rho, epsilon_max)


def updated_radius(
    epsilon: Float[Array, " B"],
    misclassified: Bool[Array, " B"],
    rho: float | Float[Array, ""],
    epsilon_max: float | Float[Array, ""],
) -> Float[Array, " B"]:
    """Update the adaptive radius (NaTra eq. 13).

    Args:
        epsilon: the radii so far, [B].
        misclassified: whether the attack at the trial radius won, [B].
        rho: the growth where the classifier held; the radius stays where the attack won.
        epsilon_max: the largest radius.

    Returns:
        The new radii [B], in [0, epsilon_max].
    """
    return jnp.clip(jnp.where(misclassified, epsilon, epsilon + rho), 0.0, epsilon_max)


def soft_labels(
    keys: Keys,
    labels: Integer[Array, " B"],
    epsilon: Float[Array, " B"],
    smoothing: float | Float[Array, ""],
    num_classes: int,
    towards: str = "dirichlet",
) -> Float[Array, "B C"]:
    """Smooth the labels in proportion to the radius (NaTra section 3.4.3, after CAT).

    y~ = (1 - a) onehot(y) + a u, with a = min(1, smoothing * epsilon) and u ~ Dirichlet(1).

    Args:
        keys: one for each example. The same keys give the same u, so that a visit's second call
            differs from its first only through epsilon.
        labels: classes, [B].
        epsilon: radii, [B].
        smoothing: c, the share of u for each unit of epsilon.
        num_classes: C.
        towards: u, 'dirichlet' for a draw at each visit, 'uniform' for 1 / C.

    Returns:
        Distributions [B, C].
    """
    amount = jnp.minimum(1.0, smoothing * epsilon)[:, None]
    hard = jax.nn.one_hot(labels, num_classes, dtype=epsilon.dtype)
    if towards == "uniform":
        return (1 - amount) * hard + amount / num_classes
    # a Dirichlet(1) draw is a normalised vector of exponential draws
    draws = jax.vmap(lambda key: jax.random.exponential(key, (num_classes,), epsilon.dtype))(keys)
    uniform_on_simplex = draws / draws.sum(axis=-1, keepdims=True)
    return (1 - amount) * hard + amount * uniform_on_simplex
