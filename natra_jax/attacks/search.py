"""The parts that every search shares: the Space, the loss to climb, and keeping the best point.

NaTra (eq. 4 to 6), AdvMix, AdvBN and pixel attacks all maximise a loss over
inputs = decode(center, delta) with delta inside a Space. They differ in the Space alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from numbers import Integral
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Integer, PyTree

from natra_jax.types import Array, Keys

T = TypeVar("T")
DRAWS = ("uniform", "normal", "corner")
LossFn = Callable[[PyTree], tuple[Float[Array, " B"], Bool[Array, " B"]]]
"""(inputs) -> (loss [B], success [B]). Success means that the attack's goal is reached."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Space:
    """The set that an attack moves in, as four functions.

    The functions are `jax.tree_util.Partial`s whose arrays are bound, so that a Space is a pytree
    and can be an argument of what is jitted.

    delta has the leading axis B // group: `group` neighbouring examples share one delta, and are
    judged by their mean loss. delta = 0 (in every leaf) means "unchanged" and lies inside every
    Space.
    """

    anchor: Callable[[Keys, PyTree], PyTree]
    """(keys [B], origin) -> center: what is settled once per attack (AdvMix resamples here)"""
    init: Callable[[Keys, PyTree, Float[Array, " B"]], PyTree]
    """(keys [B], center, epsilon [B]) -> delta, a random point inside"""
    project: Callable[[PyTree, PyTree, Float[Array, " B"]], PyTree]
    """(delta, center, epsilon [B]) -> delta inside"""
    decode: Callable[[PyTree, PyTree], PyTree]
    """(center, delta) -> inputs: images, or features for feature-level spaces"""
    group: int = field(default=1, metadata={"static": True})


class AttackResult(NamedTuple):
    """The best point that a search visited, for each example, and the losses on the way.

    Where all losses of an example are NaN, no point is better than another, and the last one is
    returned. `jnp.isnan(result.loss).all(0)` tells which examples these are. A point whose delta
    is not finite, as after a gradient that is NaN, is never returned, and its loss counts as NaN.
    """

    center: PyTree
    delta: PyTree  # [B // group, ...]
    inputs: PyTree  # decode(center, delta), [B, ...]
    loss: Float[Array, "iterates B"]  # at every iterate, the start first: steps + 1 of them
    success: Bool[Array, " B"]  # at the returned point


@runtime_checkable
class Attack(Protocol):
    """A search over a Space.

    Restart 0 starts where the search is told to, later ones at random points. start, where given,
    is the delta [B // group, ...] to begin restart 0 at, projected; a group whose start is not
    finite begins at a random point.

    Raises:
        ValueError: keys are not [B], epsilon is not [B], or the space's groups do not divide B.
    """

    def __call__(
        self,
        loss_fn: LossFn,
        keys: Keys,
        space: Space,
        origin: PyTree,
        epsilon: Float[Array, " B"],
        restart: int | Integer[Array, ""] = 0,
        start: PyTree | None = None,
    ) -> AttackResult: ...


class Candidate(NamedTuple):
    """A point of a Space, and what the classifier makes of it."""

    delta: PyTree  # [B // group, ...]
    loss: Float[Array, " B"]
    success: Bool[Array, " B"]
    inputs: PyTree  # decode(center, delta), [B, ...]


def require_count(name: str, value: object, least: int) -> None:
    """Raise ValueError, naming the value, unless it is a whole number >= least."""
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < least:
        raise ValueError(f"{name} must be a whole number >= {least}, got {value!r}")


def is_numeric(value: Any) -> bool:
    """Tell whether a value, or each of an array's, is a number: no text, truth or masked value."""
    if isinstance(value, list | tuple):
        return all(map(is_numeric, value))
    if isinstance(value, np.ma.MaskedArray):
        return False
    dtype = getattr(value, "dtype", None)
    if not isinstance(dtype, np.dtype):
        try:
            dtype = np.asarray(value).dtype
        except (TypeError, ValueError):
            return False
    return jnp.issubdtype(dtype, jnp.integer) or jnp.issubdtype(dtype, jnp.floating)


def require_flag(name: str, value: object) -> None:
    """Raise ValueError, naming the value, unless it is True or False: texts would count as True."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be True or False, got {value!r}")


def setup(
    keys: Keys,
    space: Space,
    origin: PyTree,
    epsilon: Float[Array, " B"],
    restart: int | Integer[Array, ""],
) -> tuple[Keys, PyTree]:
    """Check a search's arguments and return the keys of this restart and the center."""
    if not keys.shape or not keys.shape[0]:
        raise ValueError(
            f"keys must be [B], a key for each example, B >= 1, got shape {keys.shape}"
        )
    if jnp.shape(epsilon) != keys.shape[:1]:
        raise ValueError(
            f"epsilon must be [B] = {keys.shape[:1]}, a radius for each example, "
            f"got shape {jnp.shape(epsilon)}"
        )
    if keys.shape[0] % space.group:
        raise ValueError(
            f"{keys.shape[0]} examples do not divide into the space's groups of {space.group}"
        )
    keys = jax.vmap(jax.random.fold_in, (0, None))(keys, restart)
    return keys, space.anchor(keys, origin)


