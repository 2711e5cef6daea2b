"""Searches made of other searches: one direction at a time, stopping early, and random points."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from natra_jax import attacks
from tests.helpers import (
    example_keys,
    linear_generator,
    linear_params,
    oblique_directions,
    unchecked,
)

B, S, STEPS = 6, 3, 3
GENERATOR = linear_generator()
PARAMS = linear_params(GENERATOR)
DIRECTIONS = oblique_directions(GENERATOR, S)
WEIGHTS = np.random.default_rng(2).normal(size=(4, 2)).astype(np.float32)
CODES = np.random.default_rng(3).normal(size=(B, 3, 4)).astype(np.float32)
RADIUS = np.linspace(0.0, 1.5, B).astype(np.float32)


def wavy(weights, inputs):
    loss = jnp.sin(inputs.reshape(len(inputs), -1) @ weights).sum(axis=1)
    return loss, loss > 1.5


def linear(weights, inputs):
    loss = inputs.reshape(len(inputs), -1) @ (weights[:, 0] - weights[:, 1])
    return loss, loss > 0


def alone(s):
    """Direction s without the others."""
    one = slice(s, s + 1)
    return DIRECTIONS._replace(
        vectors=DIRECTIONS.vectors[one],
        sigma=DIRECTIONS.sigma[one],
        mask=DIRECTIONS.mask[one],
        useful=DIRECTIONS.useful[one],
    )


def run(search, loss_fn, directions, **options):
    # without the box, whose coordinates depend on all directions
    space = attacks.directions(GENERATOR, PARAMS, directions, truncation=None, **options)
    return jax.tree.map(
        np.asarray,
        jax.jit(search)(Partial(loss_fn, WEIGHTS), example_keys(B), space, CODES, RADIUS),
    )


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_per_direction_is_the_strongest_of_the_searches_along_single_directions(norm):
    result = run(attacks.per_direction(attacks.pgd(STEPS)), wavy, DIRECTIONS, norm=norm)
    singles = [run(attacks.pgd(STEPS), wavy, alone(s), norm=norm) for s in range(S)]
    reached = np.stack([single.loss.max(axis=0) for single in singles])
    winner = reached.argmax(axis=0)
    assert len(np.unique(winner[1:])) > 1
    np.testing.assert_allclose(result.loss.max(axis=0), reached.max(axis=0), atol=1e-4)
    for b in range(1, B):
        np.testing.assert_allclose(result.inputs[b], singles[winner[b]].inputs[b], atol=1e-4)
        np.testing.assert_allclose(
            result.delta[b], np.eye(S)[winner[b]] * singles[winner[b]].delta[b], atol=1e-5
        )


def test_all_directions_at_once_are_never_weaker_than_each_on_a_linear_model():
    joint, each = (
        run(attacks.pgd(STEPS), linear, DIRECTIONS),
        run(attacks.per_direction(attacks.pgd(STEPS)), linear, DIRECTIONS),
    )
    towards = (WEIGHTS[:, 0] - WEIGHTS[:, 1]).astype(float)
    slopes = np.einsum(
        "sld,ldp,p->s",
        DIRECTIONS.vectors * DIRECTIONS.sigma[:, None, None],
        PARAMS["layers"].astype(float),
        towards,
    )
    gain = RADIUS * np.abs(slopes).sum(), RADIUS * np.abs(slopes).max()
    for result, expected in zip((joint, each), gain, strict=True):
        np.testing.assert_allclose(
            result.loss.max(axis=0) - result.loss[0], expected, rtol=1e-4, atol=1e-5
        )


def test_restarts_go_around_or_inside_the_search_for_the_direction():
    outside = run(attacks.best_of(attacks.per_direction(attacks.pgd(STEPS)), 3), wavy, DIRECTIONS)
    inside = run(attacks.per_direction(attacks.best_of(attacks.pgd(STEPS), 3)), wavy, DIRECTIONS)
    np.testing.assert_allclose(outside.loss.max(axis=0), inside.loss.max(axis=0), atol=1e-5)
    assert np.all((inside.delta != 0).sum(axis=1) <= 1)


def test_per_direction_refuses_what_is_no_row_of_coordinates():
    images = np.zeros((B, 2, 2, 1), np.float32)
    with pytest.raises(
        ValueError,
        match=r"per_direction: the space's delta must be one array \[B, S\], got .*\(6, 2, 2, 1\)",
    ):
        attacks.per_direction(attacks.pgd(1))(
            Partial(linear, WEIGHTS), example_keys(B), attacks.linf(), images, RADIUS
        )


SEARCHES = {
    "pgd": attacks.pgd(1),
    "auto_pgd": attacks.auto_pgd(1),
    "best_of": attacks.best_of(attacks.pgd(1), 2),
    "per_direction": attacks.per_direction(attacks.pgd(1)),
    "random_search": attacks.random_search(1),
}


@pytest.mark.parametrize("name", SEARCHES)
@unchecked()
def test_every_search_refuses_radii_and_keys_that_are_not_one_for_each_example(name):
    images = np.zeros((B, 4), np.float32)
    for radius in (0.1, RADIUS[1:], RADIUS[:, None]):
        with pytest.raises(
            ValueError,
            match=r"epsilon must be \[B\] = \(6,\), a radius for each example, got shape",
        ):
            SEARCHES[name](
                Partial(linear, WEIGHTS), example_keys(B), attacks.linf(), images, radius
            )
    for keys in (jax.random.key(0), example_keys(B)[:0]):
        with pytest.raises(
            ValueError, match=r"keys must be \[B\], a key for each example, B >= 1, got shape"
        ):
            SEARCHES[name](Partial(linear, WEIGHTS), keys, attacks.linf(), images, RADIUS)


# stopping early


RESTARTS = 6
CALLS = []


def counted(goal, inputs):
    """Reached where the input exceeds `goal`; notes when it is computed."""
    jax.debug.callback(lambda x: CALLS.append(1), inputs)
    return jnp.sin(20 * inputs).sum(axis=1), (inputs > goal).any(axis=1)


@cache
def one_step(early_stop):
    return jax.jit(attacks.best_of(attacks.pgd(1), RESTARTS, early_stop=early_stop))


def early(goal, early_stop=True):
    """(result, how often the loss was computed).

    A search of one step, so two computations a restart.
    """
    CALLS.clear()
    arguments = (
        example_keys(B),
        attacks.linf(),
        np.zeros((B, 2), np.float32),
        np.full(B, 0.5, np.float32),
    )
    result = jax.tree.map(
        np.asarray, one_step(early_stop)(Partial(counted, goal[:, None]), *arguments)
    )
    jax.effects_barrier()
    return result, len(CALLS)


def test_once_all_have_succeeded_nothing_is_computed_any_more():
    goal = np.full(B, -1.0, np.float32)
    assert early(goal)[1] == 2
    assert early(goal, early_stop=False)[1] == 2 * RESTARTS
    goal[2] = 1.0
    assert early(goal)[1] == 2 * RESTARTS


def test_each_example_keeps_its_first_success_whatever_the_others_do():
    # the first succeeds at once, others later, the last never
    goal = np.array([-1.0, 0.3, 0.4, 0.45, 0.49, 1.0], np.float32)
    together, _ = early(goal)
    for b in range(B):
        others = np.full_like(goal, -1.0)
        others[b] = goal[b]
        alone, _ = early(others)
        np.testing.assert_array_equal(alone.inputs[b], together.inputs[b])
        np.testing.assert_array_equal(alone.success[b], together.success[b])
    assert together.success[0] and not together.success[-1]
    # the one that nobody stops is the strongest of all its restarts
    everything, _ = early(goal, early_stop=False)
    np.testing.assert_array_equal(everything.inputs[-1], together.inputs[-1])
    assert np.all(everything.loss.max(axis=0) >= together.loss.max(axis=0))


@unchecked()
def test_random_search_keeps_the_worst_of_its_points_and_the_unchanged_example():
    images = np.random.default_rng(0).uniform(-1, 1, (B, 4)).astype(np.float32)
    search = jax.jit(attacks.random_search(50))
    result = jax.tree.map(
        np.asarray, search(Partial(wavy, WEIGHTS), example_keys(B), attacks.linf(), images, RADIUS)
    )
    assert result.loss.shape == (51, B)
    initial_delta, _ = wavy(WEIGHTS, images)
    np.testing.assert_allclose(result.loss[0], initial_delta, atol=1e-5)
    loss, success = wavy(WEIGHTS, result.inputs)
    np.testing.assert_allclose(loss, result.loss.max(axis=0), atol=1e-4)
    np.testing.assert_array_equal(success, result.success)
    assert np.all(np.abs(result.delta).max(axis=1) <= RADIUS)
    # as many different points as samples, and none at radius zero
    assert (
        all(len(np.unique(result.loss[:, b])) == 51 for b in range(1, B))
        and len(np.unique(result.loss[:, 0])) == 1
    )
    for samples in (0, 2.5):
        with pytest.raises(
            ValueError, match=f"num_samples must be a whole number >= 1, got {samples}"
        ):
            attacks.random_search(samples)
