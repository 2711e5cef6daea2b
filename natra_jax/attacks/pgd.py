"""The one inner maximisation: projected gradient ascent over a Space, as a single `jax.lax.scan` (NaTra eq. 6)."""

from __future__ import annotations

from numbers import Real
from typing import Protocol

import jax
import jax.numpy as jnp

from natra_jax.attacks.search import (
    Attack,
    AttackResult,
    PyTree,
    better,
    evaluate,
    gradient,
    initial_delta,
    over_l1,
    require_count,
    scaled,
    setup,
    steepest,
    worst_candidate,
)

RULES = ("sign", "gradient", "l2")


class Ascent(Protocol):
    """What `pgd` needs of an optax transformation: gradients of -loss come in, updates to add to delta go out."""

    def init(self, delta: PyTree) -> PyTree: ...
    def update(self, gradients: PyTree, state: PyTree, delta: PyTree) -> tuple[PyTree, PyTree]: ...


def pgd(
    num_steps: int,
    step_size: float | Ascent | None = None,
    *,
    rule: str = "sign",
    random_start: bool = False,
    decay: float | None = None,
) -> Attack:
    """Projected gradient ascent, delta <- project(delta + step) for num_steps steps; returns the best iterate, not the last (eq. 6).

    step_size: None for 2.5 * epsilon / num_steps, so that the search can cross the ball of every example whatever its radius; a number in
      the units of delta; or an optax transformation, which then also decides the direction.
    rule: 'sign' of the gradient, the raw 'gradient' (eq. 6 as printed), or 'l2' (the gradient over its norm per example).
    random_start: begin restart 0 at a random point too, instead of at delta = 0.
    decay: where given, the direction is that of decay * (its last value) + gradient / |gradient|_1 (MI-FGSM, Dong et al. 2018).

    Raises ValueError for a num_steps that is not a whole number >= 0, an unknown rule, a negative step size, rule 'gradient' without a
    step size, or decay with an optax transformation, which has its own.
    """
    require_count("pgd: num_steps", num_steps, 0)
    if rule not in RULES:
        raise ValueError(f"pgd: rule must be one of {', '.join(map(repr, RULES))}, got {rule!r}")
    if step_size is None and rule == "gradient":
        raise ValueError("pgd: rule 'gradient' needs a step_size")
    if isinstance(step_size, Real) and not step_size >= 0:
        raise ValueError(f"pgd: step_size must be >= 0, got {step_size}")
    transformation = step_size if hasattr(step_size, "update") else None
    if transformation and decay is not None:
        raise ValueError(
            f"pgd: decay must be None where step_size is an optax transformation, got {decay}"
        )

    def first_state(delta):
        if transformation:
            return transformation.init(delta)
        return () if decay is None else jax.tree.map(jnp.zeros_like, delta)

    def step(gradients, state, delta, epsilon):
        if transformation:
            return transformation.update(jax.tree.map(jnp.negative, gradients), state, delta)
        if decay is not None:
            gradients = state = jax.tree.map(lambda m, g: decay * m + g, state, over_l1(gradients))
        size = (
            2.5 * epsilon / max(num_steps, 1)
            if step_size is None
            else jnp.full(epsilon.shape, step_size)
        )
        return scaled(size, steepest(rule, gradients)), state

    def attack(loss_fn, keys, space, origin, epsilon, restart=0):
        keys, center = setup(keys, space, origin, epsilon, restart)
        delta = initial_delta(keys, space, center, epsilon, restart, random_start)

        def climb(carry, _):
            delta, state, best = carry
            gradients, candidate = gradient(loss_fn, space, center, delta)
            best = better(space.group, best, candidate)
            update, state = step(gradients, state, delta, epsilon[:: space.group])
            delta = space.project(jax.tree.map(jnp.add, delta, update), center, epsilon)
            return (delta, state, best), candidate.loss

        first = (delta, first_state(delta), worst_candidate(loss_fn, space, center, delta))
        (delta, _, best), losses = jax.lax.scan(climb, first, None, length=num_steps)
        last = evaluate(loss_fn, space, center, delta)
        best = better(space.group, best, last)
        return AttackResult(
            center,
            best.delta,
            best.inputs,
            jnp.concatenate([losses, last.loss[None]]),
            best.success,
        )

    return attack
