"""Screening of directions: the effect of moving along each on labels, and which may be trained on.

    measured = screen(
        generator,
        params,
        directions,
        codes,
        labels,
        judge,
        index=np.arange(500),
        multiples=(1.0, 2.0, 4.0),
        seed=0,
    )
    chosen = proposal(measured)  # those that keep a judge's answers and do not predict the label
    space = attacks.directions(generator, params, ...)  # of the chosen ones
    box_kept(space, codes, judge, index=np.arange(500), epsilon=2.0, seed=0).mean()

A judge answers the class of an image. It need not be right: only whether its answer changes when an
image is moved counts. A judge that was trained on the same labels cannot see what these labels
confound. Where colour is tied to the label it reads the colour, keeps its answer when the shape
changes and loses it when the colour does. So a direction along which the examples' labels can be
predicted is called confounded, whatever the judge says: it carries the label, or a shortcut to it,
and only someone who knows the data can say which.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from natra_jax import attacks, interruption
from natra_jax.attacks import Space
from natra_jax.latents.label_predictability import predictability
from natra_jax.types import Directions, Generator, Params

Judge = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(images [B, H, W, C] in [-1, 1], not clipped; index [B] of the examples they were made of) ->
answers [B]
"""

KEPT, LOSES_LABEL, CONFOUNDED, UNJUDGED = "kept", "loses_label", "confounded", "unjudged"
# the judges that an experiment has without bringing one
NO_JUDGE, CROSS_FITTED = "none", "cross_fitted"
_PREDICTED = 2000  # examples, at most, behind `predicts`


class Screening(NamedTuple):
    """The findings of `screen` on K directions and M multiples."""

    multiples: np.ndarray  # [M], of sigma
    # [K, M], share of the judge's answers that stay, over both sides; nan without a judge
    kept: np.ndarray
    # [K, M], root mean square change of the pixels, over both sides; images in [-1, 1]
    moved: np.ndarray
    # [K], how well the coordinate predicts the label: 0 chance, 1 without error; nan without labels
    predicts: np.ndarray
    confounded: np.ndarray  # [K] bool, it predicts the label too well
    # [K], the largest multiple up to which answers are kept at all of them, 0 for none; inf without
    # a judge
    useful: np.ndarray
    # KEPT, LOSES_LABEL (useful is 0), CONFOUNDED, or UNJUDGED (without a judge)
    verdicts: tuple[str, ...]


