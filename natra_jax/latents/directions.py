"""Attribute directing (NaTra section 3.4.1): directions of the code space along which images vary.

    seen = activations(generator, params, codes, layers=(4, 6))  # codes [K, L, D] -> [K, F]
    found = discover(
        codes, seen, method="umap", num=8, layers=(4, 6), seed=0, fingerprint="..."
    )
    several = concatenate([found, ...])  # of other layers, or by other methods

UMAP or PCA finds coordinates b_j of each sample in the activation space, or in the code space for
seen = codes. Regression carries them over to the codes:

    NaTra eq. 11: U = argmin over U of sum_j |U b_j - (z_j - mean z)|^2

The columns of U are the directions. UMAP has no linear basis, so for it the regression is the only
way to a direction. `natra_jax.latents.edit` moves codes along directions (NaTra eq. 12).

Layer-wise directions D(v, first-last) (NaTra section 3.4.2) are sought in activations that differ
through those layers alone: the other layers receive the mean code. In the code space itself no
direction stands out where the codes are nearly isotropic, as a small generator's are.

For generators without a mapping network (BigGAN, ProGAN, DCGAN) the paper looks at an early layer,
activations(..., at=1), whatever layers move. With seen = codes and method "pca" the directions are
GANSpace's in w, the principal axes V of w' = w + V x (Härkönen et al. 2020, arXiv 2004.02546,
section 2.2). Its regression for BigGAN, U = argmin over U of sum_j |U x_j - z_j|^2 on the principal
coordinates x_j of activations, is regression "whitened".

Dimensions in annotations: K samples, L layers, D numbers a code, M moved layers, S directions.
"""

# pyright: strict

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Shaped

from natra_jax.latents import reduction
from natra_jax.types import Directions, Generator, Params

METHODS = (*reduction.METHODS, "sefa")  # the last: natra_jax.latents.sefa
REGRESSIONS = ("principal", "whitened", "per_coordinate")
Layers = Sequence[int] | np.ndarray  # indices of layers, rising
_MAX_COSINE = 0.9  # more parallel directions have no coordinates of their own: the later is dropped
NEGLIGIBLE = 1e-6  # of the largest: below it a spread or an eigenvalue is rounding
_MOST_SEEN = 8 * 2**30  # bytes of activations


def activations(
    generator: Generator,
    params: Params,
    codes: Float[np.ndarray, "K L D"],
    layers: tuple[int, int],
    at: int = 0,
    batch_size: int = 500,
) -> Float[np.ndarray, "K F"]:
    """Compute the generator's state after layer `at`, flattened, where only `layers` vary.

    All other layers receive the mean code, so that the activations differ through these alone.

    Args:
      generator: of the codes.
      params: the generator's.
      codes: the population, [K, L, D].
      layers: (first, stop), the layers that move.
      at: the layer behind which the state is taken; 0: behind the last that moves.
      batch_size: codes at a time.

    Returns:
      Activations [K, F].

    Raises:
      ValueError: for layers that are no range of the codes', for an `at` that they do not reach,
        and for more than 8 GiB.
    """
    check_range(layers, codes)
    first, stop = layers
    at = at or stop
    if not first < at <= generator.depth:
        raise ValueError(
            f"at must be a layer behind the first that moves, in {first + 1}..{generator.depth}, "
            f"got {at}"
        )

    def run(params: Params, codes: jax.Array) -> jax.Array:
        leaves = jax.tree.leaves(generator.head(params, codes, at))
        return jnp.concatenate([leaf.reshape(len(codes), -1) for leaf in leaves], axis=1)

    one = jax.ShapeDtypeStruct((1, *codes.shape[1:]), codes.dtype)
    # jax does not annotate what these two return
    shape: Any = jax.eval_shape(run, params, one)  # pyright: ignore[reportUnknownMemberType]
    compiled: Any = jax.jit(run)  # pyright: ignore[reportUnknownMemberType]
    size = 4 * len(codes) * shape.size
    if size > _MOST_SEEN:
        fewer = "see an earlier layer, fewer codes, or the codes themselves"
        raise ValueError(
            f"activations of {len(codes)} codes after layer {at} are {size / 2**30:.0f} GiB: "
            f"{fewer}"
        )
    moved = np.broadcast_to(codes.mean(0), codes.shape).copy()
    moved[:, first:stop] = codes[:, first:stop]
    batches: list[np.ndarray] = [
        np.asarray(compiled(params, moved[i : i + batch_size]))
        for i in range(0, len(codes), batch_size)
    ]
    return np.concatenate(batches)


def hold_class(
    generator: Generator, codes: Float[np.ndarray, "K L D"]
) -> Float[np.ndarray, "K L D"]:
    """Replace the entries of codes that hold the class by the population's mean.

    Directions that are discovered in such codes leave the class alone.
    """
    held = np.array(codes)
    entries = list(generator.class_entries)
    held[..., entries] = held[..., entries].mean(0)
    return held


