"""The search itself: optima in closed form, its results, its traces, what numbers depend on."""

from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.tree_util import Partial

from natra_jax import attacks
from tests.helpers import (
    example_keys,
    few_examples,
    floats32,
    linear_generator,
    linear_params,
    oblique_directions,
    population_box,
    unchecked,
)

B, S, PIXELS = 4, 3, 4
GENERATOR = linear_generator()
PARAMS = linear_params(GENERATOR)
DIRECTIONS = oblique_directions(GENERATOR, S)
LABELS = np.array([0, 1, 1, 0])


def code_space(**options):
    return attacks.directions(GENERATOR, PARAMS, DIRECTIONS, **options)


def some_codes(seed=0, count=B, spread=2.0):
    return np.random.default_rng(seed).normal(scale=spread, size=(count, 3, 4)).astype(np.float32)


def linear_margin(weights, labels, images):
    logits = images.reshape(len(images), -1) @ weights
    return attacks.margin(logits, labels), attacks.misclassified(logits, labels)


def wavy(weights, inputs):
    """A loss with many maxima."""
    flat = inputs.reshape(len(inputs), -1)
    loss = jnp.sin(3 * flat @ weights).sum(axis=1)
    return loss, loss > 0


def run(search, loss_fn, space, origin, epsilon):
    epsilon = np.broadcast_to(np.asarray(epsilon, np.float32), len(origin))
    return jax.jit(search)(loss_fn, example_keys(len(origin)), space, origin, epsilon)


def margin_gradient_along(weights, labels, units):
    """d margin / d r [B, S] for two classes, in NumPy."""
    towards_wrong = np.array(
        [weights[:, 1 - label] - weights[:, label] for label in labels], np.float64
    )
    steps = DIRECTIONS.vectors * (DIRECTIONS.sigma[:, None, None] if units == "sigma" else 1.0)
    return np.einsum("sld,ldp,bp->bs", steps, PARAMS["layers"].astype(np.float64), towards_wrong)


# closed forms


def test_sign_steps_reach_the_analytic_optimum_along_directions():
    weights = np.random.default_rng(1).normal(size=(PIXELS, 2)).astype(np.float32)
    codes, epsilon = some_codes(), np.array([0.3, 1.0, 2.5, 4.0], np.float32)
    result = run(
        attacks.pgd(7), Partial(linear_margin, weights, LABELS), code_space(), codes, epsilon
    )
    low, high = population_box(codes, DIRECTIONS, 2.0)
    assert np.any(high < epsilon[:, None]) and np.any(high > epsilon[:, None])
    ends = np.maximum(low, -epsilon[:, None]), np.minimum(high, epsilon[:, None])
    optimum = np.where(margin_gradient_along(weights, LABELS, "sigma") > 0, ends[1], ends[0])
    np.testing.assert_allclose(result.delta, optimum, rtol=1e-5, atol=1e-5)


def test_l2_steps_reach_the_analytic_optimum_along_directions():
    weights = np.random.default_rng(2).normal(size=(PIXELS, 2)).astype(np.float32)
    epsilon = np.array([0.0, 0.3, 1.0, 4.0], np.float32)
    space = code_space(norm="l2", units="raw", truncation=None)
    result = run(
        attacks.pgd(5, rule="l2"),
        Partial(linear_margin, weights, LABELS),
        space,
        some_codes(),
        epsilon,
    )
    gradient = margin_gradient_along(weights, LABELS, "raw")
    optimum = epsilon[:, None] * gradient / np.linalg.norm(gradient, axis=1, keepdims=True)
    np.testing.assert_allclose(result.delta, optimum, rtol=1e-5, atol=1e-5)


@few_examples
@given(
    weights=floats32((PIXELS, 2), -2.0, 2.0),
    images=floats32((B, PIXELS), -1.0, 1.0),
    epsilon=floats32((B,), 0.0, 1.5),
)
def test_sign_steps_reach_the_analytic_optimum_in_pixels(weights, images, epsilon):
    result = pixel_search(
        Partial(linear_margin, weights, LABELS), example_keys(B), attacks.linf(), images, epsilon
    )
    gradient = np.array([weights[:, 1 - label] - weights[:, label] for label in LABELS])
    optimum = np.clip(images + epsilon[:, None] * np.sign(gradient), -1, 1)
    np.testing.assert_allclose(result.inputs, optimum, rtol=1e-5, atol=1e-5)


