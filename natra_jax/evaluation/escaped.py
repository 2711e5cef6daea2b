"""Escaped samples (NaTra section 4.2).

A classifier gets the image right, and its natural transformation wrong.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Escaped(NamedTuple):
    """The examples that escaped, in the data's order, and how many could have."""

    index: np.ndarray  # [M]
    candidates: int  # right on the image and on its reconstruction


def find(
    labels: np.ndarray,
    on_image: np.ndarray,
    on_reconstruction: np.ndarray,
    on_variation: np.ndarray,
    repaired: np.ndarray | None = None,
) -> Escaped:
    """Find the examples right on the image and on its reconstruction, wrong on the variation.

    Args:
        labels: true classes, [N].
        on_image: predicted classes, [N].
        on_reconstruction: predicted classes, [N].
        on_variation: predicted classes, [N].
        repaired: a second classifier's predictions on the variations, [N]; only examples that it
            gets right are kept.

    Returns:
        The examples.
    """
    candidates = (on_image == labels) & (on_reconstruction == labels)
    chosen = candidates & (on_variation != labels)
    if repaired is not None:
        chosen &= repaired == labels
    return Escaped(np.flatnonzero(chosen), int(candidates.sum()))
