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
_FEWEST = 3  # samples: umap-learn's spectral layout has two coordinates fewer than samples at most
_SMALLEST_SCALE = 1e-3  # of the mean distance to the neighbours, as in umap-learn


def reduce(seen: np.ndarray, *, method: str, dim: int, neighbors: int, seed: int) -> np.ndarray:
    """Return centred coordinates [K, dim], float64, of samples.

    The same seed gives the same bits on the same machine.

    Args:
      seen: samples [K, ...].
      method: 'umap' or 'pca'.
      dim: number of coordinates; fewer where there are fewer principal components, or as
        `umap_sizes` has it.
      neighbors: UMAP's n_neighbors, the sample one of them; likewise.
      seed: of UMAP.

    Raises:
      ValueError: for another method, no coordinate, fewer than two neighbours, fewer samples than
        the method needs, and samples that are not finite.
    """
    if method not in METHODS:
        raise ValueError(f"directions method must be one of {', '.join(METHODS)}, got {method!r}")
    if dim < 1 or neighbors < 2:
        raise ValueError(
            f"directions dim must be at least 1 and neighbors at least 2, got {dim} and {neighbors}"
        )
    if len(seen) < fewest(method):
        raise ValueError(
            f"directions method {method} needs {fewest(method)} codes at least, got {len(seen)}"
        )
    require_finite(seen, "what is seen of the codes")
    flat = seen.reshape(len(seen), -1)
    if method == "pca":
        return principal(flat, dim)
    dim, neighbors = umap_sizes(len(flat), dim, neighbors)
    coordinates = _umap(principal(flat, _PCA_BEFORE_UMAP).astype(np.float32), dim, neighbors, seed)
    return coordinates.astype(np.float64) - coordinates.mean(0, dtype=np.float64)


def require_finite(values: np.ndarray, what: str) -> None:
    """Raise ValueError unless all values, of which there is one at least, are finite."""
    if not np.isfinite([values.min(), values.max()]).all():
        raise ValueError(f"{what}: there are values that are not finite")


def fewest(method: str) -> int:
    """Return how many samples the method needs."""
    return _FEWEST if method == "umap" else 2


def umap_sizes(count: int, dim: int, neighbors: int) -> tuple[int, int]:
    """Return dim and neighbors, or the most of each that UMAP of `count` samples can have."""
    return min(dim, count - 2), min(neighbors, count)


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

        nearest = NearestNeighbors(n_neighbors=neighbors - 1, algorithm="brute")
        distances, indices = nearest.fit(samples).kneighbors()
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