pixel_search = jax.jit(attacks.pgd(4))


@pytest.mark.parametrize("rule", ["sign", "l2", "gradient"])
def test_two_steps_of_every_rule(rule):
    gradient = np.array([[3.0, -4.0], [0.5, 0.0], [0.0, 0.0]], np.float32)
    length = np.array([[5.0], [0.5], [1.0]])
    direction = {"sign": np.sign(gradient), "l2": gradient / length, "gradient": gradient}[rule]
    search = attacks.pgd(2, 0.01, rule=rule)
    result = run(
        search,
        Partial(sloped, gradient),
        attacks.linf((-9.0, 9.0)),
        np.zeros((3, 2), np.float32),
        1.0,
    )
    np.testing.assert_allclose(result.delta, 2 * 0.01 * direction, rtol=1e-5)
    np.testing.assert_allclose(
        result.loss[:, 0], np.arange(3) * 0.01 * (direction[0] @ gradient[0]), rtol=1e-5
    )


def sloped(slopes, inputs):
    """Linear in the inputs, and reached as soon as it is positive."""
    loss = (slopes * inputs).sum(axis=1)
    return loss, loss > 0


def test_the_default_step_crosses_the_ball_whatever_the_radius():
    # from a random start at one side, four steps of 2.5 / 4 of the radius always arrive at the
    # other
    epsilon = np.array([0.01, 0.1, 1.0, 5.0], np.float32)
    search = attacks.pgd(4, random_start=True)
    result = run(
        search,
        Partial(sloped, np.ones((B, 2), np.float32)),
        attacks.linf((-9.0, 9.0)),
        np.zeros((B, 2), np.float32),
        epsilon,
    )
    np.testing.assert_allclose(result.delta, np.stack([epsilon, epsilon], axis=1), rtol=1e-6)
    assert np.all(result.loss[0] < result.loss[-1])


@pytest.mark.parametrize("rule", ["sign", "l2"])
def test_gradients_whose_squares_are_too_small_for_float32_have_a_direction_too(rule):
    # a confident classifier's cross entropy has such gradients
    slopes = np.array([[3.0, -4.0], [3e-30, -4e-30], [0.0, 0.0]], np.float32)
    result = run(
        attacks.pgd(1, 0.1, rule=rule),
        Partial(sloped, slopes),
        attacks.linf(),
        np.zeros((3, 2), np.float32),
        1.0,
    )
    direction = {"sign": [1, -1], "l2": [0.6, -0.8]}[rule]
    np.testing.assert_allclose(
        result.delta, 0.1 * np.array([direction, direction, [0, 0]]), rtol=1e-5
    )


@unchecked()
def test_whole_numbers_will_do_as_radii():
    search = attacks.pgd(2, 0.25)
    arguments = (
        Partial(sloped, np.ones((3, 2), np.float32)),
        example_keys(3),
        attacks.linf((-9.0, 9.0)),
        np.zeros((3, 2), np.float32),
    )
    np.testing.assert_allclose(
        jax.jit(search)(*arguments, np.array([0, 1, 2])).delta[:, 0], [0.0, 0.5, 0.5]
    )


def test_adam_ascends_as_its_formula_says():
    # under a constant gradient g every step of Adam is rate * g / (|g| + 1e-8)
    slopes = np.array([[2.0, -0.5], [0.1, 3.0], [-1.0, 0.25], [4.0, 4.0]], np.float32)
    search = attacks.pgd(5, optax.adam(0.05))
    result = run(search, Partial(sloped, slopes), attacks.linf(), np.zeros((B, 2), np.float32), 0.2)
    np.testing.assert_allclose(result.delta, 0.2 * np.sign(slopes), atol=1e-5)
    expected = np.minimum(0.05 * np.arange(6), 0.2)[:, None] * np.abs(slopes).sum(axis=1)
    np.testing.assert_allclose(result.loss, expected, rtol=1e-4, atol=1e-5)


# what is returned


SEARCHES = {
    "linf, random start": (jax.jit(attacks.pgd(3, 0.4, random_start=True)), code_space()),
    "l2": (jax.jit(attacks.pgd(3, rule="l2")), code_space(norm="l2", units="raw")),
    "pixels, restarts": (jax.jit(attacks.best_of(attacks.pgd(3), 3)), attacks.linf((-8.0, 8.0))),
}


