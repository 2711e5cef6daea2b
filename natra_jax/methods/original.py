"""Original: training on the clean images alone, the baseline of every other method."""

from __future__ import annotations

from ml_collections import ConfigDict

from natra_jax.losses import soft_cross_entropy
from natra_jax.methods.spec import Latent, MethodSpec
from natra_jax.types import Method

CLASSIFIER_STEP = 3  # network passes of one forward and backward pass


def original() -> Method:
    """Build Original, without variations (NaTra section 4.1, "Original")."""
    return Method(vary=None, passes=CLASSIFIER_STEP, loss=soft_cross_entropy)


def _original(config: ConfigDict, num_classes: int, latent: Latent | None) -> Method:
    return original()


ORIGINAL = MethodSpec(_original)
