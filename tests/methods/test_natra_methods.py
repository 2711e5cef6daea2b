"""natra's searches and losses, its random counterparts, and adv.

Generator and classifier are linear: what is worst has a closed form.
"""

import dataclasses

import jax
import numpy as np
import pytest
from jax.tree_util import Partial
from scipy import stats

from natra_jax.methods import Latent, find
from tests.helpers import linear_generator, linear_images, linear_params, oblique_directions
from tests.methods import made
from tests.training import small

N, CLASSES, S = 300, small.NUM_CLASSES, 2
GENERATOR = linear_generator(3, 4)
PARAMS = linear_params(GENERATOR)
DIRECTIONS = oblique_directions(GENERATOR, S)
STEPS = DIRECTIONS.sigma[:, None, None] * DIRECTIONS.vectors  # one unit of r, [S, L, D]
RNG = np.random.default_rng(0)
CODES = (DIRECTIONS.mean + 0.5 * RNG.normal(size=(N, 3, 4))).astype(np.float32)
LABELS = RNG.integers(0, CLASSES, N)
# logits so small that the highest cross entropy and the highest margin lie in different places
WEIGHTS = (RNG.normal(size=(4, CLASSES)) / 32).astype(np.float32)
RADIUS = 0.8
ENDS = (
    np.array([[0, 0], [1, 1], [1, -1], [-1, 1], [-1, -1]], float) * RADIUS
)  # where a convex loss is highest in the box, or its middle
ON_AXES = (
    np.array([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]], float) * RADIUS
)  # and on one axis at a time


def linear(weights, images):
    return images.reshape(len(images), -1) @ weights


def vary(method):
    keys = jax.random.split(jax.random.key(0), N)
    batch = {
        "image": linear_images(PARAMS, CODES).astype(np.float32),
        "label": LABELS,
        "codes": CODES,
    }
    run = jax.jit(lambda method, *rest: method.vary(Partial(linear, WEIGHTS), *rest))
    return jax.tree.map(np.asarray, run(method, keys, batch, np.zeros(N, np.float32)))


def method(name, **fields):
    """As an experiment's config makes it.

    A fixed radius, no truncation that would cut it, enough restarts to find every corner.
    """
    settings = {
        "natra_oa__epsilon": RADIUS,
        "natra__epsilon_max": RADIUS,
        "natra__truncation": 50.0,
        "natra__num_steps": 2,
        "natra__restarts": 12,
    }
    return made.method(name, Latent(GENERATOR, PARAMS, DIRECTIONS), **(settings | fields))


def images_at(r):
    """r [N, S] or [S] -> images."""
    return linear_images(
        PARAMS, CODES + np.einsum("bs,sld->bld", np.broadcast_to(r, (N, S)), STEPS)
    )


def cross_entropies(images):
    logits = linear(WEIGHTS.astype(np.float64), images)
    return np.log(np.exp(logits).sum(1)) - logits[np.arange(N), LABELS]


def mixed_losses(images, kappa):
    """CAT-MIX: cross entropy + max(margin, -kappa)."""
    logits = linear(WEIGHTS.astype(np.float64), images)
    right = logits[np.arange(N), LABELS]
    wrong = np.where(np.eye(CLASSES, dtype=bool)[LABELS], -np.inf, logits).max(1)
    return cross_entropies(images) + np.maximum(wrong - right, -kappa)


SEARCHES = {
    # what is searched: (the points of which one is worst, the loss)
    ("joint", "ce"): (ENDS, cross_entropies),
    ("joint", "mixed"): (ENDS, lambda images: mixed_losses(images, 0.2)),
    ("per_direction", "ce"): (ON_AXES, cross_entropies),
}


