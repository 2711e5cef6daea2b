"""Kept perturbations: a search that goes on where the example's last one ended."""

import jax
import numpy as np
import pytest
from jax.tree_util import Partial

from natra_jax import attacks
from natra_jax.methods import natra
from natra_jax.training.parallel import compile_step
from tests.helpers import linear_generator, linear_params, oblique_directions
from tests.methods import made
from tests.training import small

N, S, RADIUS, STEP = 60, 2, 0.8, 0.3
GENERATOR = linear_generator(3, 4)
PARAMS, DIRECTIONS = linear_params(GENERATOR), oblique_directions(GENERATOR, S)
RNG = np.random.default_rng(0)
CODES = (DIRECTIONS.mean + 0.3 * RNG.normal(size=(N, 3, 4))).astype(np.float32)
LABELS = RNG.integers(0, 2, N)
WEIGHTS = RNG.normal(size=(4, 2)).astype(np.float32)


def linear(weights, images):
    return images.reshape(len(images), -1) @ weights


def persistent(redraw):
    space = attacks.directions(GENERATOR, PARAMS, DIRECTIONS, truncation=None)
    inner = natra.Inner(attacks.pgd(1, STEP, draw="corner"), 4, "margin", natra.Kept(S, redraw))
    return natra.natra_oa(space, inner, num_classes=2, epsilon=RADIUS)


def visit(method, delta, seed):
    batch = {"label": LABELS, "codes": CODES, "delta": delta}
    keys = jax.random.split(jax.random.key(seed), N)
    run = jax.jit(lambda method, *rest: method.vary(Partial(linear, WEIGHTS), *rest))
    return jax.tree.map(np.asarray, run(method, keys, batch, np.zeros(N, np.float32)))


def test_one_step_a_visit_reaches_the_worst_point_within_the_visits_that_a_corner_needs():
    # the margin of a linear classifier of two classes has one gradient everywhere, so that each
    # visit brings every coordinate a step nearer to the worst corner
    moves = np.einsum(
        "sld,ldp->sp", DIRECTIONS.sigma[:, None, None] * DIRECTIONS.vectors, PARAMS["layers"]
    )
    slopes = (moves @ (WEIGHTS[:, 1] - WEIGHTS[:, 0])) * np.where(LABELS == 0, 1, -1)[:, None]
    worst = RADIUS * np.sign(slopes)
    method, delta = persistent(0.0), np.full((N, S), np.nan, np.float32)
    needed = int(np.ceil(2 * RADIUS / STEP))
    reached = []
    for seed in range(needed):
        delta = visit(method, delta, seed).delta
        reached.append(np.isclose(delta, worst, atol=1e-5).all(1).mean())
    assert reached[-1] == 1 and reached[0] < 0.6
    assert reached == sorted(reached)


def test_redraws_come_with_their_probability_and_else_the_perturbation_stays():
    # a step of 0 stays where it starts
    space = attacks.directions(GENERATOR, PARAMS, DIRECTIONS, truncation=None)
    inner = natra.Inner(attacks.pgd(0, draw="corner"), 1, "margin", natra.Kept(S, 0.3))
    method = natra.natra_oa(space, inner, num_classes=2, epsilon=RADIUS)
    kept = np.full((N, S), 0.1, np.float32)
    stays = np.stack([(visit(method, kept, s).delta == kept).all(1) for s in range(40)])
    assert abs(stays.mean() - 0.7) < 0.03
    first = visit(method, np.full((N, S), np.nan, np.float32), 0).delta
    np.testing.assert_allclose(np.abs(first), RADIUS, rtol=1e-6)


PERSISTENT = {"natra__start": "persistent", "natra__draw": "corner", "natra__num_steps": 1}


def trained(steps, devices=1, mode="auto", dtype=np.float64, begin=None):
    """The state after so many steps of natra that keeps its perturbations."""
    import optax

    optimizer = optax.adamw(1e-2, eps=1e-6)
    method = made.method("natra", dtype=dtype, **PERSISTENT)
    fresh = small.state(optimizer, "group", dtype)
    state = fresh._replace(delta=np.full((small.NUM_EXAMPLES, method.kept), np.nan, dtype))
    state = state if begin is None else begin
    step = compile_step(small.step_maker(optimizer, "group"), jax.devices()[:devices], mode)
    for i in range(int(state.step), steps):
        state, _ = step(method, state, made.batch(small.batch_at(i)["index"], None, dtype))
    return state


def arrays(state):
    return jax.tree.map(np.asarray, state._replace(key=jax.random.key_data(state.key)))


def test_perturbations_of_unseen_examples_stay_and_those_of_the_batch_are_inside():
    with jax.enable_x64(True):
        state = arrays(trained(1))
    seen = np.isin(np.arange(small.NUM_EXAMPLES), small.batch_at(0)["index"])
    assert np.isnan(state.delta[~seen]).all() and 0 < seen.sum() < len(seen)
    assert np.all(np.abs(state.delta[seen]) <= small.EPSILON_MAX + 1e-6)


@pytest.mark.parametrize(("devices", "mode"), [(2, "pmap"), (4, "shard_map")])
def test_several_devices_keep_the_same_perturbations(devices, mode):
    with jax.enable_x64(True):
        alone, state = arrays(trained(3)), arrays(trained(3, devices, mode))
    np.testing.assert_allclose(state.delta, alone.delta, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(state.epsilon, alone.epsilon)


def test_the_config_says_what_is_kept():
    assert made.method("natra", **PERSISTENT).kept == len(small.latent().directions.sigma)
    assert made.method("natra").kept is None
    assert made.method("natra+advbn", **PERSISTENT).kept is not None
    one_step = made.method("natra", **PERSISTENT)
    assert one_step.passes <= 1.5 * made.method("random").passes
