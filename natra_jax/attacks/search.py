"""What every search shares: the Space it moves in, the loss it climbs, what it returns, and how the best point is kept.

NaTra (eq. 4-6), AdvMix, AdvBN and pixel attacks all maximise a loss over x' = decode(center, delta) with delta inside a Space; they
differ in the Space alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

PyTree = Any
LossFn = Callable[[PyTree], tuple[jax.Array, jax.Array]]
"""(inputs) -> (loss [B], success [B] bool): success means that the attack's goal is reached."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Space:
    """Where an attack moves. Its functions are `jax.tree_util.Partial`s whose arrays are bound, so a Space is a pytree.

    delta has the leading axis B // group: `group` neighbouring examples share one delta, and stand or fall by their mean loss.
    delta = 0 (in every leaf) means "unchanged" and lies inside every Space.
    """

    anchor: Callable[[jax.Array, PyTree], PyTree]
    """(keys [B], origin) -> center: what is settled once per attack (AdvMix resamples here)"""
    init: Callable[[jax.Array, PyTree, jax.Array], PyTree]
    """(keys [B], center, epsilon [B]) -> delta, a random point inside"""
    project: Callable[[PyTree, PyTree, jax.Array], PyTree]
    """(delta, center, epsilon [B]) -> delta inside"""
    decode: Callable[[PyTree, PyTree], PyTree]
    """(center, delta) -> inputs: images, or features for feature-level spaces"""
    group: int = field(default=1, metadata={"static": True})


class AttackResult(NamedTuple):
    """The best point that the search visited, for each example, and how the search went."""

    center: PyTree
    delta: PyTree  # [B // group, ...]
    inputs: PyTree  # decode(center, delta), [B, ...]
    loss: jax.Array  # [steps + 1, B], at every iterate, the start first
    success: jax.Array  # [B] bool, at the returned point


class Attack(Protocol):
    """A search over a Space. restart 0 starts where the search is told to, later ones at random points of their own.

    Raises ValueError for keys that are not [B], for an epsilon that is not one number for each of them, and where the space's groups
    do not divide B.
    """

    def __call__(
        self,
        loss_fn: LossFn,
        keys: jax.Array,
        space: Space,
        origin: PyTree,
        epsilon: jax.Array,
        restart: int | jax.Array = 0,
    ) -> AttackResult: ...


class Candidate(NamedTuple):
    """A point of the Space with what was found there."""

    delta: PyTree  # [B // group, ...]
    loss: jax.Array  # [B]
    success: jax.Array  # [B] bool
    inputs: PyTree  # [B, ...]


def require_count(what: str, value: Any, least: int) -> None:
    """Raises ValueError for what ('pgd: num_steps') unless value is a whole number, least or more."""
    if not isinstance(value, Integral) or value < least:
        raise ValueError(f"{what} must be a whole number >= {least}, got {value!r}")


def setup(
    keys: jax.Array, space: Space, origin: PyTree, epsilon: jax.Array, restart: int | jax.Array
) -> tuple[jax.Array, PyTree]:
    """What a search does first: (the keys of this restart, the center)."""
    if not keys.shape or not keys.shape[0]:
        raise ValueError(
            f"keys must be [B], a key for each example, B >= 1, got shape {keys.shape}"
        )
    if jnp.shape(epsilon) != keys.shape[:1]:
        raise ValueError(
            f"epsilon must be [B] = {keys.shape[:1]}, a radius for each example, got shape {jnp.shape(epsilon)}"
        )
    if keys.shape[0] % space.group:
        raise ValueError(
            f"{keys.shape[0]} examples do not divide into the space's groups of {space.group}"
        )
    keys = jax.vmap(jax.random.fold_in, (0, None))(keys, restart)
    return keys, space.anchor(keys, origin)


def initial_delta(
    keys: jax.Array,
    space: Space,
    center: PyTree,
    epsilon: jax.Array,
    restart: int | jax.Array,
    random_start: bool,
) -> PyTree:
    """Where a search begins: at delta = 0 in restart 0 unless random_start, at a random point otherwise."""
    delta = space.init(keys, center, epsilon)
    if not random_start:
        delta = jax.tree.map(lambda d: jnp.where(restart == 0, jnp.zeros_like(d), d), delta)
    return space.project(delta, center, epsilon)


def evaluate(loss_fn: LossFn, space: Space, center: PyTree, delta: PyTree) -> Candidate:
    """Decodes a point and measures the loss there."""
    inputs = space.decode(center, delta)
    return Candidate(delta, *loss_fn(inputs), inputs)


def gradient(
    loss_fn: LossFn, space: Space, center: PyTree, delta: PyTree
) -> tuple[PyTree, Candidate]:
    """The loss's gradient with respect to delta, and the visit itself."""

    def total(delta):
        candidate = evaluate(loss_fn, space, center, delta)
        return candidate.loss.sum(), candidate

    return jax.grad(total, has_aux=True)(delta)