def initial_delta(
    keys: Keys,
    space: Space,
    center: PyTree,
    epsilon: Float[Array, " B"],
    *,
    restart: int | Integer[Array, ""],
    random_start: bool,
    draw: str = "uniform",
    start: PyTree | None = None,
) -> PyTree:
    """Return the delta to start from, inside the Space.

    Args:
        keys: one for each example, of this restart.
        space: to start in.
        center: of the attack.
        epsilon: the radii, [B].
        restart: its number. Only restart 0 can begin elsewhere than at a random point.
        random_start: begin restart 0 at a random point too, instead of at delta = 0.
        draw: how random points are drawn, one of DRAWS.
        start: where restart 0 begins, before random_start is asked; a group for which it is not
            finite begins at a random point.
    """
    drawn = random_delta(draw, keys, space, center, epsilon)
    if start is not None:
        first = select(_is_finite(start), start, drawn)
    elif random_start:
        first = drawn
    else:
        first = jax.tree.map(jnp.zeros_like, drawn)
    delta = jax.tree.map(lambda f, d: jnp.where(restart == 0, f, d), first, drawn)
    return inside(space, delta, center, epsilon)


def random_delta(
    draw: str, keys: Keys, space: Space, center: PyTree, epsilon: Float[Array, " B"]
) -> PyTree:
    """Draw a random delta for each group; only 'uniform' is inside the Space already.

    Args:
        draw: 'uniform' in the Space, as its `init` draws; 'normal' for N(0, 1) (NaTra section
            3.3); 'corner' for epsilon with random signs, which projection turns into a corner of a
            box.
        keys: one for each example.
        space: to draw in.
        center: of the attack.
        epsilon: the radii, [B].
    """
    uniform = space.init(keys, center, epsilon)
    if draw == "uniform":
        return uniform
    leaves, structure = jax.tree.flatten(uniform)
    drawn = []
    for i, leaf in enumerate(leaves):
        keys_of_leaf = jax.vmap(jax.random.fold_in, (0, None))(keys[:: space.group], i)
        shape = leaf.shape[1:]
        if draw == "normal":
            sample = partial(jax.random.normal, shape=shape, dtype=leaf.dtype)
        else:
            sample = partial(jax.random.rademacher, shape=shape, dtype=leaf.dtype)
        drawn.append(jax.vmap(sample)(keys_of_leaf))
    delta = jax.tree.unflatten(structure, drawn)
    return delta if draw == "normal" else scaled(epsilon[:: space.group], delta)


def inside(space: Space, delta: PyTree, center: PyTree, epsilon: Float[Array, " B"]) -> PyTree:
    """Project delta, and return 0, which lies inside, for a group that is not finite then.

    Args:
        space: the set.
        delta: the point of each group, [B // group, ...].
        center: of the attack.
        epsilon: the radii, [B].
    """
    projected = space.project(delta, center, epsilon)
    unchanged = jax.tree.map(jnp.zeros_like, projected)
    return select(_is_finite(projected), projected, unchanged)


def evaluate(loss_fn: LossFn, space: Space, center: PyTree, delta: PyTree) -> Candidate:
    """Decode delta and measure the loss there, NaN for a group whose delta is not finite."""
    inputs = space.decode(center, delta)
    loss, success = loss_fn(inputs)
    known = jnp.repeat(_is_finite(delta), space.group)
    return Candidate(delta, jnp.where(known, loss, jnp.nan), success, inputs)


def gradient(
    loss_fn: LossFn, space: Space, center: PyTree, delta: PyTree
) -> tuple[PyTree, Candidate]:
    """Return the loss's gradient with respect to delta, and the candidate itself."""

    def total(delta: PyTree) -> tuple[Float[Array, ""], Candidate]:
        candidate = evaluate(loss_fn, space, center, delta)
        return candidate.loss.sum(), candidate

    return jax.grad(total, has_aux=True)(delta)


def worst_candidate(loss_fn: LossFn, space: Space, center: PyTree, delta: PyTree) -> Candidate:
    """Return a candidate that every other one beats, to start a loop with. Nothing is computed."""
    zeros = _zeros(lambda delta: evaluate(loss_fn, space, center, delta), delta)
    return zeros._replace(loss=jnp.full_like(zeros.loss, jnp.nan))


def better(group: int, best: Candidate, candidate: Candidate) -> Candidate:
    """Keep, for each group of examples, the one of two candidates with the higher mean loss.

    A candidate whose delta is not finite is never kept.
    """
    improved = higher(group_mean(group, candidate.loss), group_mean(group, best.loss))
    return select(improved & _is_finite(candidate.delta), candidate, best)


