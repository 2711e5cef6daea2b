"""AdvBN's perturbation of feature statistics (Shu et al. 2021, "Encoding Robustness to Image Style via Adversarial Feature Perturbations").

    f' = relu((f - mu) s + m mu),  mu = mean of each channel over a group of examples and space;  m, s [G, C], 1 = unchanged.

The search over m and s (`natra_jax.attacks.feature_stats`) and the Flax layer (`natra_jax.classifiers.AdvBN`) share it.
"""

from __future__ import annotations

import jax


def channel_means(features: jax.Array, groups: int) -> jax.Array:
    """Mean of each channel over a group's examples and their space: features [B, ..., C] -> [groups, C]."""
    return features.reshape(groups, -1, features.shape[-1]).mean(1)


def perturb(
    features: jax.Array, means: jax.Array, m: jax.Array, s: jax.Array, relu: bool
) -> jax.Array:
    """The formula above. features [B, ..., C]; means, m, s [G, C], each for B // G neighbouring examples.

    relu: whether the features are the output of a ReLU and shall stay so.
    """
    per_group = features.reshape(means.shape[0], -1, features.shape[-1])
    # (f - mu) s + m mu, so written that m = s = 1 changes no digit
    perturbed = per_group * s[:, None] + ((m - s) * means)[:, None]
    perturbed = perturbed.reshape(features.shape)
    return jax.nn.relu(perturbed) if relu else perturbed
