"""SeFa (Shen and Zhou 2021, arXiv 2007.06600): directions from a generator's weights in closed form, without sampling.

found = sefa(generator, params, codes, num=8, layers=(4, 6), fingerprint="...")
"""

from __future__ import annotations

import numpy as np

from natra_jax.latents.directions import check_range, described
from natra_jax.types import Directions, Generator, Params

_NEGLIGIBLE = 1e-6  # of the largest: below it an eigenvalue or a spread is rounding


def sefa(
    generator: Generator,
    params: Params,
    codes: np.ndarray,
    *,
    num: int,
    layers: tuple[int, int],
    fingerprint: str,
) -> Directions:
    """The directions n, one vector for all moved layers, along which sum over l of |A_l n|^2 is largest, A_l being what the codes of layer
    l are multiplied with: the eigenvectors of sum over l of A_l^T A_l, largest eigenvalue first (eq. 5).

    Fewer than num where the generator or the population does not vary along as many. codes [K, L, D]: the population that sigma and mean
    are taken from; the vectors do not depend on it. layers (first, stop): the directions move these alone, each layer by n / sqrt(stop -
    first). What a code says of its class is left alone. fingerprint: of the generator. The authors' program also scales each row of A_l to
    unit length; their paper does not, nor is it done here.

    Raises ValueError for a generator without such matrices, and for layers that are no range of the codes'.
    """
    check_range(layers, codes)
    if generator.style is None:
        raise ValueError(
            f"directions method sefa needs the matrices by which codes enter layers: {generator.family} has none"
        )
    first, stop = layers
    matrices = [np.array(generator.style(params, l), np.float64) for l in range(first, stop)]
    for matrix in matrices:
        matrix[:, list(generator.class_entries)] = 0
    eigenvalues, axes = np.linalg.eigh(sum(matrix.T @ matrix for matrix in matrices))
    eigenvalues, axes = eigenvalues[::-1], axes.T[::-1]
    axes = axes[eigenvalues > _NEGLIGIBLE * eigenvalues[0]]
    axes *= np.sign(np.take_along_axis(axes, np.abs(axes).argmax(1)[:, None], 1))
    vectors = np.repeat(axes[:, None] / np.sqrt(stop - first), stop - first, axis=1)
    found = described(vectors, codes, range(first, stop), method="sefa", fingerprint=fingerprint)
    varies = np.flatnonzero(found.sigma > _NEGLIGIBLE * found.sigma.max())[:num]
    return described(
        vectors[varies], codes, range(first, stop), method="sefa", fingerprint=fingerprint
    )