@pytest.mark.parametrize(("search", "loss"), SEARCHES)
def test_the_search_finds_the_worst_point_of_the_loss_that_is_asked_for(search, loss):
    points, measure = SEARCHES[search, loss]
    found = vary(method("natra_oa", natra__search=search, natra__loss=loss, natra__kappa=0.2))
    losses = np.stack([measure(images_at(r)) for r in points])
    np.testing.assert_allclose(measure(found.inputs), losses.max(0), rtol=1e-5)
    np.testing.assert_allclose(
        found.inputs,
        np.stack([images_at(r) for r in points])[losses.argmax(0), np.arange(N)],
        atol=1e-3,
    )
    np.testing.assert_array_equal(found.failed, linear(WEIGHTS, found.inputs).argmax(1) != LABELS)
    np.testing.assert_array_equal(found.targets, np.eye(CLASSES)[LABELS])


def test_the_searches_and_losses_compared_have_different_answers():
    joint, one_at_a_time = (
        np.stack([cross_entropies(images_at(r)) for r in points]) for points in (ENDS, ON_AXES)
    )
    assert np.all(joint.max(0) > one_at_a_time.max(0))
    mixed = np.stack([mixed_losses(images_at(r), 0.2) for r in ENDS])
    assert (mixed.argmax(0) != joint.argmax(0)).mean() > 0.02


def test_the_mixed_loss_of_the_search_is_the_loss_of_the_update():
    natra = method("natra", natra__loss="mixed", natra__kappa=0.2)
    logits = linear(WEIGHTS, images_at(np.zeros(S)).astype(np.float32))
    losses = natra.loss(logits, np.eye(CLASSES, dtype=np.float32)[LABELS], LABELS)
    np.testing.assert_allclose(
        losses, mixed_losses(images_at(np.zeros(S)), 0.2), rtol=1e-4, atol=1e-5
    )
    assert (
        method("natra", natra__loss="mixed").loss
        == method("natra_oa", natra__loss="mixed").loss
        != method("natra").loss
    )


def test_one_search_for_each_direction_costs_as_many_passes_more():
    joint, each = (
        method("natra_oa", natra__search=search, natra__restarts=1).passes
        for search in ("joint", "per_direction")
    )
    training = 6  # forward and backward through a clean and a varied image
    assert joint == 3 * 2 + 1 + training and each == S * (3 * 2 + 1) + training


def coordinates(images):
    """r [N, S] of images_at(r), by least squares."""
    moves = np.einsum("sld,ldp->sp", STEPS, PARAMS["layers"].astype(np.float64))
    moved = (images - images_at(np.zeros(S))).reshape(N, -1)
    r = moved @ np.linalg.pinv(moves)
    np.testing.assert_allclose(r @ moves, moved, atol=1e-3)
    return r


@pytest.mark.parametrize("truncation", [50.0, 0.4])
def test_random_is_uniform_in_natras_largest_set(truncation):
    found = vary(method("random", natra__truncation=truncation, natra_oa__epsilon=9.0))
    steps = STEPS.reshape(S, -1)
    place = (CODES.astype(np.float64) - DIRECTIONS.mean).reshape(N, -1) @ np.linalg.pinv(steps)
    low = np.maximum(-RADIUS, np.minimum(0, -truncation - place))
    high = np.minimum(RADIUS, np.maximum(0, truncation - place))
    share = (coordinates(found.inputs) - low) / (high - low)
    assert share.min() > -1e-3 and share.max() < 1 + 1e-3
    for s in range(S):
        assert stats.kstest(share[:, s], "uniform").pvalue > 0.001
    assert abs(np.corrcoef(share.T)[0, 1]) < 0.2
    np.testing.assert_array_equal(found.failed, linear(WEIGHTS, found.inputs).argmax(1) != LABELS)


def test_random_normal_w_adds_noise_of_unit_variance_to_every_coordinate_of_the_codes():
    generator = linear_generator(3, 4, resolution=4)
    params = linear_params(generator)
    latent = Latent(generator, params, oblique_directions(generator, S))
    noisy = made.method("random", latent, random__kind="normal_w")
    keys = jax.random.split(jax.random.key(0), N)
    weights = np.ones((16, CLASSES), np.float32)
    inputs = jax.jit(noisy.vary)(
        Partial(linear, weights), keys, {"label": LABELS, "codes": CODES}, np.zeros(N, np.float32)
    ).inputs
    matrix = params["layers"].reshape(12, 16).astype(np.float64)
    moved = (np.asarray(inputs, np.float64) - linear_images(params, CODES, 4)).reshape(N, -1)
    noise = moved @ np.linalg.pinv(matrix)
    np.testing.assert_allclose(noise @ matrix, moved, atol=1e-3)
    assert stats.kstest(noise.ravel(), "norm").pvalue > 0.001
    assert np.abs(np.corrcoef(noise.T) - np.eye(12)).max() < 0.25


