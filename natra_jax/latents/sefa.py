"""SeFa (Shen and Zhou 2021, arXiv 2007.06600): directions from weights in closed form, not by
sampling.

    SeFa eq. 4 and 5: the unit vectors n of largest sum over l of |A_l n|^2, the eigenvectors of
    sum over l of A_l^T A_l, where A_l is the matrix by which the codes enter layer l

found = sefa(generator, params, codes, num=8, layers=(4, 6), fingerprint="...")
"""

from __future__ import annotations

from typing import Any

import numpy as np

from natra_jax.latents.directions import NEGLIGIBLE, check_range, described
from natra_jax.types import Directions, Generator, Params


def sefa(
    generator: Generator,
    params: Params,
    codes: np.ndarray,
    *,
    num: int,
    layers: tuple[int, int],
    fingerprint: str,
) -> Directions:
    """Find directions by SeFa, one vector n for all moved layers, largest eigenvalue first.

    Each layer moves by n / sqrt(stop - first). The class part of a code is left alone. The authors'
    program also scales each row of A_l to unit length; their paper does not, nor is it done here.

    Args:
      generator: with `style` matrices.
      params: its parameters.
      codes: the population [K, L, D] of which sigma and mean are taken; the vectors do not depend
        on it.
      num: at most so many; fewer where the generator or the population does not vary along as many.
      layers: (first, stop), the layers that the directions move.
      fingerprint: a name for the generator and its weights, kept with the directions: they are not
        loaded for another.

    Raises:
      ValueError: for a generator without such matrices, for layers that are no range of the
        codes', for fewer than two codes, for codes or matrices that do not vary there or are not
        finite, and for num below 1.
    """
    check_range(layers, codes)
    if num < 1:
        raise ValueError(f"directions num must be at least 1, got {num}")
    if len(codes) < 2 or not np.isfinite(codes).all():
        raise ValueError(f"sefa: {len(codes)} codes: there must be two at least, and finite ones")
    if generator.style is None:
        raise ValueError(
            "directions method sefa needs the matrices by which codes enter layers: "
            f"{generator.family} has none"
        )
    first, stop = layers
    matrices = [np.array(generator.style(params, l), np.float64) for l in range(first, stop)]
    for matrix in matrices:
        matrix[:, list(generator.class_entries)] = 0
    gram: Any = sum(matrix.T @ matrix for matrix in matrices)  # SeFa eq. 5
    if not np.isfinite(gram).all() or not gram.any():
        raise ValueError("sefa: the generator's matrices of these layers are 0, or not finite")
    eigenvalues, axes = np.linalg.eigh(gram)
    eigenvalues, axes = eigenvalues[::-1], axes.T[::-1]
    axes = axes[eigenvalues > NEGLIGIBLE * eigenvalues[0]]
    axes *= np.sign(np.take_along_axis(axes, np.abs(axes).argmax(1)[:, None], 1))
    vectors = np.repeat(axes[:, None] / np.sqrt(stop - first), stop - first, axis=1)
    found = described(vectors, codes, range(first, stop), method="sefa", fingerprint=fingerprint)
    if not found.sigma.any():
        raise ValueError("the codes do not vary in these layers: there are no directions to find")
    varies = np.flatnonzero(found.sigma > NEGLIGIBLE * found.sigma.max())[:num]
    return described(
        vectors[varies], codes, range(first, stop), method="sefa", fingerprint=fingerprint
    )
