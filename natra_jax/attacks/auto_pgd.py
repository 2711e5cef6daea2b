"""Auto-PGD (Croce & Hein 2020, algorithm 1): PGD with momentum that halves its step when it stalls and goes on from its best point."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np

from natra_jax.attacks.search import (
    Attack,
    AttackResult,
    better,
    evaluate,
    gradient,
    group_mean,
    higher,
    initial_delta,
    require_count,
    scaled,
    select,
    setup,
    steepest,
    worst_candidate,
)

RULES = ("sign", "l2")
_MOMENTUM = 0.75  # alpha
_PROGRESS = (
    0.75  # rho: the share of steps since the last checkpoint that have to have raised the loss
)


def auto_pgd(num_steps: int, *, rule: str = "sign", random_start: bool = False) -> Attack:
    """num_steps updates over any Space, the first step size 2 epsilon; nothing to tune. rule: 'sign' (l-infinity) or 'l2'.

    At the checkpoints of `checkpoints` a group's step is halved, and its search goes on from its best point, where fewer than 75 % of
    the steps since the last one raised the loss, or where neither step size nor best loss changed since then.

    Raises ValueError for a num_steps that is not a whole number >= 0 or an unknown rule.
    """
    require_count("auto_pgd: num_steps", num_steps, 0)
    if rule not in RULES:
        raise ValueError(
            f"auto_pgd: rule must be one of {', '.join(map(repr, RULES))}, got {rule!r}"
        )
    since_last = np.zeros(
        num_steps, np.int32
    )  # steps since the last checkpoint, where there is one
    marks = checkpoints(num_steps)
    since_last[marks] = np.diff([0, *marks])

    def attack(loss_fn, keys, space, origin, epsilon, restart=0):
        keys, center = setup(keys, space, origin, epsilon, restart)
        delta = initial_delta(keys, space, center, epsilon, restart, random_start)

        def loss_of(candidate):
            return group_mean(space.group, candidate.loss)

        def moved(delta, update):
            return space.project(jax.tree.map(jnp.add, delta, update), center, epsilon)

        def climb(carry, now):
            index, since = now
            delta, previous, size, best, best_gradient, last_loss, rises, halved, best_before = (
                carry
            )
            gradients, candidate = gradient(loss_fn, space, center, delta)
            loss = loss_of(candidate)
            rises += (loss > last_loss) & (index > 0)
            improved = higher(loss, loss_of(best))
            best, best_gradient = (
                better(space.group, best, candidate),
                select(improved, gradients, best_gradient),
            )

            stalled = ~halved & (best_before == loss_of(best))
            halve = (since > 0) & ((rises < _PROGRESS * since) | stalled)
            size = jnp.where(halve, size / 2, size)
            here, gradients = select(halve, (best.delta, best_gradient), (delta, gradients))
            last_loss = jnp.where(halve, loss_of(best), loss)
            at_mark = (since > 0) | (index == 0)
            halved = jnp.where(at_mark, halve, halved)
            best_before = jnp.where(at_mark, loss_of(best), best_before)
            rises = jnp.where(at_mark, 0, rises)

            target = moved(here, scaled(size, steepest(rule, gradients)))
            momentum = jnp.where(index > 0, _MOMENTUM, 1.0)
            update = jax.tree.map(
                lambda t, h, p: (
                    momentum.astype(h.dtype) * (t - h) + (1 - momentum).astype(h.dtype) * (h - p)
                ),
                target,
                here,
                previous,
            )
            carry = (
                moved(here, update),
                here,
                size,
                best,
                best_gradient,
                last_loss,
                rises,
                halved,
                best_before,
            )
            return carry, candidate.loss

        size = 2.0 * epsilon[:: space.group]
        none = jnp.zeros(size.shape, bool)
        zeros = jax.tree.map(jnp.zeros_like, delta)
        best = worst_candidate(loss_fn, space, center, delta)
        unknown = loss_of(best)
        first = (delta, delta, size, best, zeros, unknown, none.astype(jnp.int32), none, unknown)
        carry, losses = jax.lax.scan(climb, first, (jnp.arange(num_steps), jnp.asarray(since_last)))
        last = evaluate(loss_fn, space, center, carry[0])
        best = better(space.group, carry[3], last)
        return AttackResult(
            center,
            best.delta,
            best.inputs,
            jnp.concatenate([losses, last.loss[None]]),
            best.success,
        )

    return attack


def checkpoints(num_steps: int) -> list[int]:
    """The steps w_j = ceil(p_j num_steps) below num_steps, p_1 = .22 and p_{j+1} = p_j + max(p_j - p_{j-1} - .03, .06)."""
    marks, last, share = [], 0.0, 0.22
    while (mark := math.ceil(round(share * num_steps, 9))) < num_steps:
        if mark > (marks[-1] if marks else 0):
            marks.append(mark)
        last, share = share, share + max(share - last - 0.03, 0.06)
    return marks