def test_random_normal_w_leaves_the_class_in_the_codes_alone():
    generator = dataclasses.replace(linear_generator(3, 4, resolution=4), class_entries=(1, 3))
    params = linear_params(generator)
    noisy = made.method(
        "random",
        Latent(generator, params, oblique_directions(generator, S)),
        random__kind="normal_w",
    )
    keys = jax.random.split(jax.random.key(0), N)
    batch = {"label": LABELS, "codes": CODES}
    inputs = jax.jit(noisy.vary)(
        Partial(linear, np.ones((16, CLASSES), np.float32)), keys, batch, np.zeros(N, np.float32)
    ).inputs
    moved = (np.asarray(inputs, np.float64) - linear_images(params, CODES, 4)).reshape(N, -1)
    free = params["layers"][:, [0, 2]].reshape(6, 16).astype(np.float64)
    assert np.abs(moved).max() > 0.1
    np.testing.assert_allclose(moved @ np.linalg.pinv(free) @ free, moved, atol=1e-3)


def test_adv_ends_in_the_corner_of_its_ball_that_the_range_of_images_leaves():
    # of two classes, the gradient's sign is the same everywhere
    c = made.config(adv__epsilon=0.1, adv__step_size=0.05, adv__num_steps=6)
    adv = find("adv").build(c, 2, None)
    images = RNG.uniform(-1, 1, (N, 2, 2, 1)).astype(np.float32)
    labels, weights = LABELS % 2, WEIGHTS[:, :2]
    keys = jax.random.split(jax.random.key(0), N)
    found = jax.jit(adv.vary)(
        Partial(linear, weights),
        keys,
        {"image": images, "label": labels},
        np.full(N, 3, np.float32),
    )
    towards = np.sign(weights[:, 1 - labels] - weights[:, labels]).T.reshape(images.shape)
    np.testing.assert_allclose(found.inputs, np.clip(images + 0.1 * towards, -1, 1), atol=1e-6)
    np.testing.assert_array_equal(found.epsilon, np.full(N, 3))
    np.testing.assert_array_equal(
        found.failed, linear(weights, np.asarray(found.inputs)).argmax(1) != labels
    )


OF_AN_EXPERIMENT = {  # what it may have found to work better
    "natra__num_steps": 1,
    "natra__restarts": 3,
    "natra__start": "persistent",
    "natra__draw": "corner",
    "natra__rule": "sign",
    "natra__step_size": 0.3,
    "natra__rho": 0.9,
    "natra__smoothing": 0.0,
    "natra__smoothed": "update",
    "natra__smoothed_towards": "uniform",
    "natra__search": "per_direction",
    "natra__loss": "mixed",
    "natra__search_loss": "dlr",
    "natra__residual": True,
}


def test_natra_paper_is_natra_with_the_papers_choices_whatever_the_experiments_are():
    own = {"natra_paper__num_steps": 2, "natra_paper__rho": 0.4, "natra_paper__smoothing": 0.1}
    papers = {
        "natra__num_steps": 2,
        "natra__restarts": 1,
        "natra__start": "normal",
        "natra__rho": 0.4,
        "natra__smoothing": 0.1,
    }
    paper, natra = (
        method("natra_paper", **own, **OF_AN_EXPERIMENT),
        method("natra", **papers),
    )
    assert paper.passes == natra.passes
    assert paper.kept is None
    for one, other in zip(*(jax.tree.leaves(vary(m)) for m in (paper, natra)), strict=True):
        np.testing.assert_array_equal(one, other)
    moved = method("natra_paper", **own, natra__epsilon_max=0.25 * RADIUS)
    assert not np.array_equal(vary(moved).inputs, vary(paper).inputs)  # the set is natra's