def within_classes(
    codes: Float[np.ndarray, "K L D"], labels: Shaped[np.ndarray, " K"]
) -> Float[np.ndarray, "K L D"]:
    """Subtract from each code the mean of its class, and add the mean of all.

    Directions that are discovered in such codes vary at one label. Their covariance is the scatter
    within classes of discriminant analysis (Fisher 1936): where images of one class differ in
    light or pose, the data show that these leave the label alone, and classes may differ in
    anything else.

    Raises ValueError where no class has two codes, or labels are not one for one.
    """
    if not 0 < len(codes) == len(labels):
        raise ValueError(f"{len(codes)} codes and {len(labels)} labels: there must be one for one")
    _, place, count = np.unique(labels, return_inverse=True, return_counts=True)
    if count.max() < 2:
        raise ValueError("no class has two images: there is nothing that varies within one")
    sums = np.zeros((len(count), *codes.shape[1:]))
    np.add.at(sums, place, codes)
    means = (sums / count[:, None, None]).astype(codes.dtype)
    return codes - means[place] + codes.mean(0)


def discover(
    codes: Float[np.ndarray, "K L D"],
    seen: Float[np.ndarray, "K ..."],
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
    """Find up to `num` directions (NaTra eq. 11), in the order of the spread they explain.

    UMAP's coordinates correlate and its axes mean nothing by themselves, so the joint fit of eq. 11
    on them as they are is ill-conditioned. `regression` says how eq. 11 is fitted and read instead:

    'principal': on whitened coordinates, then the principal axes of the codes' variation that the
      fit explains. They do not depend on the axes that UMAP happened to choose.
    'whitened': the columns of that fit, one for each principal coordinate (with 'pca': GANSpace's).
    'per_coordinate': the paper's first form, each of UMAP's coordinates by itself.

    Args:
      codes: the population, [K, L, D].
      seen: where coordinates are sought, [K, ...]: activations, or the codes themselves.
      method: 'umap' or 'pca'.
      num: at most so many directions; fewer where the population varies along fewer.
      layers: (first, stop), the layers that the directions move.
      seed: of UMAP.
      fingerprint: a name for the generator that the codes belong to, kept with the directions:
        they are not loaded for another.
      dim: coordinates of the reduction, and
      neighbors: UMAP's n_neighbors; fewer of either as `reduction.reduce` has it.
      regression: one of REGRESSIONS.

    Returns:
      Directions, named by method, number and layers.

    Raises:
      ValueError: for an unknown method or regression, layers that are no range of the codes', a
        population that does not vary, is not finite or too small for the method, and numbers below
        their least.
    """
    check_range(layers, codes)
    if regression not in REGRESSIONS:
        raise ValueError(
            f"directions regression must be one of {', '.join(REGRESSIONS)}, got {regression!r}"
        )
    if num < 1:
        raise ValueError(f"directions num must be at least 1, got {num}")
    if not 0 < len(codes) == len(seen):
        raise ValueError(f"{len(codes)} codes, and {len(seen)} are seen: there must be one for one")
    moved = codes[:, slice(*layers)]
    # UMAP would pull equal samples apart, and see variation in that
    for values, where in ((moved, "in these layers"), (seen, "in what is seen of them")):
        reduction.require_finite(values, f"the codes {where}")
        if not _vary(values):
            raise ValueError(f"the codes do not vary {where}: there are no directions to find")
    coordinates = reduction.reduce(seen, method=method, dim=dim, neighbors=neighbors, seed=seed)
    if regression != "per_coordinate":
        coordinates = reduction.principal(coordinates, dim)
    spread = np.sqrt(np.square(coordinates).mean(0))
    varies = spread > NEGLIGIBLE * spread.max()
    coordinates = coordinates[:, varies] / spread[varies]
    deviations = _deviations(codes, range(*layers))
    # NaTra eq. 11: the coordinates have unit variance, so their normal equations are solved
    fit = coordinates.T @ deviations / len(codes)
    if regression == "principal":
        _, explained, axes = np.linalg.svd(fit, full_matrices=False)
        fit = axes[explained > NEGLIGIBLE * explained[0]]
    fit /= np.linalg.norm(fit, axis=1, keepdims=True)
    vectors = fit[_distinct(fit)[:num]].reshape(-1, layers[1] - layers[0], codes.shape[2])
    return described(vectors, codes, range(*layers), method=method, fingerprint=fingerprint)


def outside(
    codes: Float[np.ndarray, "K L D"], directions: Directions, num: int | None = None
) -> Directions:
    """Find the population's directions in the same layers that are orthogonal to all of
    `directions`.

    They are the principal axes of what `directions` leave out of the codes. Attacking a classifier
    along them says whether its robustness along `directions` carries over.

    Args:
      codes: the population, [K, L, D].
      directions: those that are left out.
      num: at most so many; by default as many as `directions`.

    Returns:
      Directions named outside0, outside1, ...; fewer where fewer are left.

    Raises:
      ValueError: for codes that are not finite, or num below 0.
    """
    if not np.isfinite(codes).all() or (num is not None and num < 0):
        raise ValueError(f"outside: codes must be finite and num at least 0, got {num}")
    layers = np.flatnonzero(directions.mask.any(0))
    deviations = _deviations(codes, layers)
    count = len(directions.vectors)
    basis, _ = np.linalg.qr(directions.vectors[:, layers].reshape(count, -1).T)
    left = deviations - (deviations @ basis) @ basis.T
    _, spread, axes = np.linalg.svd(left, full_matrices=False)
    # against all of the spread: where nothing is left out, what remains is rounding
    varies = spread > NEGLIGIBLE * np.linalg.norm(deviations)
    count = min(count if num is None else num, int(varies.sum()))
    found = described(
        axes[:count].reshape(count, len(layers), codes.shape[2]),
        codes,
        layers,
        method="outside",
        fingerprint=directions.generator_fingerprint,
    )
    return found._replace(names=tuple(f"outside{i}" for i in range(count)))


def described(
    vectors: Float[np.ndarray, "S M D"],
    codes: Float[np.ndarray, "K L D"],
    layers: Layers,
    *,
    method: str,
    fingerprint: str,
) -> Directions:
    """Make Directions of unit vectors, measured on a population.

    Args:
      vectors: [S, M, D], each of length 1 over its M layers.
      codes: the population, [K, L, D], of which sigma and mean are taken.
      layers: the indices of the M layers that the vectors move.
      method: how they were found; in their names.
      fingerprint: of the generator.
    """
    count, index = len(vectors), np.asarray(layers)
    flat = vectors.reshape(count, len(index) * codes.shape[2])
    whole = np.zeros((count, *codes.shape[1:]), np.float32)
    whole[:, index] = vectors
    mask = np.zeros((count, codes.shape[1]), bool)
    mask[:, index] = True
    return Directions(
        vectors=whole,
        sigma=(_deviations(codes, index) @ flat.T).std(0).astype(np.float32),
        mean=codes.mean(0).astype(np.float32),
        mask=mask,
        names=tuple(f"{method}{i}_layers{index[0]}-{index[-1]}" for i in range(count)),
        useful=np.full(count, np.inf, np.float32),
        generator_fingerprint=fingerprint,
        method=method,
    )


def concatenate(several: Sequence[Directions]) -> Directions:
    """Join directions of one population, one after the other.

    Of a pair more parallel than a cosine of 0.9 the later is left out.

    Raises ValueError for none, and for directions of different generators or populations, or of the
    same name.
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
        name: np.concatenate([getattr(directions, name) for directions in several])
        for name in ("vectors", "sigma", "mask", "useful")
    }
    names = [name for directions in several for name in directions.names]
    chosen = _distinct(fields["vectors"].reshape(len(names), -1))
    names = tuple(names[i] for i in chosen)
    if len(set(names)) < len(names):
        raise ValueError(
            f"concatenate: several directions have the same name, of {', '.join(names)}"
        )
    method = ", ".join(dict.fromkeys(directions.method for directions in several))
    return first._replace(
        names=names, method=method, **{name: array[chosen] for name, array in fields.items()}
    )


def ranges(layers: Sequence[Any]) -> tuple[tuple[int, int], ...]:
    """Return (first, stop), or several of these, as several of these.

    Raises ValueError for what is neither.
    """
    nested = bool(layers) and all(isinstance(pair, tuple | list) for pair in layers)
    pairs: Sequence[Any] = layers if nested else (layers,)
    if not all(len(pair) == 2 and all(type(x) is int for x in pair) for pair in pairs):
        raise ValueError(f"layers must be (first, stop) or several of these, got {layers!r}")
    return tuple((first, stop) for first, stop in pairs)


def check_range(layers: tuple[int, int], codes: Shaped[np.ndarray, "K L D"]) -> None:
    """Raise ValueError if layers (first, stop) are no range of the layers of codes [K, L, D]."""
    first, stop = layers
    if not 0 <= first < stop <= codes.shape[1]:
        raise ValueError(f"layers must be a range inside 0..{codes.shape[1]}, got {first}..{stop}")


def _deviations(
    codes: Float[np.ndarray, "K L D"], layers: Layers
) -> Float[np.ndarray, "K {len(layers)}*D"]:
    """Return the codes of these layers less their mean, [K, M * D] in float64."""
    moved = np.take(codes, layers, axis=1).astype(np.float64)
    moved -= moved.mean(0)
    return moved.reshape(len(codes), -1)


def _vary(values: Shaped[np.ndarray, "K ..."]) -> bool:
    """Tell whether values [K, ...] differ among the K by more than rounding."""
    low, high = values.min(0), values.max(0)
    largest = max(-low.min(), high.max())
    return bool((high - low).max() > NEGLIGIBLE * largest)


def _distinct(vectors: Float[np.ndarray, "S F"]) -> list[int]:
    """Return the indices of unit vectors, in order, but of those nearly parallel to an earlier
    one.
    """
    cosines = np.abs(vectors @ vectors.T)
    chosen: list[int] = []
    for i in range(len(vectors)):
        if (cosines[i, chosen] <= _MAX_COSINE).all():
            chosen.append(i)
    return chosen
