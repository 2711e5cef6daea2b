"""Reduce samples to a few coordinates: principal components, or UMAP of them.

UMAP: McInnes et al. 2018, arXiv 1802.03426.

    coordinates = reduce(seen, method="umap", dim=16, neighbors=15, seed=0)  # [K, ...] -> [K, 16]

The embedding itself is umap-learn's. Its neighbours are found here, exactly, by a matrix product,
and its graph is computed in NumPy: umap-learn's own first compile for 15 seconds, and for more
than 4,096 samples, whose neighbours it approximates, for a minute.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

METHODS = ("umap", "pca")
# distances between samples are those between their first principal components, but for noise
_PCA_BEFORE_UMAP = 50
# umap-learn's for large data; its 500 for less find directions that agree no better than two seeds'
_EPOCHS = 200
_SMALLEST_SCALE = 1e-3  # of the mean distance to the neighbours, as in umap-learn


def reduce(seen: np.ndarray, *, method: str, dim: int, neighbors: int, seed: int) -> np.ndarray:
    """Return centred coordinates [K, dim], float64, of samples.

    The same seed gives the same bits on the same machine.

    Args:
      seen: samples [K, ...].
      method: 'umap' or 'pca'.
      dim: number of coordinates.
      neighbors: UMAP's n_neighbors, the sample one of them.
      seed: of UMAP.

    Raises:
      ValueError: for another method.
    """
    if method not in METHODS:
        raise ValueError(f"directions method must be one of {', '.join(METHODS)}, got {method!r}")
    flat = seen.reshape(len(seen), -1)
    if method == "pca":
        return principal(flat, dim)
    coordinates = _umap(principal(flat, _PCA_BEFORE_UMAP).astype(np.float32), dim, neighbors, seed)
    return coordinates.astype(np.float64) - coordinates.mean(0, dtype=np.float64)


def principal(samples: np.ndarray, num: int) -> np.ndarray:
    """Return the principal coordinates [K, num] of samples [K, F], largest variance first.

    Each axis has its largest entry positive.
    """
    from sklearn.decomposition import PCA

    # the covariance of wide activations would not fit in memory; randomised SVD is seeded and exact
    # enough for the regression
    solver = "covariance_eigh" if samples.shape[1] <= 1000 else "randomized"
    pca = PCA(min(num, *samples.shape), svd_solver=solver, random_state=0)
    return pca.fit_transform(samples).astype(np.float64)


def _umap(samples: np.ndarray, dim: int, neighbors: int, seed: int) -> np.ndarray:
    """Return UMAP coordinates [K, dim] of samples [K, F] float32, by umap-learn's defaults."""
    from sklearn.neighbors import NearestNeighbors

    with warnings.catch_warnings():
        # umap-learn's import warns of missing packages that are not used here
        warnings.simplefilter("ignore")
        from umap.umap_ import find_ab_params, simplicial_set_embedding

        others = min(neighbors, len(samples)) - 1
        distances, indices = (
            NearestNeighbors(n_neighbors=others, algorithm="brute").fit(samples).kneighbors()
        )
        a, b = find_ab_params(spread=1.0, min_dist=0.1)
        coordinates, _ = simplicial_set_embedding(
            samples,
            fuzzy_graph(distances, indices),
            dim,
            initial_alpha=1.0,
            a=a,
            b=b,
            gamma=1.0,
            negative_sample_rate=5,
            n_epochs=_EPOCHS,
            init="spectral",
            random_state=np.random.RandomState(seed),
            metric="euclidean",
            metric_kwds={},
            densmap=False,
            densmap_kwds={},
            output_dens=False,
        )
    return coordinates


def fuzzy_graph(distances: np.ndarray, indices: np.ndarray) -> csr_matrix:
    """Return UMAP's graph, a symmetric matrix [K, K] of weights in 0..1.

    It is the fuzzy union of every sample's neighbourhood. A neighbour at distance d has the weight
    exp(-max(0, d - rho) / scale), where rho is the distance to the nearest at another place, and
    scale is such that a sample's weights sum to log2(n + 1).

    distances, indices: of each sample's n nearest others, [K, n].
    """
    from scipy import sparse

    count, others = distances.shape
    nearest = np.where(distances > 0, distances, np.inf).min(1)
    rho = np.where(np.isfinite(nearest), nearest, 0.0)
    beyond = np.maximum(distances - rho[:, None], 0)
    low, high, scale = np.zeros(count), np.full(count, np.inf), np.ones(count)
    for _ in range(64):
        too_wide = np.exp(-beyond / scale[:, None]).sum(1) > np.log2(others + 1)
        low, high = np.where(too_wide, low, scale), np.where(too_wide, scale, high)
        scale = np.where(np.isinf(high), 2 * scale, (low + high) / 2)
    mean = distances.sum(1) / (others + 1)
    scale = np.maximum(scale, _SMALLEST_SCALE * np.where(rho > 0, mean, mean.mean()))
    weights = np.exp(-beyond / scale[:, None]).astype(np.float32)
    graph = sparse.csr_matrix(
        (weights.ravel(), indices.ravel(), np.arange(count + 1) * others), (count, count)
    )
    return graph + graph.T - graph.multiply(graph.T)