def strongest(
    run: Callable[[Array], AttackResult], indices: Array, group: int, early_stop: bool = False
) -> AttackResult:
    """Run several attacks and keep, for each group of examples, the result with the highest loss.

    Args:
        run: index -> the result of one attack.
        indices: the indices of the attacks along the leading axis.
        group: the number of neighbouring examples that share a delta.
        early_stop: leave a group alone once an attack succeeded on all of it, so that no example
            depends on the others. Once all have succeeded, nothing more is computed.
    """

    def highest(losses: Float[Array, "iterates B"]) -> Float[Array, " G"]:
        return jnp.nanmax(group_mean(group, losses), axis=0)

    def take_better(best: AttackResult, index: Array) -> tuple[AttackResult, None]:
        def improved() -> AttackResult:
            result = run(index)
            chosen = higher(highest(result.loss), highest(best.loss))
            if early_stop:
                chosen &= ~best.success.reshape(-1, group).all(1)
            return AttackResult(
                select(chosen, result.center, best.center),
                select(chosen, result.delta, best.delta),
                select(chosen, result.inputs, best.inputs),
                select(chosen, result.loss, best.loss, axis=1),
                select(chosen, result.success, best.success),
            )

        if early_stop:
            return jax.lax.cond(best.success.all(), lambda: best, improved), None
        return improved(), None

    zeros = _zeros(run, indices[0])
    worst = zeros._replace(loss=jnp.full_like(zeros.loss, jnp.nan))
    return jax.lax.scan(take_better, worst, indices)[0]


def steepest(rule: str, gradient: PyTree) -> PyTree:
    """Return the direction to step in.

    rule: 'sign' of the gradient (l-infinity), 'l2' for the gradient over its norm per example, or
        the 'gradient' as it is.
    """
    if rule == "sign":
        return jax.tree.map(jnp.sign, gradient)
    if rule == "l2":
        # over the largest entry first: the squares of a small gradient underflow in float32
        largest = _reduce_entries(jnp.max, jnp.abs, gradient)
        gradient = _divided(gradient, largest)
        return _divided(gradient, jnp.sqrt(_reduce_entries(jnp.sum, jnp.square, gradient)))
    return gradient


def scaled(size: Float[Array, " G"], direction: PyTree) -> PyTree:
    """Multiply the direction by the step size of each group."""
    return jax.tree.map(lambda d: per_example(size, d) * d, direction)


def over_l1(gradient: PyTree) -> PyTree:
    """Divide the gradient by its l1 norm per example. Zero stays zero."""
    return _divided(gradient, _reduce_entries(jnp.sum, jnp.abs, gradient))


def per_example(x: Float[Array, " G"], like: Float[Array, "G ..."]) -> Float[Array, "G ..."]:
    """Reshape x [G] to broadcast over the trailing axes of `like` [G, ...], in its dtype."""
    return x.reshape(x.shape + (1,) * (like.ndim - x.ndim)).astype(like.dtype)


def group_mean(group: int, loss: Float[Array, "*iterates B"]) -> Float[Array, "*iterates G"]:
    """Average the loss over each group of neighbouring examples: [..., B] -> [..., B // group]."""
    return loss.reshape(*loss.shape[:-1], -1, group).mean(-1)


def higher(new: Float[Array, " G"], old: Float[Array, " G"]) -> Bool[Array, " G"]:
    """Tell where new > old. NaN is lower than everything: whatever comes first replaces it."""
    return (new > old) | jnp.isnan(old)


def select(mask: Bool[Array, " G"], new: PyTree, old: PyTree, axis: int = 0) -> PyTree:
    """Take new where mask [G], else old.

    A leaf's axis has length m G: each entry of mask stands for m neighbouring entries.
    """

    def choose(n: Array, o: Array) -> Array:
        chosen = jnp.repeat(mask, n.shape[axis] // mask.shape[0])
        shape = [1] * n.ndim
        shape[axis] = chosen.shape[0]
        return jnp.where(chosen.reshape(shape), n, o)

    return jax.tree.map(choose, new, old)


def _is_finite(delta: PyTree) -> Bool[Array, " G"]:
    return _reduce_entries(jnp.all, jnp.isfinite, delta)


def _reduce_entries(
    reduce: Callable[..., Array], elementwise: Callable[[Array], Array], tree: PyTree
) -> Float[Array, " G"] | Bool[Array, " G"]:
    """Reduce all entries of each example, over all leaves."""
    per_leaf = [
        reduce(elementwise(x).reshape(x.shape[0], -1), axis=1) for x in jax.tree.leaves(tree)
    ]
    return reduce(jnp.stack(per_leaf), axis=0)


def _divided(gradient: PyTree, norm: Float[Array, " G"]) -> PyTree:
    """Divide the gradient by a norm per example. Zero stays zero."""
    return jax.tree.map(lambda g: g / per_example(jnp.where(norm > 0, norm, 1.0), g), gradient)


def _zeros(function: Callable[[PyTree], T], argument: PyTree) -> T:
    """Return zeros of the shapes and dtypes that the function returns."""
    shapes = jax.eval_shape(function, argument)
    return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
