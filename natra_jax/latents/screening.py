"""Screening of directions: what moving along each does to labels, and which of them may be trained on.

    measured = screen(generator, params, along, codes, labels, judge, index=np.arange(500), multiples=(1.0, 2.0, 4.0), seed=0)
    chosen = proposal(measured)                     # the directions that keep a judge's answers and do not predict the label
    space = attacks.directions(generator, params, ...)   # of the chosen ones
    box_kept(space, codes, judge, index=np.arange(500), epsilon=2.0, seed=0).mean()

A judge answers what class an image is of. It need not be right: what counts is whether its answer changes when an image is moved. A
judge that was trained on the same labels cannot see what these labels confound. Where colour is tied to the label it reads the colour,
keeps its answer when the shape changes and loses it when the colour does. So a direction along which the examples' labels can be
predicted is called confounded, whatever the judge says: it carries the label, or a shortcut to it, and only someone who knows the data
can say which.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from natra_jax import attacks
from natra_jax.attacks import Space
from natra_jax.latents.label_predictability import predictability
from natra_jax.types import Directions, Generator, Params

Judge = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(images [B, H, W, C] in [-1, 1], not clipped; index [B] of the examples they were made of) -> answers [B]"""

KEPT, LOSES_LABEL, CONFOUNDED, UNJUDGED = "kept", "loses_label", "confounded", "unjudged"
NO_JUDGE, CROSS_FITTED = (
    "none",
    "cross_fitted",
)  # the judges that an experiment has without bringing one
_PREDICTED = 2000  # examples, at most, behind `predicts`


class Screening(NamedTuple):
    """What `screen` found of K directions."""

    multiples: np.ndarray  # [M], of sigma
    kept: (
        np.ndarray
    )  # [K, M], share of the judge's answers that stay, over both sides; nan without a judge
    moved: (
        np.ndarray
    )  # [K, M], root mean square change of the pixels, over both sides; images in [-1, 1]
    predicts: np.ndarray  # [K], how well the coordinate predicts the label: 0 chance, 1 without error; nan without labels
    confounded: np.ndarray  # [K] bool, it predicts the label too well
    useful: np.ndarray  # [K], the largest multiple up to which answers are kept at all of them, 0 for none; inf without a judge
    verdicts: tuple[
        str, ...
    ]  # KEPT, LOSES_LABEL (useful is 0), CONFOUNDED, or UNJUDGED (without a judge)


def screen(
    generator: Generator,
    params: Params,
    along: Directions,
    codes: np.ndarray,
    labels: np.ndarray | None,
    judge: Judge | None,
    *,
    index: np.ndarray,
    multiples: Sequence[float],
    keep: float = 0.95,
    confounded: float = 0.1,
    truncation: float | None = 2.0,
    seed: int,
    batch_size: int = 500,
) -> Screening:
    """Moves examples along each direction by itself, inside the Space that training would have with it alone.

    codes [N, L, D], labels [N]: of all examples. index [n]: those that are moved; labels are predicted for all (for 2000 drawn ones
    where there are more). multiples: of sigma, rising, to both sides. The box around the population (truncation, in sigmas) cuts moves
    short as in training; useful ranges that `along` may already have do not. keep: the share of answers that a useful range keeps.
    confounded: what `predicts` must not exceed.

    What is found of one direction does not depend on which others there are. Raises ValueError for multiples that do not rise from
    above 0.
    """
    multiples = np.asarray(multiples, np.float64)
    if not len(multiples) or not (np.diff(multiples, prepend=0) > 0).all():
        raise ValueError(f"screen: multiples must rise from above 0, got {multiples.tolist()}")
    kept, moved = np.empty((2, len(along.names), len(multiples)))
    for k in range(len(along.names)):
        alone = _take(along, k)._replace(useful=np.full(1, np.inf))
        space = attacks.directions(generator, params, alone, truncation=truncation)
        kept[k], moved[k] = _measure(space, codes, judge, index, multiples, batch_size)
    predicts = (
        np.full(len(along.names), np.nan)
        if labels is None
        else _predicts(along, codes, np.asarray(labels), seed)
    )
    suspect = predicts > confounded
    useful = np.where((kept >= keep).cumprod(axis=1), multiples, 0.0).max(axis=1)
    if judge is None:
        useful, verdicts = np.full(len(useful), np.inf), (UNJUDGED,) * len(useful)
    else:
        verdicts = tuple(
            CONFOUNDED if is_suspect else KEPT if reach > 0 else LOSES_LABEL
            for is_suspect, reach in zip(suspect, useful, strict=True)
        )
    return Screening(multiples, kept, moved, predicts, suspect, useful, verdicts)


