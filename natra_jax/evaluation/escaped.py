"""Escaped samples (NaTra section 4.2): images that a classifier gets right and whose natural transformation it gets wrong."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Escaped(NamedTuple):
    """Which examples escaped, in the data's order, and of how many that could have."""

    index: np.ndarray  # [M]
    candidates: int  # right on the image and on its reconstruction


def find(
    labels: np.ndarray,
    on_image: np.ndarray,
    on_reconstruction: np.ndarray,
    on_variation: np.ndarray,
    repaired: np.ndarray | None = None,
) -> Escaped:
    """Examples right on the image and on its reconstruction, wrong on the variation; all arrays are classes [N].

    repaired: a second classifier's answers on the variations; only examples that it gets right are kept.
    """
    candidates = (on_image == labels) & (on_reconstruction == labels)
    chosen = candidates & (on_variation != labels)
    if repaired is not None:
        chosen &= repaired == labels
    return Escaped(np.flatnonzero(chosen), int(candidates.sum()))
