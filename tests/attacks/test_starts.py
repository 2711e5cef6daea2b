"""Where searches start: kinds of random points, a start that is given, and the residual Space."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from scipy import stats

from natra_jax import attacks
from natra_jax.attacks.search import DRAWS
from tests.helpers import example_keys, unchecked

N, D, EPSILON = 4000, 3, 0.6


def sloped(slopes, inputs):
    loss = (slopes * inputs).sum(axis=1)
    return loss, loss > 0


def run(search, space, epsilon=EPSILON, count=N, **more):
    slopes = np.random.default_rng(1).normal(size=(count, D)).astype(np.float32)
    return search(
        Partial(sloped, slopes),
        example_keys(count),
        space,
        jnp.zeros((count, D)),
        jnp.full(count, epsilon, jnp.float32),
        **more,
    )


def drawn(draw, space):
    return np.asarray(run(attacks.pgd(0, random_start=True, draw=draw), space).delta)


CUBE, BALL = attacks.linf((-9.0, 9.0)), attacks.l2((-9.0, 9.0))


def test_corners_are_corners_and_all_alike():
    delta = drawn("corner", CUBE)
    np.testing.assert_array_equal(np.abs(delta), np.float32(EPSILON))
    _, counts = np.unique(delta > 0, axis=0, return_counts=True)
    assert len(counts) == 2**D and stats.chisquare(counts).pvalue > 1e-3
    # in a ball these are the corners of the cube inside it
    np.testing.assert_allclose(np.abs(drawn("corner", BALL)), EPSILON / D**0.5, rtol=1e-5)


def test_normal_starts_are_standard_normal_draws_projected():
    delta = drawn("normal", CUBE)
    inside = np.abs(delta) < EPSILON
    share = stats.norm.cdf(EPSILON) - stats.norm.cdf(-EPSILON)
    assert abs(inside.mean() - share) < 0.02
    within = stats.truncnorm(-EPSILON, EPSILON)
    assert stats.kstest(delta[inside], within.cdf).pvalue > 1e-3
    # a ball keeps the direction, which is uniform
    delta = drawn("normal", BALL)
    assert np.linalg.norm(delta, axis=1).max() <= EPSILON * (1 + 1e-6)
    np.testing.assert_allclose((delta > 0).mean(0), 0.5, atol=0.03)


@pytest.mark.parametrize("draw", DRAWS)
def test_later_restarts_are_drawn_anew_whatever_the_first_starts_at(draw):
    search = attacks.pgd(0, draw=draw)
    first, second, third = (
        np.asarray(run(search, CUBE, count=50, restart=restart).delta) for restart in range(3)
    )
    np.testing.assert_array_equal(first, 0)
    assert not np.array_equal(second, third) and np.abs(second).max() > 0


@pytest.mark.parametrize("random_start", [False, True])
def test_a_start_that_is_given_is_projected_and_what_is_not_finite_is_drawn(random_start):
    given = np.tile([[0.1, -0.2, 5.0]], (50, 1)).astype(np.float32)
    given[::2] = np.nan
    search = attacks.pgd(0, random_start=random_start, draw="corner")
    delta = np.asarray(run(search, CUBE, count=50, start=given).delta)
    np.testing.assert_allclose(delta[1::2], np.tile([[0.1, -0.2, EPSILON]], (25, 1)), rtol=1e-6)
    np.testing.assert_allclose(np.abs(delta[::2]), EPSILON, rtol=1e-6)
    again = np.asarray(run(search, CUBE, count=50, start=given, restart=1).delta)
    np.testing.assert_allclose(np.abs(again), EPSILON, rtol=1e-6)


SEARCHES = {
    "pgd": attacks.pgd(2),
    "auto_pgd": attacks.auto_pgd(3),
    "best_of": attacks.best_of(attacks.pgd(1), 2),
    "per_direction": attacks.per_direction(attacks.pgd(1)),
    "random_search": attacks.random_search(2),
}


@pytest.mark.parametrize("name", SEARCHES)
def test_no_search_is_weaker_than_the_start_that_it_is_given(name):
    count = 40
    rng = np.random.default_rng(2)
    # on one axis, so that a search along single directions can begin there too
    start = np.zeros((count, D), np.float32)
    start[np.arange(count), rng.integers(0, D, count)] = rng.uniform(-EPSILON, EPSILON, count)
    found = run(SEARCHES[name], CUBE, count=count, start=start)
    slopes = np.random.default_rng(1).normal(size=(count, D)).astype(np.float32)
    at_start = (slopes * start).sum(1)
    assert np.all(np.nanmax(np.asarray(found.loss), 0) >= at_start - 1e-6)


def test_an_unknown_draw_is_refused():
    with pytest.raises(ValueError, match="draw must be one of 'uniform', 'normal', 'corner'"):
        attacks.pgd(1, draw="gaussian")


def lossy(center, delta):
    """A decoder that loses a tenth of the image."""
    return 0.9 * center + delta


def anchored(keys, origin):
    return origin


def test_the_residual_keeps_what_the_decoder_loses():
    pixels = attacks.linf((-9.0, 9.0))
    inner = attacks.Space(
        anchor=Partial(anchored), init=pixels.init, project=pixels.project, decode=Partial(lossy)
    )
    space = attacks.residual(inner)
    images = np.linspace(-1, 1, 6 * D, dtype=np.float32).reshape(6, D)
    keys, radius = example_keys(6), np.full(6, 0.5, np.float32)
    center = space.anchor(keys, (images, images))
    np.testing.assert_allclose(space.decode(center, np.zeros((6, D))), images, atol=1e-6)
    delta = space.init(keys, center, radius)
    np.testing.assert_array_equal(delta, inner.init(keys, images, radius))
    np.testing.assert_allclose(
        space.decode(center, delta), np.clip(images + delta, -1, 1), atol=1e-6
    )
    far = np.full((6, D), 2.0, np.float32)
    np.testing.assert_array_equal(
        space.project(far, center, radius), inner.project(far, images, radius)
    )
    # a Space is an argument of what is jitted
    again = jax.jit(lambda space, keys, origin: space.decode(space.anchor(keys, origin), delta))
    np.testing.assert_allclose(
        again(space, keys, (images, images)), space.decode(center, delta), atol=1e-6
    )


@pytest.mark.parametrize("value", ["False", 1, None, np.zeros(2)])
def test_what_is_neither_true_nor_false_is_refused(value):
    with unchecked():
        for named, build in (
            ("random_start", lambda: attacks.pgd(1, random_start=value)),
            ("random_start", lambda: attacks.auto_pgd(1, random_start=value)),
            ("targeted", lambda: attacks.objective(lambda x: x, np.zeros(1, int), targeted=value)),
        ):
            with pytest.raises(ValueError, match=f"{named} must be True or False, got "):
                build()