@pytest.mark.parametrize("name", SEARCHES)
@few_examples
@given(
    weights=floats32((PIXELS, 2), -1.0, 1.0),
    seed=st.integers(0, 1000),
    epsilon=floats32((B,), 0.0, 3.0),
)
def test_the_best_iterate_is_returned(name, weights, seed, epsilon):
    search, space = SEARCHES[name]
    origin = some_codes(seed, spread=0.5)
    origin = origin[:, 0] if name.startswith("pixels") else origin
    result = search(Partial(wavy, weights), example_keys(B, seed), space, origin, epsilon)
    assert result.loss.shape == (4, B) and result.success.shape == (B,)
    np.testing.assert_allclose(result.inputs, space.decode(result.center, result.delta), atol=1e-5)
    loss, success = wavy(weights, np.asarray(result.inputs))
    best = np.asarray(result.loss).max(axis=0)
    np.testing.assert_allclose(loss, best, atol=2e-4)
    assert np.all(best >= result.loss[0])
    np.testing.assert_array_equal(result.success, best > 0)


def peaked(peak, inputs):
    """Highest where the input is `peak`; its goal is to pass 0.5."""
    return -jnp.square(inputs - peak).sum(axis=1), (inputs > 0.5).all(axis=1)


def test_the_best_iterate_is_not_the_last():
    # iterates 0, 0.3, 0.6 around peaks at 0.35 and 0.55: the first example's last step overshoots
    result = run(
        attacks.pgd(2, 0.3),
        Partial(peaked, np.array([[0.35], [0.55]])),
        attacks.linf(),
        np.zeros((2, 1), np.float32),
        1.0,
    )
    np.testing.assert_allclose(result.loss[:, 0], [-(0.35**2), -(0.05**2), -(0.25**2)], rtol=1e-5)
    np.testing.assert_allclose(result.delta, [[0.3], [0.6]], rtol=1e-6)
    np.testing.assert_allclose(result.inputs, [[0.3], [0.6]], rtol=1e-6)
    np.testing.assert_array_equal(result.success, [False, True])


def test_no_steps_return_the_start():
    images = np.full((2, 1), 0.25, np.float32)
    result = run(attacks.pgd(0), Partial(peaked, np.ones((2, 1))), attacks.linf(), images, 1.0)
    np.testing.assert_allclose(result.loss, [[-(0.75**2)] * 2])
    np.testing.assert_array_equal(result.inputs, images)
    random = run(
        attacks.pgd(0, random_start=True),
        Partial(peaked, np.ones((2, 1))),
        attacks.linf(),
        images,
        0.5,
    )
    assert np.all(random.inputs != images) and np.all(np.abs(random.delta) <= 0.5)


def nan_inside(low, high, slopes, inputs):
    """The linear loss, undefined between low and high; its gradient stays defined."""
    loss, success = sloped(slopes, inputs)
    hole = (inputs[:, 0] > low) & (inputs[:, 0] < high)
    return loss + jnp.where(hole, jnp.nan, 0.0), success


def test_a_nan_loss_never_wins_over_a_finite_one():
    # iterates 0, 0.2, 0.4: the first example's start has no loss, the second's middle, the
    # third's last
    low, high, best = np.array([-0.1, 0.1, 0.3]), np.array([0.1, 0.3, 0.5]), [[0.4], [0.4], [0.2]]
    loss_fn = Partial(nan_inside, low, high, np.ones((3, 1), np.float32))
    result = run(attacks.pgd(2, 0.2), loss_fn, attacks.linf(), np.zeros((3, 1), np.float32), 1.0)
    np.testing.assert_array_equal(np.isnan(result.loss), np.eye(3))
    np.testing.assert_allclose(result.inputs, best, rtol=1e-6)
    np.testing.assert_allclose(result.delta, best, rtol=1e-6)


def test_a_nan_in_a_restart_does_not_discard_its_finite_iterates():
    # the last of the iterates 0.1, 0.3, 0.5 has no loss
    images = np.full((2, 1), 0.1, np.float32)
    loss_fn = Partial(nan_inside, 0.4, 0.6, np.ones((2, 1), np.float32))
    alone = run(attacks.pgd(2, 0.2), loss_fn, attacks.linf(), images, 1.0)
    np.testing.assert_allclose(alone.inputs, np.full((2, 1), 0.3), rtol=1e-6)
    best = run(attacks.best_of(attacks.pgd(2, 0.2), 1), loss_fn, attacks.linf(), images, 1.0)
    np.testing.assert_array_equal(best.center, images)
    np.testing.assert_array_equal(best.inputs, alone.inputs)


