"""Searches made of other searches, and the one that needs no gradient: restarts, one direction at a time, random points."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from natra_jax.attacks.search import (
    Attack,
    AttackResult,
    Space,
    better,
    evaluate,
    require_count,
    setup,
    strongest,
)


def best_of(attack: Attack, restarts: int, *, early_stop: bool = False) -> Attack:
    """Run the attack `restarts` times from different starts and keep, per example (per group), the highest loss.

    early_stop: an example keeps the first restart that succeeds, and once all have succeeded the rest is not computed. Cheaper where
    only success counts; the loss is then not the highest that could be found.

    Raises ValueError for fewer than one restart.
    """
    require_count("best_of: restarts", restarts, 1)

    def search(loss_fn, keys, space, origin, epsilon, restart=0):
        def run(index):
            return attack(loss_fn, keys, space, origin, epsilon, restart=index)

        return strongest(run, restarts * restart + jnp.arange(restarts), space.group, early_stop)

    return search


def per_direction(attack: Attack) -> Attack:
    """NaTra eq. 4 read literally: one search for each s in S, moving r_s alone, and the worst of them is kept.

    For Spaces whose delta is one array [B, S]. A search over all of r at once (joint) contains it, and is the default of natra.
    """

    def search(loss_fn, keys, space, origin, epsilon, restart=0):
        shape = jax.eval_shape(
            lambda: space.init(keys, setup(keys, space, origin, epsilon, restart)[1], epsilon)
        )
        if len(getattr(shape, "shape", ())) != 2:
            raise ValueError(
                f"per_direction: the space's delta must be one array [B, S], got {shape}"
            )

        def run(axis):
            return attack(loss_fn, keys, along(space, axis), origin, epsilon, restart=restart)

        return strongest(run, jnp.eye(shape.shape[1], dtype=shape.dtype), space.group)

    return search


def along(space: Space, axis: jax.Array) -> Space:
    """The part of a Space whose delta [B, S] moves along one direction alone. axis: one-hot [S]."""
    init, project = (
        Partial(_init_along, space.init, axis),
        Partial(_project_along, space.project, axis),
    )
    return replace(space, init=init, project=project)


def random_search(num_samples: int) -> Attack:
    """The worst of num_samples random points and the unchanged example. Where it beats a gradient search, gradients are masked.

    Raises ValueError for fewer than one sample.
    """
    require_count("random_search: num_samples", num_samples, 1)

    def search(loss_fn, keys, space, origin, epsilon, restart=0):
        keys, center = setup(keys, space, origin, epsilon, restart)

        def draw(best, index):
            delta = space.init(
                jax.vmap(jax.random.fold_in, (0, None))(keys, index), center, epsilon
            )
            candidate = evaluate(loss_fn, space, center, space.project(delta, center, epsilon))
            return better(space.group, best, candidate), candidate.loss

        zero = jax.tree.map(jnp.zeros_like, space.init(keys, center, epsilon))
        first = evaluate(loss_fn, space, center, space.project(zero, center, epsilon))
        best, losses = jax.lax.scan(draw, first, jnp.arange(num_samples))
        return AttackResult(
            center,
            best.delta,
            best.inputs,
            jnp.concatenate([first.loss[None], losses]),
            best.success,
        )

    return search


def _init_along(init, axis, keys, center, epsilon):
    return init(keys, center, epsilon) * axis


def _project_along(project, axis, delta, center, epsilon):
    return project(delta * axis, center, epsilon)
