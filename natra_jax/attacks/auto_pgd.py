"""Auto-PGD (Croce & Hein 2020, algorithm 1): PGD with momentum and no step size to tune.

It halves its step when it stalls, and goes on from its best point.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Integer, PyTree

from natra_jax.attacks.search import (
    Attack,
    AttackResult,
    Candidate,
    LossFn,
    Space,
    better,
    evaluate,
    gradient,
    group_mean,
    higher,
    initial_delta,
    require_count,
    require_flag,
    scaled,
    select,
    setup,
    steepest,
    worst_candidate,
)
from natra_jax.types import Array, Keys

RULES = ("sign", "l2")
_MOMENTUM = 0.75  # alpha
_PROGRESS = 0.75  # rho: the share of steps since the last checkpoint that have to raise the loss


class _State(NamedTuple):
    """The search's state between two steps, for each group of examples."""

    delta: PyTree  # x^(k), [G, ...]
    previous: PyTree  # x^(k-1), [G, ...]
    size: Float[Array, " G"]  # eta^(k), the step size
    best: Candidate  # x_max, f_max
    best_gradient: PyTree  # at x_max
    last_loss: Float[Array, " G"]  # f(x^(k-1)), or f_max where the search went back to x_max
    rises: Integer[Array, " G"]  # steps that raised the loss since the last checkpoint
    halved: Bool[Array, " G"]  # whether the last checkpoint halved the step
    best_before: Float[Array, " G"]  # f_max at the last checkpoint


def auto_pgd(num_steps: int, *, rule: str = "sign", random_start: bool = False) -> Attack:
    """Build Auto-PGD (algorithm 1) over any Space, with a first step size of 2 epsilon.

    At each of the `checkpoints` a group's step is halved, and its search goes on from its best
    point, where fewer than 75 % of the steps since the last one raised the loss, or where neither
    the step size nor the best loss changed since then.

    Args:
        num_steps: the number of updates.
        rule: 'sign' of the gradient (l-infinity), or 'l2' (the gradient over its norm).
        random_start: begin restart 0 at a random point too, instead of at delta = 0.

    Returns:
        The search. Equal settings give the same function.

    Raises:
        ValueError: num_steps is not a whole number >= 0; the rule is unknown; or random_start is
            neither True nor False.
    """
    require_count("auto_pgd: num_steps", num_steps, 0)
    require_flag("auto_pgd: random_start", random_start)
    if rule not in RULES:
        raise ValueError(
            f"auto_pgd: rule must be one of {', '.join(map(repr, RULES))}, got {rule!r}"
        )
    return _auto_pgd(num_steps, rule, random_start)


@lru_cache
def _auto_pgd(num_steps: int, rule: str, random_start: bool) -> Attack:
    # at a checkpoint the number of steps since the last one, elsewhere 0
    since_last = np.zeros(num_steps, np.int32)
    marks = checkpoints(num_steps)
    since_last[marks] = np.diff([0, *marks])

    def attack(
        loss_fn: LossFn,
        keys: Keys,
        space: Space,
        origin: PyTree,
        epsilon: Float[Array, " B"],
        restart: int | Integer[Array, ""] = 0,
        start: PyTree | None = None,
    ) -> AttackResult:
        keys, center = setup(keys, space, origin, epsilon, restart)
        delta = initial_delta(
            keys, space, center, epsilon, restart=restart, random_start=random_start, start=start
        )

        def loss_of(candidate: Candidate) -> Float[Array, " G"]:
            return group_mean(space.group, candidate.loss)

        def moved(delta: PyTree, update: PyTree) -> PyTree:
            return space.project(jax.tree.map(jnp.add, delta, update), center, epsilon)

        def climb(
            state: _State, iteration: tuple[Integer[Array, ""], Integer[Array, ""]]
        ) -> tuple[_State, Float[Array, " B"]]:
            index, since = iteration
            gradients, candidate = gradient(loss_fn, space, center, state.delta)
            loss = loss_of(candidate)
            rises = state.rises + ((loss > state.last_loss) & (index > 0))
            improved = higher(loss, loss_of(state.best))
            best = better(space.group, state.best, candidate)
            best_gradient = select(improved, gradients, state.best_gradient)

            # conditions 2 and 1 of the paper: no progress at all, or too little
            stalled = ~state.halved & (state.best_before == loss_of(best))
            halve = (since > 0) & ((rises < _PROGRESS * since) | stalled)
            size = jnp.where(halve, state.size / 2, state.size)
            here, gradients = select(halve, (best.delta, best_gradient), (state.delta, gradients))
            at_checkpoint = (since > 0) | (index == 0)

            target = moved(here, scaled(size, steepest(rule, gradients)))
            momentum = jnp.where(index > 0, _MOMENTUM, 1.0)
            update = jax.tree.map(
                lambda t, h, p: (
                    momentum.astype(h.dtype) * (t - h) + (1 - momentum).astype(h.dtype) * (h - p)
                ),
                target,
                here,
                state.previous,
            )
            state = _State(
                delta=moved(here, update),
                previous=here,
                size=size,
                best=best,
                best_gradient=best_gradient,
                last_loss=jnp.where(halve, loss_of(best), loss),
                rises=jnp.where(at_checkpoint, 0, rises),
                halved=jnp.where(at_checkpoint, halve, state.halved),
                best_before=jnp.where(at_checkpoint, loss_of(best), state.best_before),
            )
            return state, candidate.loss

        size = 2.0 * epsilon[:: space.group]
        no_group = jnp.zeros(size.shape, bool)
        worst = worst_candidate(loss_fn, space, center, delta)
        first = _State(
            delta=delta,
            previous=delta,
            size=size,
            best=worst,
            best_gradient=jax.tree.map(jnp.zeros_like, delta),
            last_loss=loss_of(worst),
            rises=no_group.astype(jnp.int32),
            halved=no_group,
            best_before=loss_of(worst),
        )
        iterations = (jnp.arange(num_steps), jnp.asarray(since_last))
        state, losses = jax.lax.scan(climb, first, iterations)
        last = evaluate(loss_fn, space, center, state.delta)
        best = better(space.group, state.best, last)
        losses = jnp.concatenate([losses, last.loss[None]])
        return AttackResult(center, best.delta, best.inputs, losses, best.success)

    return attack


def checkpoints(num_steps: int) -> list[int]:
    """Return the steps w_j = ceil(p_j num_steps) below num_steps.

    p_1 = 0.22 and p_{j+1} = p_j + max(p_j - p_{j-1} - 0.03, 0.06), with p_0 = 0.
    """
    marks: list[int] = []
    last, share = 0.0, 0.22
    while (mark := math.ceil(round(share * num_steps, 9))) < num_steps:
        if mark > (marks[-1] if marks else 0):
            marks.append(mark)
        last, share = share, share + max(share - last - 0.03, 0.06)
    return marks