def screen(
    generator: Generator,
    params: Params,
    directions: Directions,
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
    """Move examples along each direction by itself, inside the Space of training with it alone.

    The box around the population (truncation) cuts moves short as in training; useful ranges that
    the directions may already have do not. The findings of one direction do not depend on the
    others.

    Args:
      generator: of the codes.
      params: its parameters.
      directions: K of them.
      codes: of all examples, [N, L, D].
      labels: of all examples, [N]; predicted for all, or for 2000 drawn ones where there are more.
        None: not known.
      judge: see `Judge`; None: none.
      index: [n], which examples are moved.
      multiples: of sigma, rising, to both sides.
      keep: the share of answers that a useful range keeps.
      confounded: the highest `Screening.predicts` of a direction that is not confounded.
      truncation: half the side of the box, in sigmas; None: no box.
      seed: of the draw of examples, and of `predictability`.
      batch_size: examples at a time.

    Raises:
      ValueError: for multiples that do not rise from above 0, no examples, codes that are not
        finite, and labels or a batch size that cannot be.
    """
    _require_examples("screen", codes, index, batch_size)
    if labels is not None and len(labels) > len(codes):
        raise ValueError(f"screen: {len(labels)} labels of {len(codes)} codes")
    reaches = np.asarray(multiples, np.float64)
    if not len(reaches) or not (np.diff(reaches, prepend=0) > 0).all():
        raise ValueError(f"screen: multiples must rise from above 0, got {reaches.tolist()}")
    kept, moved = np.empty((2, len(directions.names), len(reaches)))
    for k in range(len(directions.names)):
        alone = _take(directions, k)._replace(useful=np.full(1, np.inf))
        space = attacks.directions(generator, params, alone, truncation=truncation)
        kept[k], moved[k] = _measure(space, codes, judge, index, reaches, batch_size)
    predicts = (
        np.full(len(directions.names), np.nan)
        if labels is None
        else _predicts(directions, codes, np.asarray(labels), seed)
    )
    suspect = predicts > confounded
    useful = np.where((kept >= keep).cumprod(axis=1), reaches, 0.0).max(axis=1)
    if judge is None:
        useful, verdicts = np.full(len(useful), np.inf), (UNJUDGED,) * len(useful)
    else:
        verdicts = tuple(
            CONFOUNDED if is_suspect else KEPT if reach > 0 else LOSES_LABEL
            for is_suspect, reach in zip(suspect, useful, strict=True)
        )
    return Screening(reaches, kept, moved, predicts, suspect, useful, verdicts)


def proposal(measured: Screening) -> np.ndarray:
    """Return the numbers of the directions to train on.

    They keep the label and are not confounded; without a judge, all are taken.
    """
    return np.flatnonzero([verdict in (KEPT, UNJUDGED) for verdict in measured.verdicts])


def limits(measured: Screening) -> np.ndarray:
    """Return the useful ranges [K] that training keeps to: inf where the judge does not vouch.

    People who train on such a direction state that it keeps the label, against a judge that was not
    asked, cannot know, or disagrees.
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
    """Tell whether the judge keeps its answers under random moves along all directions at once.

    The check of a chosen set: directions that keep the label one by one need not keep it together.

    Args:
      space: of the directions.
      codes: [N, L, D].
      judge: see `Judge`.
      index: which of the codes, [n].
      epsilon: the radius.
      seed: of the moves.
      batch_size: examples at a time.

    Returns:
      [n] bool.

    Raises:
      ValueError: as `screen` does.
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
    """Yield, batch by batch, indices, decoded images, and the same moved at random.

    A move depends on seed and the example's index alone.

    Args:
      space: of the directions.
      codes: [N, L, D].
      index: which of the codes, [n].
      epsilon: the radius of moves.
      seed: of the moves.
      batch_size: examples at a time.

    Yields:
      (index [B], images [B, H, W, C], moved images [B, H, W, C]).

    Raises:
      ValueError: as `screen` does.
    """
    _require_examples("draws", codes, index, batch_size)
    key = jax.random.key(seed)
    for at in _batches(index, batch_size):
        still, moved = _drawn(space, key, at, codes[at], np.float32(epsilon))
        yield at, np.asarray(still), np.asarray(moved)


def _require_examples(what: str, codes: np.ndarray, index: np.ndarray, batch_size: int) -> None:
    """Raise ValueError unless there are examples, in batches, with finite codes."""
    if not len(index) or batch_size < 1:
        raise ValueError(f"{what}: {len(index)} examples in batches of {batch_size}: give one each")
    if not np.isfinite(codes[index]).all():
        raise ValueError(f"{what}: codes have values that are not finite")


def _measure(
    space: Space,
    codes: np.ndarray,
    judge: Judge | None,
    index: np.ndarray,
    multiples: np.ndarray,
    batch_size: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Measure kept [M] and moved [M] along the Space's one direction."""
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
    moves = 2 * len(index)
    kept = np.full(len(multiples), np.nan) if judge is None else stays / moves
    return kept, np.sqrt(change / moves)


def _predicts(
    directions: Directions, codes: np.ndarray, labels: np.ndarray, seed: int
) -> np.ndarray:
    """Measure how well each direction's coordinate predicts the labels, [K]."""
    rows = np.sort(np.random.default_rng(seed).permutation(len(labels))[:_PREDICTED])
    # vectors have length 1, so this is each direction's coordinate but for its unit
    coordinates = np.einsum("nld,kld->kn", codes[rows] - directions.mean, directions.vectors)
    return np.array([predictability(c, labels[rows], seed=seed) for c in coordinates])


def _take(directions: Directions, k: int) -> Directions:
    """Return the k-th direction alone."""
    rows = {
        name: getattr(directions, name)[k : k + 1]
        for name in ("vectors", "sigma", "mask", "names", "useful")
    }
    return directions._replace(**rows)


def _batches(index: np.ndarray, batch_size: int) -> Iterator[np.ndarray]:
    for i in range(0, len(index), batch_size):
        interruption.check()
        yield index[i : i + batch_size]


@jax.jit
def _still(space: Space, codes: jax.Array) -> tuple[Any, jax.Array]:
    """Return the centers of codes [B, L, D], and their images as decoded."""
    # the Space of directions draws nothing where it anchors
    keys = jax.random.split(jax.random.key(0), len(codes))
    center = space.anchor(keys, codes)
    return center, space.decode(center, jnp.zeros_like(center.coordinates))


@jax.jit
def _moved(
    space: Space, center: Any, still: jax.Array, r: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return images moved by r, and the sum over them of their mean squared change."""
    delta = space.project(
        jnp.full_like(center.coordinates, r), center, jnp.full(len(still), jnp.abs(r))
    )
    images = space.decode(center, delta)
    return images, jnp.square(images - still).mean((1, 2, 3)).sum()


@jax.jit
def _drawn(
    space: Space, key: jax.Array, index: jax.Array, codes: jax.Array, epsilon: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return images as decoded, and moved at random within radius epsilon."""
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, index)
    center = space.anchor(keys, codes)
    delta = space.init(keys, center, jnp.full(len(codes), epsilon))
    return space.decode(center, jnp.zeros_like(delta)), space.decode(center, delta)
