"""Searches made of other searches, and the one that needs no gradient.

best_of (restarts), per_direction (NaTra eq. 4, one direction at a time), random_search.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Float, Integer, PyTree

from natra_jax.attacks.search import (
    Attack,
    AttackResult,
    Candidate,
    LossFn,
    Space,
    better,
    evaluate,
    inside,
    require_count,
    setup,
    strongest,
)
from natra_jax.types import Array, Keys


def best_of(attack: Attack, restarts: int, *, early_stop: bool = False) -> Attack:
    """Run the attack from several starts and keep, per example (per group), the highest loss.

    Args:
        attack: the search to run.
        restarts: the number of runs.
        early_stop: let an example keep the first restart that succeeds, and compute nothing more
            once all have succeeded. It is cheaper where only success counts; the loss is then not
            the highest that could be found.

    Returns:
        The search.

    Raises:
        ValueError: fewer than one restart.
    """
    require_count("best_of: restarts", restarts, 1)
    return _best_of(attack, restarts, early_stop)


@lru_cache
def _best_of(attack: Attack, restarts: int, early_stop: bool) -> Attack:
    def search(
        loss_fn: LossFn,
        keys: Keys,
        space: Space,
        origin: PyTree,
        epsilon: Float[Array, " B"],
        restart: int | Integer[Array, ""] = 0,
        start: PyTree | None = None,
    ) -> AttackResult:
        def run(index: Integer[Array, ""]) -> AttackResult:
            return attack(loss_fn, keys, space, origin, epsilon, restart=index, start=start)

        return strongest(run, restarts * restart + jnp.arange(restarts), space.group, early_stop)

    return search


@lru_cache
def with_start(attack: Attack) -> Attack:
    """Let a search with a random start visit the unchanged example, too, after all others."""

    def search(
        loss_fn: LossFn,
        keys: Keys,
        space: Space,
        origin: PyTree,
        epsilon: Float[Array, " B"],
        restart: int | Integer[Array, ""] = 0,
        start: PyTree | None = None,
    ) -> AttackResult:
        found = attack(loss_fn, keys, space, origin, epsilon, restart=restart, start=start)
        zero = jax.tree.map(jnp.zeros_like, found.delta)
        unchanged = evaluate(loss_fn, space, found.center, zero)
        highest = jnp.nanmax(found.loss, axis=0)
        best = better(
            space.group, Candidate(found.delta, highest, found.success, found.inputs), unchanged
        )
        losses = jnp.concatenate([found.loss, unchanged.loss[None]])
        return AttackResult(found.center, best.delta, best.inputs, losses, best.success)

    return search


def per_direction(attack: Attack) -> Attack:
    """Run one search for each direction s in S, moving r_s alone, and keep the worst (NaTra eq. 4).

    This reads eq. 4 literally. It is for Spaces whose delta is one array [B, S]. A search over all
    of r at once (joint) contains it, and is the default of natra.
    """
    return _per_direction(attack)


@lru_cache
def _per_direction(attack: Attack) -> Attack:
    def search(
        loss_fn: LossFn,
        keys: Keys,
        space: Space,
        origin: PyTree,
        epsilon: Float[Array, " B"],
        restart: int | Integer[Array, ""] = 0,
        start: PyTree | None = None,
    ) -> AttackResult:
        def draw() -> PyTree:
            _, center = setup(keys, space, origin, epsilon, restart)
            return space.init(keys, center, epsilon)

        delta: Any = jax.eval_shape(draw)
        if len(getattr(delta, "shape", ())) != 2:
            raise ValueError(
                f"per_direction: the space's delta must be one array [B, S], got {delta}"
            )

        def run(axis: Float[Array, " S"]) -> AttackResult:
            moves = along(space, axis)
            return attack(loss_fn, keys, moves, origin, epsilon, restart=restart, start=start)

        return strongest(run, jnp.eye(delta.shape[1], dtype=delta.dtype), space.group)

    return search


def along(space: Space, axis: Float[Array, " S"]) -> Space:
    """Restrict a Space whose delta is [B, S] to one direction. axis: one-hot [S]."""
    return replace(
        space,
        init=Partial(_init_along, space.init, axis),
        project=Partial(_project_along, space.project, axis),
    )


def _init_along(
    init: Any,
    axis: Float[Array, " S"],
    keys: Keys,
    center: PyTree,
    epsilon: Float[Array, " B"],
) -> Float[Array, "B S"]:
    return init(keys, center, epsilon) * axis


def _project_along(
    project: Any,
    axis: Float[Array, " S"],
    delta: Float[Array, "B S"],
    center: PyTree,
    epsilon: Float[Array, " B"],
) -> Float[Array, "B S"]:
    return project(delta * axis, center, epsilon)


def random_search(num_samples: int) -> Attack:
    """Build a search that keeps the worst of num_samples random points and the unchanged example.

    A start, where given, stands in place of the unchanged example.

    Where it beats a gradient search, gradients are masked.

    Raises:
        ValueError: fewer than one sample.
    """
    require_count("random_search: num_samples", num_samples, 1)
    return _random_search(num_samples)


@lru_cache
def _random_search(num_samples: int) -> Attack:
    def search(
        loss_fn: LossFn,
        keys: Keys,
        space: Space,
        origin: PyTree,
        epsilon: Float[Array, " B"],
        restart: int | Integer[Array, ""] = 0,
        start: PyTree | None = None,
    ) -> AttackResult:
        keys, center = setup(keys, space, origin, epsilon, restart)

        def measure(delta: PyTree) -> Candidate:
            return evaluate(loss_fn, space, center, inside(space, delta, center, epsilon))

        def draw(best: Candidate, index: Array) -> tuple[Candidate, Float[Array, " B"]]:
            keys_of_draw = jax.vmap(jax.random.fold_in, (0, None))(keys, index)
            candidate = measure(space.init(keys_of_draw, center, epsilon))
            return better(space.group, best, candidate), candidate.loss

        if start is None:
            start = jax.tree.map(jnp.zeros_like, space.init(keys, center, epsilon))
        first = measure(start)
        best, losses = jax.lax.scan(draw, first, jnp.arange(num_samples))
        losses = jnp.concatenate([first.loss[None], losses])
        return AttackResult(center, best.delta, best.inputs, losses, best.success)

    return search
