"""Attribute directing (NaTra section 3.4.1): directions of the code space along which the generator's output varies.

    seen = activations(generator, params, codes, layers=(4, 6))                    # codes [K, L, D] -> [K, F]
    found = discover(codes, seen, method="umap", num=8, layers=(4, 6), seed=0, fingerprint="...")
    several = concatenate([found, ...])                                            # of other layers, or by other methods

Coordinates b_j of each sample are found by UMAP or PCA in the activation space (or in the code space, for seen = codes), and
carried over to the codes by regression (eq. 11). UMAP has no linear basis, so for it the regression is the only way to a direction.
Layer-wise directions D(v, first-last) (section 3.4.2) are sought in activations that differ through those layers alone: the other
layers receive the mean code. In the code space itself no direction stands out where the codes are nearly isotropic, as a small
generator's are.

For generators without a mapping network (BigGAN, ProGAN, DCGAN) the paper sees an early layer, activations(..., at=1), whatever the
layers that move. With seen = codes and method "pca" the directions are GANSpace's in w (arXiv 2004.02546).
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from natra_jax.latents import reduction
from natra_jax.types import Directions, Generator, Params

METHODS = (*reduction.METHODS, "sefa")  # the last: natra_jax.latents.sefa
REGRESSIONS = ("principal", "whitened", "per_coordinate")
_MAX_COSINE = 0.9  # of a pair more parallel than this one is dropped: the coordinates along them would not be defined
_NEGLIGIBLE = 1e-6  # of the largest spread: below it an axis is rounding, not variation
_MOST_SEEN = 8 * 2**30  # bytes of activations


def activations(
    generator: Generator,
    params: Params,
    codes: np.ndarray,
    layers: tuple[int, int],
    at: int = 0,
    batch_size: int = 500,
) -> np.ndarray:
    """What the moved layers make of the codes: the generator's state after layer `at` (0: after the last of them), flattened, [K, F].

    codes [K, L, D]; layers (first, stop): all others receive the mean code, so that the activations differ through these alone.

    Raises ValueError for layers that are no range of the codes', for an `at` that they do not reach, and for more than 8 GiB.
    """
    check_range(layers, codes)
    first, stop = layers
    at = at or stop
    if not first < at <= generator.depth:
        raise ValueError(
            f"at must be a layer behind the first that moves, in {first + 1}..{generator.depth}, got {at}"
        )

    def run(params, codes):
        return jnp.concatenate(
            [
                leaf.reshape(len(codes), -1)
                for leaf in jax.tree.leaves(generator.head(params, codes, at))
            ],
            axis=1,
        )

    size = (
        4
        * len(codes)
        * jax.eval_shape(run, params, jax.ShapeDtypeStruct((1, *codes.shape[1:]), codes.dtype)).size
    )
    if size > _MOST_SEEN:
        fewer = "see an earlier layer, fewer codes, or the codes themselves"
        raise ValueError(
            f"activations of {len(codes)} codes after layer {at} are {size / 2**30:.0f} GiB: {fewer}"
        )
    moved = np.broadcast_to(codes.mean(0), codes.shape).copy()
    moved[:, first:stop] = codes[:, first:stop]
    run = jax.jit(run)
    return np.concatenate(
        [
            np.asarray(run(params, moved[i : i + batch_size]))
            for i in range(0, len(codes), batch_size)
        ]
    )


def hold_class(generator: Generator, codes: np.ndarray) -> np.ndarray:
    """Codes [K, L, D] whose entries that hold the class are the population's mean: what is discovered in these leaves the class alone."""
    held = np.array(codes)
    entries = list(generator.class_entries)
    held[..., entries] = held[..., entries].mean(0)
    return held