def proposal(measured: Screening) -> np.ndarray:
    """The numbers of the directions to train on: those that keep the label and are not confounded; without a judge, all."""
    return np.flatnonzero([verdict in (KEPT, UNJUDGED) for verdict in measured.verdicts])


def limits(measured: Screening) -> np.ndarray:
    """[K], the useful ranges that training keeps to: inf for directions that the judge does not speak for.

    Whoever trains on one of these states that it keeps the label, against a judge that was not asked, cannot know, or disagrees.
    """
    return np.where([verdict == KEPT for verdict in measured.verdicts], measured.useful, np.inf)


def box_kept(
    space: Space,
    codes: np.ndarray,
    judge: Judge,
    *,
    index: np.ndarray,
    epsilon: float,
    seed: int,
    batch_size: int = 500,
) -> np.ndarray:
    """Whether the judge keeps its answer under a random move along all of a Space's directions at once: [n] bool.

    The check of a chosen set: directions that keep the label one by one need not keep it together. Arguments as of `draws`.
    """
    drawn = draws(space, codes, index=index, epsilon=epsilon, seed=seed, batch_size=batch_size)
    return np.concatenate([judge(moved, at) == judge(still, at) for at, still, moved in drawn])


def draws(
    space: Space,
    codes: np.ndarray,
    *,
    index: np.ndarray,
    epsilon: float,
    seed: int,
    batch_size: int = 500,
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Batch by batch (index [B], images as decoded [B, H, W, C], the same moved at random within radius epsilon of the Space).

    A move depends on seed and the example's index alone. index [n]: which of codes [N, L, D].
    """
    key = jax.random.key(seed)
    for at in _batches(index, batch_size):
        yield at, *map(np.asarray, _drawn(space, key, at, codes[at], np.float32(epsilon)))


def _measure(space, codes, judge, index, multiples, batch_size) -> tuple[np.ndarray, np.ndarray]:
    """kept [M] and moved [M] along the Space's one direction."""
    stays, change = np.zeros(len(multiples)), np.zeros(len(multiples))
    for at in _batches(index, batch_size):
        center, still = _still(space, codes[at])
        before = None if judge is None else judge(np.asarray(still), at)
        for m, multiple in enumerate(multiples):
            for r in (multiple, -multiple):
                images, squares = _moved(space, center, still, np.float32(r))
                change[m] += squares
                if judge is not None:
                    stays[m] += (judge(np.asarray(images), at) == before).sum()
    return stays / (2 * len(index)) if judge is not None else np.full(
        len(multiples), np.nan
    ), np.sqrt(change / (2 * len(index)))


def _predicts(along: Directions, codes: np.ndarray, labels: np.ndarray, seed: int) -> np.ndarray:
    rows = np.sort(np.random.default_rng(seed).permutation(len(labels))[:_PREDICTED])
    # vectors have length 1, so this is each direction's coordinate but for its unit
    coordinates = np.einsum("nld,kld->kn", codes[rows] - along.mean, along.vectors)
    return np.array([predictability(c, labels[rows], seed=seed) for c in coordinates])


def _take(along: Directions, k: int) -> Directions:
    """The k-th direction alone."""
    rows = {
        name: getattr(along, name)[k : k + 1]
        for name in ("vectors", "sigma", "mask", "names", "useful")
    }
    return along._replace(**rows)


def _batches(index: np.ndarray, batch_size: int) -> list[np.ndarray]:
    return [index[i : i + batch_size] for i in range(0, len(index), batch_size)]


@jax.jit
def _still(space, codes):
    keys = jax.random.split(
        jax.random.key(0), len(codes)
    )  # the Space of directions draws nothing where it anchors
    center = space.anchor(keys, codes)
    return center, space.decode(center, jnp.zeros_like(center.coordinates))


@jax.jit
def _moved(space, center, still, r):
    """Images moved by r, and the sum over them of their mean squared change."""
    delta = space.project(
        jnp.full_like(center.coordinates, r), center, jnp.full(len(still), jnp.abs(r))
    )
    images = space.decode(center, delta)
    return images, jnp.square(images - still).mean((1, 2, 3)).sum()


@jax.jit
def _drawn(space, key, index, codes, epsilon):
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, index)
    center = space.anchor(keys, codes)
    delta = space.init(keys, center, jnp.full(len(codes), epsilon))
    return space.decode(center, jnp.zeros_like(delta)), space.decode(center, delta)
