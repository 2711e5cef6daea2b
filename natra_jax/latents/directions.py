"""Attribute directing (NaTra section 3.4.1): directions of the code space along which the generator's output varies.

    seen = activations(generator, params, codes, layers=(4, 6))                    # codes [K, L, D] -> [K, F]
    directions = discover(codes, seen, method="umap", num=8, layers=(4, 6), seed=0, fingerprint="...")
    save(directions, path); load(path, fingerprint="...")

Coordinates b_j of each sample are found by UMAP or PCA in the activation space (or in the code space, for seen = codes), and
carried over to the codes by regression (eq. 11). UMAP has no linear basis, so for it the regression is the only way to a direction.
Layer-wise directions D(v, first-last) (section 3.4.2) are sought in activations that differ through those layers alone: the other
layers receive the mean code. In the code space itself no direction stands out where the codes are nearly isotropic, as a small
generator's are.
"""

from __future__ import annotations

import json
import warnings

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from natra_jax import trees
from natra_jax.types import Directions, Generator, Params, UserError

METHODS = ("umap", "pca")
REGRESSIONS = ("principal", "whitened", "per_coordinate")
_MAX_COSINE = 0.9  # of a pair more parallel than this one is dropped: the coordinates along them would not be defined
_ARRAYS = ("vectors", "sigma", "mean", "mask", "useful")
_NEGLIGIBLE = 1e-6  # of the largest spread: below it an axis is rounding, not variation
_PCA_BEFORE_UMAP = 50  # UMAP's neighbour search is four times faster on the first principal components, and finds the same


def activations(generator: Generator, params: Params, codes: np.ndarray, layers: tuple[int, int], batch_size: int = 500) -> np.ndarray:
    """What the moved layers make of the codes: the generator's state after layer `stop`, flattened, [K, F].

    codes [K, L, D]; layers (first, stop): all others receive the mean code, so that the activations differ through these alone.
    """
    first, stop = layers
    moved = np.broadcast_to(codes.mean(0), codes.shape).copy()
    moved[:, first:stop] = codes[:, first:stop]
    run = jax.jit(
        lambda params, codes: jnp.concatenate(
            [leaf.reshape(len(codes), -1) for leaf in jax.tree.leaves(generator.head(params, codes, stop))], axis=1
        )
    )
    return np.concatenate([np.asarray(run(params, moved[i : i + batch_size])) for i in range(0, len(codes), batch_size)])


def discover(
    codes: np.ndarray,
    seen: np.ndarray,
    *,
    method: str,
    num: int,
    layers: tuple[int, int],
    seed: int,
    fingerprint: str,
    dim: int = 16,
    neighbors: int = 15,
    regression: str = "principal",
) -> Directions:
    """Up to `num` directions in the order of the spread they explain; fewer where the population varies along fewer.

    codes [K, L, D]: the population. seen [K, ...]: where the coordinates are sought, activations or the codes themselves.
    layers (first, stop): the directions move these alone. dim: coordinates of the reduction. neighbors: UMAP's n_neighbors.
    seed: of UMAP. fingerprint: of the generator that the codes belong to.
    regression: how eq. 11 is fitted and read. UMAP's coordinates correlate and its axes mean nothing by themselves, so the joint fit
    on them as they are is ill-conditioned. 'principal': on whitened coordinates, then the principal axes of what the fit explains of
    the codes, which do not depend on the axes that UMAP happened to choose. 'whitened': the columns of that fit, one for each
    principal coordinate (with pca this is GANSpace's). 'per_coordinate': the paper's first form, each of UMAP's coordinates by itself.

    Raises ValueError for an unknown method or regression, layers that are no range of the codes', or a population that does not vary.
    """
    first, stop = layers
    if not 0 <= first < stop <= codes.shape[1]:
        raise ValueError(f"layers must be a range inside 0..{codes.shape[1]}, got {first}..{stop}")
    if regression not in REGRESSIONS:
        raise ValueError(f"directions regression must be one of {', '.join(REGRESSIONS)}, got {regression!r}")
    coordinates = reduce(seen, method=method, dim=dim, neighbors=neighbors, seed=seed)
    if regression != "per_coordinate":
        coordinates = _principal(coordinates, dim)
    spread = np.sqrt(np.square(coordinates).mean(0))
    if not spread.max() > 0:
        raise ValueError("the codes do not vary in what is seen of them: there are no directions to find")
    varies = spread > _NEGLIGIBLE * spread.max()
    coordinates = coordinates[:, varies] / spread[varies]
    deviations = (codes - codes.mean(0)).astype(np.float64)
    fit = np.einsum("kd,klc->dlc", coordinates, deviations[:, first:stop]) / len(codes)  # eq. 11; the coordinates have unit variance
    if regression == "principal":
        _, explained, axes = np.linalg.svd(fit.reshape(len(fit), -1), full_matrices=False)
        fit = axes[explained > _NEGLIGIBLE * explained[0]].reshape(-1, *fit.shape[1:])
    vectors = np.zeros((len(fit), *codes.shape[1:]))
    vectors[:, first:stop] = fit
    vectors /= np.linalg.norm(vectors.reshape(len(vectors), -1), axis=1)[:, None, None]
    chosen = _distinct(vectors)[:num]
    vectors = vectors[chosen]
    mask = np.zeros((len(chosen), codes.shape[1]), bool)
    mask[:, first:stop] = True
    return Directions(
        vectors=vectors.astype(np.float32),
        sigma=np.einsum("klc,dlc->kd", deviations, vectors).std(0).astype(np.float32),
        mean=codes.mean(0).astype(np.float32),
        mask=mask,
        names=tuple(f"{method}{i}_layers{first}-{stop - 1}" for i in range(len(chosen))),
        useful=np.full(len(chosen), np.inf, np.float32),
        generator_fingerprint=fingerprint,
    )


