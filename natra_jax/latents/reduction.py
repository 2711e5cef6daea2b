"""Samples to a few coordinates: principal components, or UMAP of them (McInnes et al. 2018, arXiv 1802.03426).

    coordinates = reduce(seen, method="umap", dim=16, neighbors=15, seed=0)     # [K, ...] -> [K, 16]

The embedding itself is umap-learn's. Its neighbours are found here, exactly, by a matrix product, and its graph is computed in NumPy:
umap-learn's own first compile for 15 seconds, and for more than 4,096 samples, whose neighbours it approximates, for a minute.
"""

from __future__ import annotations

import warnings

import numpy as np

METHODS = ("umap", "pca")
_PCA_BEFORE_UMAP = 50  # distances between samples are those between their first principal components, but for noise
_EPOCHS = 200  # umap-learn's for large data; its 500 for less find directions that agree no better than two seeds' do
_SMALLEST_SCALE = 1e-3  # of the mean distance to the neighbours, as in umap-learn


def reduce(seen: np.ndarray, *, method: str, dim: int, neighbors: int, seed: int) -> np.ndarray:
    """Samples [K, ...] to centred coordinates [K, dim], float64, by 'umap' or 'pca'. neighbors: UMAP's n_neighbors, the sample one of them.

    The same seed gives the same bits on the same machine. Raises ValueError for another method.
    """
    if method not in METHODS:
        raise ValueError(f"directions method must be one of {', '.join(METHODS)}, got {method!r}")
    flat = seen.reshape(len(seen), -1)
    if method == "pca":
        return principal(flat, dim)
    coordinates = _umap(principal(flat, _PCA_BEFORE_UMAP).astype(np.float32), dim, neighbors, seed)
    return coordinates.astype(np.float64) - coordinates.mean(0, dtype=np.float64)


def principal(samples: np.ndarray, num: int) -> np.ndarray:
    """The principal coordinates [K, num] of samples [K, F], largest variance first, each axis with its largest entry positive."""
    from sklearn.decomposition import PCA

    # the covariance of wide activations would not fit in memory; randomised SVD is seeded and exact enough for what follows
    solver = "covariance_eigh" if samples.shape[1] <= 1000 else "randomized"
    pca = PCA(min(num, *samples.shape), svd_solver=solver, random_state=0)
    return pca.fit_transform(samples).astype(np.float64)


def _umap(samples: np.ndarray, dim: int, neighbors: int, seed: int) -> np.ndarray:
    """samples [K, F] float32 to coordinates [K, dim], with umap-learn's defaults."""
    from sklearn.neighbors import NearestNeighbors

    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # umap-learn's import warns of what it does not find and we do not use
        from umap.umap_ import find_ab_params, simplicial_set_embedding

        others = min(neighbors, len(samples)) - 1
        distances, indices = (
            NearestNeighbors(n_neighbors=others, algorithm="brute").fit(samples).kneighbors()
        )
        a, b = find_ab_params(spread=1.0, min_dist=0.1)
        coordinates, _ = simplicial_set_embedding(
            samples, fuzzy_graph(distances, indices), dim, initial_alpha=1.0, a=a, b=b, gamma=1.0, negative_sample_rate=5,
            n_epochs=_EPOCHS, init="spectral", random_state=np.random.RandomState(seed), metric="euclidean", metric_kwds={},
            densmap=False, densmap_kwds={}, output_dens=False,
        )  # fmt: skip
    return coordinates


def fuzzy_graph(distances: np.ndarray, indices: np.ndarray):
    """UMAP's graph, a symmetric scipy.sparse matrix [K, K] of weights in 0..1: the fuzzy union of every sample's neighbourhood.

    distances, indices [K, n]: of each sample's n nearest others. A neighbour at distance d has the weight exp(-max(0, d - rho) / scale),
    where rho is the distance to the nearest at another place, and scale is such that a sample's weights sum to log2(n + 1).
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