@pytest.mark.parametrize("restarts", [None, 2])
def test_inputs_are_decoded_from_the_origin_even_when_no_loss_is_finite(restarts):
    images = np.full((2, 1), 0.25, np.float32)
    search = (
        attacks.pgd(2, 0.1) if restarts is None else attacks.best_of(attacks.pgd(2, 0.1), restarts)
    )
    loss_fn = Partial(
        lambda worth, x: (x[:, 0] + worth, x[:, 0] > 0), np.array([np.nan, -np.inf], np.float32)
    )
    result = run(search, loss_fn, attacks.linf(), images, 0.5)
    np.testing.assert_array_equal(result.center, images)
    np.testing.assert_allclose(result.inputs, result.center + result.delta, rtol=1e-6)


# restarts


def test_restarts_keep_the_strongest_of_the_single_searches():
    weights = np.random.default_rng(5).normal(size=(2, 2)).astype(np.float32)
    images = np.random.default_rng(6).uniform(-0.5, 0.5, (B, 2)).astype(np.float32)
    arguments = (
        Partial(wavy, weights),
        example_keys(B),
        attacks.linf(),
        images,
        np.full(B, 0.5, np.float32),
    )
    attack = attacks.pgd(3)
    single = jax.jit(attack)
    runs = [single(*arguments, restart=index) for index in range(4)]
    worth = np.stack([np.asarray(run.loss).max(axis=0) for run in runs])
    strength = -np.inf
    for restarts in (1, 4):
        result = jax.jit(attacks.best_of(attack, restarts))(*arguments)
        winner = worth[:restarts].argmax(axis=0)
        for name in ("center", "delta", "inputs", "success"):
            expected = np.stack([np.asarray(getattr(runs[winner[b]], name))[b] for b in range(B)])
            np.testing.assert_allclose(getattr(result, name), expected, atol=1e-5)
        np.testing.assert_allclose(
            result.loss, np.stack([runs[winner[b]].loss[:, b] for b in range(B)], axis=1), atol=1e-5
        )
        assert np.all(np.asarray(result.loss).max(axis=0) >= strength)
        strength = np.asarray(result.loss).max(axis=0)
    # the case is worth its name only if different searches win
    assert len(np.unique(worth.argmax(axis=0))) > 1


def test_restart_zero_starts_at_the_origin_unless_told_otherwise():
    images = np.full((B, 2), 0.1, np.float32)
    arguments = (
        Partial(sloped, np.ones((B, 2), np.float32)),
        example_keys(B),
        attacks.linf(),
        images,
        np.full(B, 0.5, np.float32),
    )
    told, other = jax.jit(attacks.pgd(1)), jax.jit(attacks.pgd(1, random_start=True))
    np.testing.assert_allclose(told(*arguments).loss[0], 0.2, rtol=1e-6)
    assert np.all(np.abs(told(*arguments, restart=1).loss[0] - 0.2) > 1e-4)
    starts = np.stack([other(*arguments, restart=index).loss[0] for index in range(3)])
    assert np.all(np.abs(starts - 0.2) > 1e-4) and len(np.unique(starts)) == starts.size


# groups: neighbouring examples that share one delta


def shared_statistics(group):
    """Features [B, C] become f (1 + s) + m with s and m shared by a group, as AdvBN's are."""

    def spread(delta):
        return jnp.repeat(delta, group, axis=0)

    def init(keys, center, epsilon):
        shape = center.shape[1:]
        draws = jax.vmap(lambda key, e: jax.random.uniform(key, (2, *shape), center.dtype, -e, e))(
            keys[::group], epsilon[::group]
        )
        return {"s": draws[:, 0], "m": draws[:, 1]}

    def project(delta, center, epsilon):
        radius = epsilon[::group, None]
        return jax.tree.map(lambda d: jnp.clip(d, -radius, radius), delta)

    def decode(center, delta):
        return center * (1 + spread(delta["s"])) + spread(delta["m"])

    return attacks.Space(
        Partial(lambda keys, origin: origin),
        Partial(init),
        Partial(project),
        Partial(decode),
        group=group,
    )


def group_conflict(targets, inputs):
    """Neighbours pull the shared delta to different targets, one of them harder."""
    loss = -(jnp.abs(inputs - targets).sum(axis=1) ** 1.5)
    return loss, inputs[:, 0] > 0


