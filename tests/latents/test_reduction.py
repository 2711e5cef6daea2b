"""The graph that UMAP embeds, against umap-learn's own, and coordinates of samples."""

import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn.neighbors import NearestNeighbors

from natra_jax.latents.reduction import fuzzy_graph, principal, reduce, umap_sizes


def neighbours(samples, others):
    return NearestNeighbors(n_neighbors=others, algorithm="brute").fit(samples).kneighbors()


def umap_learns(distances, indices):
    """umap-learn's graph, by its own functions as they stand before they are compiled."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from umap.umap_ import compute_membership_strengths, smooth_knn_dist
    count, others = distances.shape
    # it counts each sample as the first of its own neighbours
    distances = np.concatenate([np.zeros((count, 1)), distances], axis=1).astype(np.float32)
    indices = np.concatenate([np.arange(count)[:, None], indices], axis=1)
    scale, nearest = smooth_knn_dist.py_func(distances, float(others + 1))
    rows, columns, weights, _ = compute_membership_strengths.py_func(
        indices, distances, scale, nearest
    )
    directed = sparse.coo_matrix((weights, (rows, columns)), (count, count)).tocsr()
    return (directed + directed.T - directed.multiply(directed.T)).toarray()


@pytest.mark.parametrize("equal", [0, 5, 12])
def test_the_graph_is_umap_learns(equal):
    samples = np.random.default_rng(0).normal(size=(40, 6)) * [5, 3, 2, 1, 1, 0.1]
    samples[:equal] = samples[0]  # fewer, and more, equal samples than neighbours
    distances, indices = neighbours(samples, 9)
    distances[indices < 0] = 0
    graph = fuzzy_graph(distances, indices)
    np.testing.assert_allclose(graph.toarray(), umap_learns(distances, indices), atol=2e-5)
    assert abs(graph - graph.T).max() == 0


def test_principal_coordinates_are_those_of_the_singular_value_decomposition():
    rng = np.random.default_rng(1)
    samples = rng.normal(size=(50, 6)) * [8, 4, 2, 1, 0.3, 0.1] @ rng.normal(size=(6, 1200))
    for width in (30, 1200):  # by the covariance, and without it
        centred = samples[:, :width] - samples[:, :width].mean(0)
        left, spread, _ = np.linalg.svd(centred, full_matrices=False)
        found = principal(samples[:, :width], 4)
        np.testing.assert_allclose(
            np.abs(found), np.abs(left * spread)[:, :4], rtol=1e-3, atol=1e-3
        )


@pytest.mark.slow
def test_clusters_stay_apart_in_umaps_coordinates():
    rng = np.random.default_rng(2)
    label = np.repeat([0, 1, 2], 40)
    samples = (rng.normal(size=(3, 20))[label] * 20 + rng.normal(size=(120, 20))).reshape(120, 4, 5)
    found = reduce(samples, method="umap", dim=2, neighbors=10, seed=0)
    assert found.shape == (120, 2)
    np.testing.assert_allclose(found.mean(0), 0, atol=1e-6)
    nearest = neighbours(found, 5)[1]
    assert (label[nearest] == label[:, None]).mean() == 1
    # fewer samples than neighbours were asked for
    assert np.isfinite(reduce(samples[:8], method="umap", dim=2, neighbors=15, seed=0)).all()


@pytest.mark.parametrize("count", [3, 4, 17])
def test_umap_of_few_samples_has_as_many_coordinates_as_they_allow(count):
    samples = np.random.default_rng(3).normal(size=(count, 6))
    found = reduce(samples, method="umap", dim=16, neighbors=15, seed=0)
    assert found.shape == (count, min(16, count - 2)) and np.isfinite(found).all()
    assert umap_sizes(count, 16, 15) == (min(16, count - 2), min(15, count))


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"dim": 0}, "dim must be at least 1"),
        ({"neighbors": 1}, "neighbors at least 2"),
        ({"samples": np.eye(2)}, "umap needs 3 codes at least, got 2"),
        ({"samples": np.eye(1), "method": "pca"}, "pca needs 2 codes at least, got 1"),
        ({"samples": np.diag([1.0, np.nan, 1.0])}, "not finite"),
        ({"samples": np.diag([1.0, -np.inf, 1.0]), "method": "pca"}, "not finite"),
    ],
)
def test_what_cannot_be_reduced_is_refused(changed, complaint):
    given = {"samples": np.eye(5), "method": "umap", "dim": 2, "neighbors": 3} | changed
    with pytest.raises(ValueError, match=complaint):
        reduce(given.pop("samples"), seed=0, **given)
