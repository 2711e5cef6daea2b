"""Spaces to attack in: pixels, a generator's codes, the statistics of a classifier's features."""

from natra_jax.attacks.spaces.features import feature_stats
from natra_jax.attacks.spaces.latent import directions
from natra_jax.attacks.spaces.mixing import mixing
from natra_jax.attacks.spaces.pixels import l2, linf
from natra_jax.attacks.spaces.residual import residual

__all__ = ["directions", "feature_stats", "l2", "linf", "mixing", "residual"]