def test_a_group_keeps_the_iterate_and_the_restart_with_the_best_mean_loss():
    features = np.random.default_rng(0).normal(size=(6, 2)).astype(np.float32)
    targets = features + np.random.default_rng(1).normal(scale=0.7, size=(6, 2)).astype(np.float32)
    space, loss_fn, attack = (
        shared_statistics(2),
        Partial(group_conflict, targets),
        attacks.pgd(6, 0.25),
    )
    arguments = loss_fn, example_keys(6), space, features, np.ones(6, np.float32)
    single = jax.jit(attack)
    runs = [single(*arguments, restart=index) for index in range(3)]
    worths = []
    for result in (*runs, jax.jit(attacks.best_of(attack, 3))(*arguments)):
        assert {name: d.shape for name, d in result.delta.items()} == {"s": (3, 2), "m": (3, 2)}
        trace = np.asarray(result.loss)
        mean = trace.reshape(7, 3, 2).mean(axis=2)
        best = mean.argmax(axis=0)
        worths.append(mean.max(axis=0))
        loss, success = loss_fn(np.asarray(result.inputs))
        np.testing.assert_allclose(loss, trace[np.repeat(best, 2), np.arange(6)], rtol=1e-4)
        np.testing.assert_array_equal(success, result.success)
        np.testing.assert_allclose(
            result.inputs, space.decode(result.center, result.delta), rtol=1e-5, atol=1e-6
        )
        # the group's best is not its last, and single examples do better elsewhere
        assert np.any(best < 6) and np.any(trace.max(axis=0) > np.asarray(loss) + 1e-3)
    np.testing.assert_allclose(worths[3], np.max(worths[:3], axis=0), rtol=1e-5)


# tracing and compilation


@pytest.mark.parametrize("restarts", [1, 3])
def test_the_loss_is_traced_equally_often_whatever_the_number_of_steps(restarts):
    counts = []
    for num_steps in (2, 5, 20):
        calls = []

        def loss_fn(inputs, calls=calls):
            calls.append(1)
            return sloped(1.0, inputs)

        search = (
            attacks.best_of(attacks.pgd(num_steps), restarts)
            if restarts > 1
            else attacks.pgd(num_steps)
        )
        arguments = jax.eval_shape(lambda: (example_keys(B), jnp.zeros((B, 2)), jnp.ones(B)))
        trace = jax.jit(
            lambda keys, x, e, search=search, loss_fn=loss_fn: search(
                loss_fn, keys, attacks.linf(), x, e
            )
        )
        trace.lower(*arguments)
        counts.append(len(calls))
    assert counts[0] == counts[1] == counts[2] <= 12


def shifted(tree, by):
    return jax.tree.map(lambda leaf: leaf + by, tree)


@pytest.mark.parametrize("make_space", [attacks.linf, code_space])
def test_new_arrays_in_a_space_and_a_loss_do_not_trace_again(make_space):
    seen = SimpleNamespace(search=0, loss=0)

    def loss_fn(weights, inputs):
        seen.loss += 1
        return wavy(weights, inputs)

    @jax.jit
    def search(loss, keys, space, origin, epsilon):
        seen.search += 1
        return attacks.pgd(3)(loss, keys, space, origin, epsilon)

    weights = np.random.default_rng(0).normal(size=(PIXELS, 2)).astype(np.float32)
    space, codes = make_space(), some_codes()
    origin = codes[:, 0] * 0.1 if make_space is attacks.linf else codes
    first = search(
        Partial(loss_fn, weights), example_keys(B), space, origin, np.ones(B, np.float32)
    )
    traced = seen.loss
    other = shifted(space, 0.125)
    second = search(
        Partial(loss_fn, weights * 2), example_keys(B, 1), other, origin, np.ones(B, np.float32) / 2
    )
    assert seen.search == 1 and seen.loss == traced
    # the new arrays were used, not those of the first call
    np.testing.assert_allclose(
        second.inputs, other.decode(second.center, second.delta), rtol=1e-4, atol=1e-4
    )
    assert np.abs(first.loss[0] - second.loss[0]).max() > 1e-3


def test_spaces_made_afresh_in_pixels_do_not_trace_again():
    traces = []

    @jax.jit
    def identity(space):
        traces.append(1)
        return space

    identity(attacks.linf((-1.0, 1.0)))
    identity(attacks.linf((0.0, 2.0)))
    assert len(traces) == 1