def outside(codes: np.ndarray, along: Directions, num: int | None = None) -> Directions:
    """Directions of the population in the layers that `along` moves, orthogonal to all of along's: what it leaves out.

    The principal axes of what is left of codes [K, L, D]; num of them, by default as many as along has, at most as many as there are.
    Attacking a classifier along these says whether what it learned from along carries over.
    """
    layers = along.mask.any(0)
    deviations = (codes - codes.mean(0))[:, layers].reshape(len(codes), -1).astype(np.float64)
    basis, _ = np.linalg.qr(along.vectors[:, layers].reshape(len(along.vectors), -1).T)
    left = deviations - (deviations @ basis) @ basis.T
    _, spread, axes = np.linalg.svd(left, full_matrices=False)
    # against all of the spread: where along leaves nothing out, what is left is rounding
    varies = spread > _NEGLIGIBLE * np.linalg.norm(deviations)
    count = min(len(along.sigma) if num is None else num, int(varies.sum()))
    vectors = np.zeros((count, *codes.shape[1:]), np.float32)
    vectors[:, layers] = axes[:count].reshape(count, int(layers.sum()), -1)
    sigma = (deviations @ axes[:count].T).std(0)
    return Directions(
        vectors=vectors,
        sigma=sigma.astype(np.float32),
        mean=codes.mean(0).astype(np.float32),
        mask=np.broadcast_to(layers, (count, len(layers))).copy(),
        names=tuple(f"outside{i}" for i in range(count)),
        useful=np.full(count, np.inf, np.float32),
        generator_fingerprint=along.generator_fingerprint,
    )


def reduce(seen: np.ndarray, *, method: str, dim: int, neighbors: int, seed: int) -> np.ndarray:
    """Samples [K, ...] to centred coordinates [K, dim], by 'umap' or 'pca'. Raises ValueError for another method."""
    if method not in METHODS:
        raise ValueError(f"directions method must be one of {', '.join(METHODS)}, got {method!r}")
    flat = seen.reshape(len(seen), -1)
    if method == "pca":
        return _principal(flat, dim)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # umap warns that a seed costs it parallelism, which is what a seed is for
        from umap import UMAP

        reduced = _principal(flat, min(_PCA_BEFORE_UMAP, flat.shape[1])).astype(np.float32)
        coordinates = UMAP(n_components=dim, n_neighbors=neighbors, random_state=seed).fit_transform(reduced)
    return coordinates.astype(np.float64) - coordinates.mean(0, dtype=np.float64)


def _principal(samples: np.ndarray, num: int) -> np.ndarray:
    """The principal coordinates [K, num] of samples [K, F], largest variance first, each axis with its largest entry positive."""
    from sklearn.decomposition import PCA

    # the covariance of wide activations would not fit in memory; randomised SVD is seeded and exact enough for what follows
    solver = "covariance_eigh" if samples.shape[1] <= 1000 else "randomized"
    pca = PCA(min(num, *samples.shape), svd_solver=solver, random_state=0)
    return pca.fit_transform(samples).astype(np.float64)


def _distinct(vectors: np.ndarray) -> list[int]:
    """Indices of vectors in order, without those nearly parallel to an earlier one."""
    flat = vectors.reshape(len(vectors), -1)
    chosen: list[int] = []
    for i in range(len(flat)):
        if all(abs(flat[i] @ flat[j]) <= _MAX_COSINE for j in chosen):
            chosen.append(i)
    return chosen


def save(directions: Directions, directory: epath.Path) -> None:
    """Writes directions.npz (the arrays) and directions.json (what a person reads and may rename) into directory."""
    arrays = {name: getattr(directions, name) for name in _ARRAYS}
    with (directory / "directions.npz").open("wb") as file:
        np.savez(file, **arrays)
    readable = {
        "generator_fingerprint": directions.generator_fingerprint,
        "directions": [
            {
                "name": name,
                "layers": np.flatnonzero(mask).tolist(),
                "sigma": float(sigma),
                "useful": None if np.isinf(useful) else float(useful),
            }
            for name, mask, sigma, useful in zip(directions.names, directions.mask, directions.sigma, directions.useful, strict=True)
        ],
    }
    (directory / "directions.json").write_text(json.dumps(readable, indent=2) + "\n")


def load(directory: epath.Path, fingerprint: str) -> Directions:
    """Reads what `save` wrote. Raises UserError if it is missing, damaged, or made for another generator than fingerprint."""
    try:
        readable = json.loads((directory / "directions.json").read_text())
        arrays = trees.read(directory / "directions.npz")
        loaded = {name: arrays[name] for name in _ARRAYS}
        made_for = readable["generator_fingerprint"]
        names = tuple(str(d["name"]) for d in readable["directions"])
        if len(names) != len(loaded["vectors"]):
            raise ValueError(f"{len(names)} names for {len(loaded['vectors'])} vectors")
    except (OSError, ValueError, KeyError, TypeError, UserError) as error:
        raise UserError(f"{directory}: directions cannot be read ({error}): run the directions stage again") from error
    if made_for != fingerprint:
        raise UserError(
            f"{directory}: these directions belong to another generator ({made_for}, not {fingerprint}): run the directions stage again"
        )
    return Directions(names=names, generator_fingerprint=made_for, **loaded)
