"""Auto-PGD against algorithm 1 of Croce & Hein (2020) in NumPy, one example at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from natra_jax import attacks
from natra_jax.attacks.auto_pgd import checkpoints
from tests.helpers import example_keys, unchecked

B, MANY, N, STEPS = 8, 200, 5, 20


def numpy_checkpoints(num_steps):
    """w_j = ceil(p_j N), in hundredths.

    p_0 = 0, p_1 = 0.22, p_{j+1} = p_j + max(p_j - p_{j-1} - 0.03, 0.06).
    """
    shares = [0, 22]
    while shares[-1] < 100:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 3, 6))
    return [-(-share * num_steps // 100) for share in shares]


def test_the_checkpoints_of_a_hundred_steps_are_the_papers():
    # p = 0.22, 0.41, 0.57, 0.70, 0.80, 0.87, 0.93, 0.99: the differences fall by 0.03 from 0.22
    # down to 0.06
    assert checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]


@pytest.mark.parametrize("num_steps", [0, 1, 2, 7, 20, 40, 50, 1000])
def test_the_checkpoints_follow_their_rule_whatever_the_number_of_steps(num_steps):
    assert checkpoints(num_steps) == sorted(
        {mark for mark in numpy_checkpoints(num_steps) if 0 < mark < num_steps}
    )


TILT = np.array([-1.0, 1.0, 0.0, -1.0, 0.5])


def ripples(parameters, inputs):
    """A badly scaled bowl with ripples.

    The steps oscillate, and many of them lower the loss. Some have a needle at the origin.
    """
    peak, curvature, waves, needle = parameters
    away = inputs - peak
    loss = (-0.5 * curvature * away**2 + 0.3 * jnp.sin(waves * inputs)).sum(axis=1)
    loss += needle * jnp.exp(-1e3 * jnp.square(inputs).sum(axis=1)) * (1 + inputs @ TILT)
    return loss, loss > -1.0


def numpy_ripples(parameters, b, x):
    peak, curvature, waves, needle = (p[b] for p in parameters)
    away, height = x - peak, needle * np.exp(-1e3 * (x @ x))
    loss = (-0.5 * curvature * away**2 + 0.3 * np.sin(waves * x)).sum() + height * (1 + x @ TILT)
    return loss, -curvature * away + 0.3 * waves * np.cos(waves * x) + height * (
        TILT - 2e3 * x * (1 + x @ TILT)
    )


def numpy_auto_pgd(loss_and_gradient, x0, epsilon, rule, num_steps, bounds):
    """The search for one example.

    (the loss at each iterate, best point, halvings by the first condition and by the second alone).
    """

    def project(x):
        if rule == "sign":
            x = np.clip(x, x0 - epsilon, x0 + epsilon)
        elif (length := np.linalg.norm(x - x0)) > epsilon:
            x = x0 + (x - x0) * epsilon / length
        return np.clip(x, *bounds)

    def direction(gradient):
        return np.sign(gradient) if rule == "sign" else gradient / np.linalg.norm(gradient)

    marks = numpy_checkpoints(num_steps)
    eta, x, before = 2 * epsilon, x0, x0
    f, g = loss_and_gradient(x)
    losses, f_max, x_max, g_max = [f], f, x, g
    eta_at_mark, f_max_at_mark, rises, passed, halvings = eta, f_max, 0, 0, np.zeros(2, int)
    for k in range(num_steps):
        z = project(x + eta * direction(g))
        after = z if k == 0 else project(x + 0.75 * (z - x) + 0.25 * (x - before))
        before, x, f_before = x, after, f
        f, g = loss_and_gradient(x)
        losses.append(f)
        rises += f > f_before
        if f > f_max:
            f_max, x_max, g_max = f, x, g
        if k + 1 in marks:
            few = rises < 0.75 * (k + 1 - passed)
            stalled = eta == eta_at_mark and f_max == f_max_at_mark
            eta_at_mark, f_max_at_mark = eta, f_max
            if few or stalled:
                halvings += [few, stalled and not few]
                eta, x, f, g = eta / 2, x_max, f_max, g_max
            rises, passed = 0, k + 1
    return np.array(losses), x_max, halvings


@pytest.mark.parametrize("rule", ["sign", "l2"])
def test_every_iterate_is_that_of_the_papers_algorithm(rule):
    # many, so that both conditions occur, at the first checkpoint too
    rng, shape = np.random.default_rng(0), (MANY, N)
    peak, curvature, waves, needle = (
        rng.normal(size=shape),
        rng.uniform(0.1, 3, shape) ** 3,
        rng.uniform(1, 20, shape),
        np.zeros(MANY),
    )
    images, epsilon, bounds = rng.uniform(-1, 1, shape), rng.uniform(0.05, 1.5, MANY), (-1.25, 1.0)
    # the first starts on the needle and climbs a slope from the second step on: it has stalled by
    # the first checkpoint, while rising
    images[0], curvature[0], waves[0], needle[0] = 0.0, 0.0, 0.3, 100.0
    parameters = peak, curvature, waves, needle
    space = attacks.linf(bounds) if rule == "sign" else attacks.l2(bounds)
    with jax.enable_x64(True):
        search = jax.jit(attacks.auto_pgd(STEPS, rule=rule))
        result = search(Partial(ripples, parameters), example_keys(MANY), space, images, epsilon)
    halvings = np.zeros((MANY, 2), int)
    for b in range(MANY):
        losses, x_max, halvings[b] = numpy_auto_pgd(
            lambda x, b=b: numpy_ripples(parameters, b, x),
            images[b],
            epsilon[b],
            rule,
            STEPS,
            bounds,
        )
        np.testing.assert_allclose(result.loss[:, b], losses, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(result.inputs[b], x_max, rtol=1e-5, atol=1e-5)
    # not at every checkpoint, nor everywhere alike
    assert np.all(halvings.sum(axis=0) > 0) and len(np.unique(halvings.sum(axis=1))) > 1


def badly_scaled(curvature, peak, inputs):
    loss = -(curvature * (inputs - peak) ** 2).sum(axis=1)
    return loss, loss > -0.01


def test_on_a_badly_scaled_problem_auto_pgd_beats_pgd_with_as_many_steps():
    # the steps of pgd stay too long to come near the peak; the halved ones of auto_pgd do not
    rng = np.random.default_rng(0)
    peak = rng.uniform(-0.4, 0.4, (B, N)).astype(np.float32)
    loss_fn = Partial(badly_scaled, np.array([1e-2, 1e-1, 1.0, 10.0, 100.0], np.float32), peak)
    arguments = (
        loss_fn,
        example_keys(B),
        attacks.linf(),
        np.zeros((B, N), np.float32),
        np.full(B, 0.5, np.float32),
    )
    searches = {"pgd": attacks.pgd(STEPS), "auto_pgd": attacks.auto_pgd(STEPS)}
    reached = {
        name: np.asarray(jax.jit(search)(*arguments).loss).max(axis=0)
        for name, search in searches.items()
    }
    assert np.all(reached["auto_pgd"] >= reached["pgd"])
    assert np.mean(reached["auto_pgd"]) > 0.5 * np.mean(reached["pgd"])


def test_a_group_halves_its_step_together():
    # with every input twice, a group of two goes the way of one
    rng = np.random.default_rng(1)
    features = rng.uniform(0.5, 2.0, (3, 4, 2))
    target = features * rng.uniform(0.5, 1.5, (3, 1, 2)) + rng.uniform(-0.5, 0.5, (3, 1, 2))

    def distance(target, inputs):
        loss = -(jnp.array([1.0, 20.0]) * jnp.square(inputs - target)).sum(axis=(1, 2))
        return loss, loss > 0

    def run(group):
        images, targets = np.repeat(features, group, axis=0), np.repeat(target, group, axis=0)
        with jax.enable_x64(True):
            search = jax.jit(attacks.auto_pgd(20))
            arguments = (
                Partial(distance, targets),
                example_keys(3 * group),
                attacks.feature_stats(group),
                images,
                np.full(3 * group, 0.6),
            )
            return jax.tree.map(np.asarray, search(*arguments))

    single, double = run(1), run(2)
    np.testing.assert_allclose(double.loss[:, ::2], single.loss, rtol=1e-9)
    np.testing.assert_allclose(double.inputs[1::2], single.inputs, rtol=1e-9)
    assert np.all(single.loss.max(axis=0) > single.loss[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((-1, "sign"), "num_steps .*-1"),
        ((2.5, "sign"), "num_steps .*2.5"),
        ((3, "gradient"), "rule .*'gradient'"),
    ],
)
@unchecked()
def test_auto_pgd_names_the_argument_it_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        attacks.auto_pgd(options[0], rule=options[1])
