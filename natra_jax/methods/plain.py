"""Original: training on the clean images alone, the baseline that every other method is measured against."""

from __future__ import annotations

from natra_jax.types import Method

CLASSIFIER_STEP = 3  # network passes of one forward and backward pass


def original() -> Method:
    """No variation (NaTra section 4.1, "Original")."""
    return Method(vary=None, passes=CLASSIFIER_STEP)