def test_a_space_is_a_pytree_whose_group_is_static():
    space = shared_statistics(2)
    passed = jax.jit(lambda space: space)(space)
    assert passed.group == 2 and type(passed.group) is int
    assert (
        jax.tree.structure(passed)
        == jax.tree.structure(space)
        != jax.tree.structure(replace(space, group=3))
    )
    assert jax.tree.leaves(space) == []


def test_the_generators_parameters_are_leaves_of_its_space():
    leaves = jax.tree.leaves(code_space())
    assert all(isinstance(leaf, jax.Array | np.ndarray) for leaf in leaves)
    for parameter in jax.tree.leaves(PARAMS):
        assert any(leaf is parameter for leaf in leaves)


# what the numbers depend on


def test_the_same_keys_give_the_same_numbers_and_other_keys_others():
    weights = np.random.default_rng(0).normal(size=(PIXELS, 2)).astype(np.float32)
    search, space = SEARCHES["linf, random start"]
    arguments = space, some_codes(), np.ones(B, np.float32)
    first, again, other = (
        search(Partial(wavy, weights), example_keys(B, seed), *arguments) for seed in (0, 0, 1)
    )
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert np.all(np.abs(first.delta - other.delta).max(axis=1) > 1e-4)


def test_how_the_batch_is_split_changes_no_example():
    with jax.enable_x64(True):
        weights = np.random.default_rng(0).normal(size=(PIXELS, 2))
        codes, epsilon, keys = (
            some_codes(count=6).astype(np.float64),
            np.linspace(0.0, 2.0, 6),
            example_keys(6),
        )
        space = code_space()
        search = jax.jit(attacks.pgd(3, random_start=True))
        whole = search(Partial(wavy, weights), keys, space, codes, epsilon)
        assert whole.inputs.dtype == np.float64
        for part in (slice(0, 3), slice(3, 6)):
            split = search(Partial(wavy, weights), keys[part], space, codes[part], epsilon[part])
            for name in ("delta", "inputs", "success"):
                np.testing.assert_allclose(
                    getattr(split, name), getattr(whole, name)[part], rtol=1e-9, atol=1e-9
                )
            np.testing.assert_allclose(split.loss, whole.loss[:, part], rtol=1e-9, atol=1e-9)


def test_a_traced_step_size_is_the_number_that_it_is():
    images = np.random.default_rng(6).uniform(-0.5, 0.5, (B, 2)).astype(np.float32)
    weights = np.random.default_rng(7).normal(size=(2, 3)).astype(np.float32)

    def attacked(step_size):
        search = attacks.pgd(3, step_size)
        loss_fn = Partial(wavy, weights)
        return search(
            loss_fn, example_keys(len(images)), attacks.linf(), images, jnp.full(len(images), 0.4)
        ).inputs

    np.testing.assert_array_equal(jax.jit(attacked)(0.1), jax.jit(lambda: attacked(0.1))())


# errors


@unchecked()
def test_pgd_names_the_argument_it_refuses():
    with pytest.raises(ValueError, match="num_steps .*-1"):
        attacks.pgd(-1)
    with pytest.raises(ValueError, match="num_steps .*2.5"):
        attacks.pgd(2.5)
    with pytest.raises(ValueError, match="num_steps .*True"):
        attacks.pgd(True)
    for size in ("0.1", True, np.ma.masked, [0.1, 0.2]):
        with pytest.raises(ValueError, match="step_size must be None or one number, .* got "):
            attacks.pgd(3, size)
    with pytest.raises(ValueError, match="rule .*'newton'"):
        attacks.pgd(3, rule="newton")
    with pytest.raises(ValueError, match="rule 'gradient' needs a step_size"):
        attacks.pgd(3, rule="gradient")
    for step_size in (-0.1, float("nan"), float("inf"), 2.0**128):
        with pytest.raises(ValueError, match="step_size must be >= 0 and finite, got "):
            attacks.pgd(3, step_size)
    with pytest.raises(
        ValueError, match="decay must be None where step_size is an optax transformation, got 0.9"
    ):
        attacks.pgd(3, optax.adam(0.1), decay=0.9)


@pytest.mark.parametrize("restarts", [0, -2])
def test_best_of_refuses_fewer_than_one_restart(restarts):
    with pytest.raises(ValueError, match=f"restarts .*{restarts}"):
        attacks.best_of(attacks.pgd(1), restarts)