def worst_candidate(loss_fn: LossFn, space: Space, center: PyTree, delta: PyTree) -> Candidate:
    """A visit that any other one is better than, to start a loop with."""
    zeros = jax.tree.map(
        lambda s: jnp.zeros(s.shape, s.dtype),
        jax.eval_shape(lambda d: evaluate(loss_fn, space, center, d), delta),
    )
    return zeros._replace(loss=jnp.full_like(zeros.loss, jnp.nan))


def better(group: int, best: Candidate, candidate: Candidate) -> Candidate:
    """Of two visits, each group's with the higher mean loss."""
    return select(
        higher(group_mean(group, candidate.loss), group_mean(group, best.loss)), candidate, best
    )


def strongest(
    run: Callable[[jax.Array], AttackResult],
    indices: jax.Array,
    group: int,
    early_stop: bool = False,
) -> AttackResult:
    """Runs several attacks, one for each index, and keeps, per example (per group), the highest loss.

    early_stop: where an attack succeeded on the whole group, later ones are not looked at any more, so that no example depends on the
    others; once all have succeeded, nothing is computed any more.
    """

    def again(best, index):
        def improved():
            result = run(index)
            chosen = higher(highest(result.loss), highest(best.loss))
            if early_stop:
                chosen &= ~settled(best.success)
            return AttackResult(
                select(chosen, result.center, best.center),
                select(chosen, result.delta, best.delta),
                select(chosen, result.inputs, best.inputs),
                select(chosen, result.loss, best.loss, axis=1),
                select(chosen, result.success, best.success),
            )

        return (
            jax.lax.cond(best.success.all(), lambda: best, improved) if early_stop else improved()
        ), None

    def highest(losses):
        return jnp.nanmax(group_mean(group, losses), axis=0)

    def settled(success):
        return success.reshape(-1, group).all(1)

    nothing = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), jax.eval_shape(run, indices[0]))
    nothing = nothing._replace(loss=jnp.full_like(nothing.loss, jnp.nan))
    return jax.lax.scan(again, nothing, indices)[0]


def steepest(rule: str, gradient: PyTree) -> PyTree:
    """The direction to step in: 'sign' of the gradient (l-infinity), 'l2': the gradient over its norm per example, or 'gradient'."""
    if rule == "sign":
        return jax.tree.map(jnp.sign, gradient)
    if rule == "l2":
        # over its largest entry first: the squares of a confident classifier's gradient are too small for float32
        largest = _over_entries(jnp.max, jnp.abs, gradient)
        gradient = _divided(gradient, largest)
        return _divided(gradient, jnp.sqrt(_over_entries(jnp.sum, jnp.square, gradient)))
    return gradient


def scaled(size: jax.Array, direction: PyTree) -> PyTree:
    """The direction times each example's (group's) step size."""
    return jax.tree.map(lambda d: per_example(size, d) * d, direction)


def over_l1(gradient: PyTree) -> PyTree:
    """Each example's gradient over its l1 norm; zero stays zero."""
    return _divided(gradient, _over_entries(jnp.sum, jnp.abs, gradient))


def _over_entries(reduce: Callable, of: Callable, gradient: PyTree) -> jax.Array:
    """reduce of all of an example's entries, [B]."""
    return reduce(
        jnp.stack(
            [reduce(of(g).reshape(g.shape[0], -1), axis=1) for g in jax.tree.leaves(gradient)]
        ),
        axis=0,
    )


def _divided(gradient: PyTree, norm: jax.Array) -> PyTree:
    """Each example's gradient over its norm [B]; zero stays zero."""
    return jax.tree.map(lambda g: g / per_example(jnp.where(norm > 0, norm, 1.0), g), gradient)


def per_example(x: jax.Array, like: jax.Array) -> jax.Array:
    """x [B] with as many trailing axes as `like` [B, ...] has, and of its type."""
    return x.reshape(x.shape + (1,) * (like.ndim - x.ndim)).astype(like.dtype)


def group_mean(group: int, loss: jax.Array) -> jax.Array:
    """loss [..., B] -> [..., B // group]."""
    return loss.reshape(*loss.shape[:-1], -1, group).mean(-1)


def higher(new: jax.Array, old: jax.Array) -> jax.Array:
    """new > old, where not-a-number is lower than everything: a search that starts from it takes whatever comes first."""
    return (new > old) | jnp.isnan(old)


def select(mask: jax.Array, new: PyTree, old: PyTree, axis: int = 0) -> PyTree:
    """new where mask [G], else old; a leaf's axis of length m G takes each entry of mask m times in a row."""

    def choose(n, o):
        chosen = jnp.repeat(mask, n.shape[axis] // mask.shape[0])
        shape = [1] * n.ndim
        shape[axis] = chosen.shape[0]
        return jnp.where(chosen.reshape(shape), n, o)

    return jax.tree.map(choose, new, old)
