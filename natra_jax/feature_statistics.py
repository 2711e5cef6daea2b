"""AdvBN's perturbation of feature statistics.

Shu et al. 2021, "Encoding Robustness to Image Style via Adversarial Feature Perturbations":

    f' = relu((f - mu) s + m mu),
    mu = mean of each channel over a group of examples and space;  m, s [G, C], 1 = unchanged.

The search over m and s (`natra_jax.attacks.feature_stats`) and the Flax layer
(`natra_jax.classifiers.AdvBN`) share it.
"""

from __future__ import annotations

import jax
from jaxtyping import Float

from natra_jax.types import Array


def channel_means(features: Float[Array, "B *space C"], groups: int) -> Float[Array, "G C"]:
    """Average each channel over a group's examples and their space."""
    return features.reshape(groups, -1, features.shape[-1]).mean(1)


def perturb(
    features: Float[Array, "B *space C"],
    means: Float[Array, "G C"],
    m: Float[Array, "G C"],
    s: Float[Array, "G C"],
    relu: bool,
) -> Float[Array, "B *space C"]:
    """Perturb the features: f' = relu((f - mu) s + m mu) (AdvBN).

    Args:
        features: f.
        means: mu, each row for B // G neighbouring examples; so m and s.
        m: multiples of the means; 1 changes nothing.
        s: multiples of the spread; 1 changes nothing.
        relu: whether the features are the output of a ReLU and shall stay so.

    Returns:
        Features of the same shape.
    """
    per_group = features.reshape(means.shape[0], -1, features.shape[-1])
    # (f - mu) s + m mu, so written that m = s = 1 changes no digit
    perturbed = per_group * s[:, None] + ((m - s) * means)[:, None]
    perturbed = perturbed.reshape(features.shape)
    return jax.nn.relu(perturbed) if relu else perturbed
