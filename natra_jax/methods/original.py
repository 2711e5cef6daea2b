"""Original: training on the clean images alone, the baseline that every other method is measured against."""

from __future__ import annotations

from natra_jax.losses import soft_cross_entropy
from natra_jax.methods.spec import MethodSpec
from natra_jax.types import Method

CLASSIFIER_STEP = 3  # network passes of one forward and backward pass


def original() -> Method:
    """No variation (NaTra section 4.1, "Original")."""
    return Method(vary=None, passes=CLASSIFIER_STEP, loss=soft_cross_entropy)


ORIGINAL = MethodSpec(lambda config, num_classes, latent: original())