def within_classes(codes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Codes [K, L, D] less the mean of their class, labels [K], plus that of all: what is discovered in these varies at one label.

    The scatter within classes of discriminant analysis (Fisher 1936): where images of one class differ in light or pose, that these
    leave the label alone is seen in the data, and classes may differ in whatever else. Raises ValueError where no class has two codes.
    """
    _, place, count = np.unique(labels, return_inverse=True, return_counts=True)
    if count.max() < 2:
        raise ValueError("no class has two images: there is nothing that varies within one")
    sums = np.zeros((len(count), *codes.shape[1:]))
    np.add.at(sums, place, codes)
    means = (sums / count[:, None, None]).astype(codes.dtype)
    return codes - means[place] + codes.mean(0)


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
    method: 'umap' or 'pca'. layers (first, stop): the directions move these alone. dim: coordinates of the reduction. neighbors: UMAP's
    n_neighbors. seed: of UMAP. fingerprint: of the generator that the codes belong to.
    regression: how eq. 11 is fitted and read. UMAP's coordinates correlate and its axes mean nothing by themselves, so the joint fit
    on them as they are is ill-conditioned. 'principal': on whitened coordinates, then the principal axes of what the fit explains of
    the codes, which do not depend on the axes that UMAP happened to choose. 'whitened': the columns of that fit, one for each
    principal coordinate (with pca this is GANSpace's). 'per_coordinate': the paper's first form, each of UMAP's coordinates by itself.

    Raises ValueError for an unknown method or regression, layers that are no range of the codes', or a population that does not vary.
    """
    check_range(layers, codes)
    if regression not in REGRESSIONS:
        raise ValueError(
            f"directions regression must be one of {', '.join(REGRESSIONS)}, got {regression!r}"
        )
    if (seen == seen[0]).all():
        # UMAP would pull equal samples apart, and see variation in that
        raise ValueError(
            "the codes do not vary in what is seen of them: there are no directions to find"
        )
    coordinates = reduction.reduce(seen, method=method, dim=dim, neighbors=neighbors, seed=seed)
    if regression != "per_coordinate":
        coordinates = reduction.principal(coordinates, dim)
    spread = np.sqrt(np.square(coordinates).mean(0))
    varies = spread > _NEGLIGIBLE * spread.max()
    coordinates = coordinates[:, varies] / spread[varies]
    deviations = _deviations(codes, range(*layers))
    fit = coordinates.T @ deviations / len(codes)  # eq. 11; the coordinates have unit variance
    if regression == "principal":
        _, explained, axes = np.linalg.svd(fit, full_matrices=False)
        fit = axes[explained > _NEGLIGIBLE * explained[0]]
    fit /= np.linalg.norm(fit, axis=1, keepdims=True)
    vectors = fit[_distinct(fit)[:num]].reshape(-1, layers[1] - layers[0], codes.shape[2])
    return described(vectors, codes, range(*layers), method=method, fingerprint=fingerprint)


def outside(codes: np.ndarray, along: Directions, num: int | None = None) -> Directions:
    """Directions of the population in the layers that `along` moves, orthogonal to all of along's: what it leaves out.

    The principal axes of what is left of codes [K, L, D]; num of them, by default as many as along has, at most as many as there are.
    Attacking a classifier along these says whether what it learned from along carries over.
    """
    layers = np.flatnonzero(along.mask.any(0))
    deviations = _deviations(codes, layers)
    basis, _ = np.linalg.qr(along.vectors[:, layers].reshape(len(along.vectors), -1).T)
    left = deviations - (deviations @ basis) @ basis.T
    _, spread, axes = np.linalg.svd(left, full_matrices=False)
    # against all of the spread: where along leaves nothing out, what is left is rounding
    varies = spread > _NEGLIGIBLE * np.linalg.norm(deviations)
    count = min(len(along.sigma) if num is None else num, int(varies.sum()))
    found = described(
        axes[:count].reshape(count, len(layers), -1),
        codes,
        layers,
        method="outside",
        fingerprint=along.generator_fingerprint,
    )
    return found._replace(names=tuple(f"outside{i}" for i in range(count)))


def described(
    vectors: np.ndarray, codes: np.ndarray, layers: Sequence[int], *, method: str, fingerprint: str
) -> Directions:
    """Directions of unit vectors [K, len(layers), D] for the layers of these indices, measured on the population codes [K', L, D]."""
    count, layers = len(vectors), np.asarray(layers)
    whole = np.zeros((count, *codes.shape[1:]), np.float32)
    whole[:, layers] = vectors
    mask = np.zeros((count, codes.shape[1]), bool)
    mask[:, layers] = True
    return Directions(
        vectors=whole,
        sigma=(_deviations(codes, layers) @ vectors.reshape(count, -1).T).std(0).astype(np.float32),
        mean=codes.mean(0).astype(np.float32),
        mask=mask,
        names=tuple(f"{method}{i}_layers{layers[0]}-{layers[-1]}" for i in range(count)),
        useful=np.full(count, np.inf, np.float32),
        generator_fingerprint=fingerprint,
        method=method,
    )


def concatenate(several: Sequence[Directions]) -> Directions:
    """Directions of one population, one after the other. Of a pair more parallel than a cosine of 0.9 the later is left out.

    Raises ValueError for none, and for directions of different generators or populations, or of the same name.
    """
    if not several:
        raise ValueError("concatenate: there are no directions")
    first = several[0]
    for other in several[1:]:
        if other.generator_fingerprint != first.generator_fingerprint or not np.array_equal(
            other.mean, first.mean
        ):
            raise ValueError(
                "concatenate: the directions belong to different generators or populations"
            )
    fields = {
        name: np.concatenate([getattr(along, name) for along in several])
        for name in ("vectors", "sigma", "mask", "useful")
    }
    names = [name for along in several for name in along.names]
    chosen = _distinct(fields["vectors"].reshape(len(names), -1))
    names = tuple(names[i] for i in chosen)
    if len(set(names)) < len(names):
        raise ValueError(
            f"concatenate: several directions have the same name, of {', '.join(names)}"
        )
    method = ", ".join(dict.fromkeys(along.method for along in several))
    return first._replace(
        names=names, method=method, **{name: array[chosen] for name, array in fields.items()}
    )


def ranges(layers: tuple) -> tuple[tuple[int, int], ...]:
    """(first, stop), or several of these, as several of these. Raises ValueError for what is neither."""
    pairs = (
        layers if layers and all(isinstance(pair, tuple | list) for pair in layers) else (layers,)
    )
    if not all(len(pair) == 2 and all(type(x) is int for x in pair) for pair in pairs):
        raise ValueError(f"layers must be (first, stop) or several of these, got {layers!r}")
    return tuple((first, stop) for first, stop in pairs)


def check_range(layers: tuple[int, int], codes: np.ndarray) -> None:
    """Raises ValueError if layers (first, stop) are no range of the layers of codes [K, L, D]."""
    first, stop = layers
    if not 0 <= first < stop <= codes.shape[1]:
        raise ValueError(f"layers must be a range inside 0..{codes.shape[1]}, got {first}..{stop}")


def _deviations(codes: np.ndarray, layers: Sequence[int]) -> np.ndarray:
    """[K, len(layers) * D] float64: what the codes of these layers are away from their mean."""
    moved = np.take(codes, layers, axis=1).astype(np.float64)
    moved -= moved.mean(0)
    return moved.reshape(len(codes), -1)


def _distinct(vectors: np.ndarray) -> list[int]:
    """Indices of unit vectors [K, F] in order, without those nearly parallel to an earlier one."""
    cosines = np.abs(vectors @ vectors.T)
    chosen: list[int] = []
    for i in range(len(vectors)):
        if (cosines[i, chosen] <= _MAX_COSINE).all():
            chosen.append(i)
    return chosen
