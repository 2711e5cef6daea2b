"""The one inner maximisation: projected gradient ascent over a Space, as a single `jax.lax.scan`.

NaTra (eq. 4-6), AdvMix, AdvBN and pixel attacks all maximise a loss over x' = decode(center, delta) with delta inside a Space; they
differ in the Space alone. `pgd` builds the search, `best_of` strengthens any search by restarts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
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
    """A search over a Space. restart 0 starts where the search is told to, later ones at random points of their own."""

    def __call__(
        self, loss_fn: LossFn, keys: jax.Array, space: Space, origin: PyTree, epsilon: jax.Array, restart: int | jax.Array = 0
    ) -> AttackResult: ...


class Ascent(Protocol):
    """What `pgd` needs of an optax transformation: gradients of -loss come in, updates to add to delta go out."""

    def init(self, delta: PyTree) -> PyTree: ...
    def update(self, gradients: PyTree, state: PyTree, delta: PyTree) -> tuple[PyTree, PyTree]: ...


def pgd(num_steps: int, step_size: float | Ascent | None = None, *, rule: str = "sign", random_start: bool = False) -> Attack:
    """Projected gradient ascent, delta <- project(delta + step) for num_steps steps; returns the best iterate, not the last (eq. 6).

    step_size: None for 2.5 * epsilon / num_steps, so that the search can cross the ball of every example whatever its radius; a number in
      the units of delta; or an optax transformation, which then also decides the direction.
    rule: 'sign' of the gradient, the raw 'gradient' (eq. 6 as printed), or 'l2' (the gradient over its norm per example).
    random_start: begin restart 0 at a random point too, instead of at delta = 0.

    Raises ValueError for a negative num_steps, an unknown rule, or rule 'gradient' without a step size.
    """
    if num_steps < 0:
        raise ValueError(f"pgd: num_steps must be >= 0, got {num_steps}")
    if rule not in ("sign", "gradient", "l2"):
        raise ValueError(f"pgd: rule must be 'sign', 'gradient' or 'l2', got {rule!r}")
    if step_size is None and rule == "gradient":
        raise ValueError("pgd: rule 'gradient' needs a step_size")
    ascent = step_size if hasattr(step_size, "update") else _steepest(num_steps, step_size, rule)

    def attack(loss_fn, keys, space, origin, epsilon, restart=0):
        keys = jax.vmap(jax.random.fold_in, (0, None))(keys, restart)
        center = space.anchor(keys, origin)
        delta = space.init(keys, center, epsilon)
        if not random_start:
            delta = jax.tree.map(lambda d: jnp.where(restart == 0, jnp.zeros_like(d), d), delta)
        delta = space.project(delta, center, epsilon)

        def value(delta):
            inputs = space.decode(center, delta)
            loss, success = loss_fn(inputs)
            return loss.sum(), (loss, success, inputs)

        def climb(carry, _):
            delta, state, best = carry
            gradient, visited = jax.grad(value, has_aux=True)(delta)
            best = _better(space.group, best, (delta, *visited))
            if hasattr(step_size, "update"):
                update, state = ascent.update(jax.tree.map(jnp.negative, gradient), state, delta)
            else:
                update = ascent(gradient, epsilon[:: space.group])
            delta = space.project(jax.tree.map(jnp.add, delta, update), center, epsilon)
            return (delta, state, best), visited[0]

        state = ascent.init(delta) if hasattr(step_size, "update") else ()
        nothing = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), jax.eval_shape(lambda d: (d, *value(d)[1]), delta))
        nothing = (nothing[0], jnp.full_like(nothing[1], jnp.nan), *nothing[2:])
        (delta, _, best), losses = jax.lax.scan(climb, (delta, state, nothing), None, length=num_steps)
        visited = value(delta)[1]
        delta, _, success, inputs = _better(space.group, best, (delta, *visited))
        return AttackResult(center, delta, inputs, jnp.concatenate([losses, visited[0][None]]), success)

    return attack


def best_of(attack: Attack, restarts: int) -> Attack:
    """Run the attack `restarts` times from different starts and keep, per example (per group), the highest loss.

    Raises ValueError for fewer than one restart.
    """
    if restarts < 1:
        raise ValueError(f"best_of: restarts must be >= 1, got {restarts}")

    def strongest(loss_fn, keys, space, origin, epsilon, restart=0):
        def run(index):
            return attack(loss_fn, keys, space, origin, epsilon, restart=index)

        def again(best, index):
            result = run(index)
            better = _higher(highest(result.loss), highest(best.loss))
            return AttackResult(
                _where(better, result.center, best.center),
                _where(better, result.delta, best.delta),
                _where(better, result.inputs, best.inputs),
                _where(better, result.loss, best.loss, axis=1),
                _where(better, result.success, best.success),
            ), None

        def highest(losses):
            return jnp.nanmax(_group_mean(space.group, losses), axis=0)

        first = restarts * restart
        nothing = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), jax.eval_shape(run, first))
        nothing = nothing._replace(loss=jnp.full_like(nothing.loss, jnp.nan))
        return jax.lax.scan(again, nothing, first + jnp.arange(restarts))[0]

    return strongest


def _steepest(num_steps: int, step_size: float | None, rule: str) -> Callable[[PyTree, jax.Array], PyTree]:
    def update(gradient, epsilon):
        size = 2.5 * epsilon / num_steps if step_size is None else jnp.full_like(epsilon, step_size)
        if rule == "sign":
            direction = jax.tree.map(jnp.sign, gradient)
        elif rule == "l2":
            square = sum(jnp.square(g).reshape(g.shape[0], -1).sum(1) for g in jax.tree.leaves(gradient))
            # the inner where keeps a zero gradient from dividing zero by zero
            scale = jnp.where(square > 0, jax.lax.rsqrt(jnp.where(square > 0, square, 1.0)), 0.0)
            direction = jax.tree.map(lambda g: _per_example(scale, g) * g, gradient)
        else:
            direction = gradient
        return jax.tree.map(lambda d: _per_example(size, d).astype(d.dtype) * d, direction)

    return update


def _per_example(x: jax.Array, like: jax.Array) -> jax.Array:
    """x [B] with as many trailing axes as `like` [B, ...] has."""
    return x.reshape(x.shape + (1,) * (like.ndim - x.ndim))


def _group_mean(group: int, loss: jax.Array) -> jax.Array:
    """loss [..., B] -> [..., B // group]."""
    return loss.reshape(*loss.shape[:-1], -1, group).mean(-1)


def _where(mask: jax.Array, new: PyTree, old: PyTree, axis: int = 0) -> PyTree:
    """new where mask [G], else old; a leaf's axis of length m G takes each entry of mask m times in a row."""

    def choose(n, o):
        chosen = jnp.repeat(mask, n.shape[axis] // mask.shape[0])
        shape = [1] * n.ndim
        shape[axis] = chosen.shape[0]
        return jnp.where(chosen.reshape(shape), n, o)

    return jax.tree.map(choose, new, old)


def _higher(new: jax.Array, old: jax.Array) -> jax.Array:
    """new > old, where not-a-number is lower than everything: a search that starts from it takes whatever comes first."""
    return (new > old) | jnp.isnan(old)


def _better(group: int, best: tuple, visited: tuple) -> tuple:
    """Of two (delta, loss, success, inputs), each group's with the higher mean loss."""
    return _where(_higher(_group_mean(group, visited[1]), _group_mean(group, best[1])), visited, best)
