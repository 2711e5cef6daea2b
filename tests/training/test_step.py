"""One update of a classifier.

Whose radius it changes and by what rule, what it trains on, and that it is compiled once.

In float64, so that the variations which a step makes inside can be made again outside, to the last
sign of a gradient.
"""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.tree_util import Partial

from natra_jax.losses import soft_cross_entropy as soft_cross_entropy_of
from natra_jax.training.parallel import compile_step
from natra_jax.training.step import make_step
from natra_jax.types import Method, Variation
from tests.training import small

OPTIMIZER = optax.sgd(0.1)
CLASSIFIER = small.builder("batch")(None)
TRACED: list = []


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


@cache
def method():
    return small.method(np.float64)


@cache
def compiled():
    return compile_step(small.step_maker(OPTIMIZER, "batch", TRACED), jax.devices()[:1])


def ready_state(seed=0):
    """A state in the middle of training.

    Radii of all sizes, BatchNorm statistics away from where they start.
    """
    rng = np.random.default_rng(seed)
    state = small.state(OPTIMIZER, "batch", np.float64)
    statistics = jax.tree.map(lambda x: x + rng.uniform(0.1, 0.5, x.shape), state.batch_stats)
    radii = small.RHO * rng.integers(0, 4, small.NUM_EXAMPLES)
    return state._replace(
        batch_stats=statistics, epsilon=np.minimum(radii, small.EPSILON_MAX), step=np.int32(7)
    )


@jax.jit
def vary(method, state, batch):
    """The variation that a step is to make.

    Keys by (seed, step, example index), running BatchNorm statistics.
    """
    of_step = jax.random.fold_in(state.key, state.step)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(of_step, batch["index"])
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    frozen = Partial(
        lambda variables, images: CLASSIFIER.apply(variables, images, train=False), variables
    )
    return method.vary(frozen, keys, batch, state.epsilon[batch["index"]])


@jax.jit
def running_logits(state, images):
    return CLASSIFIER.apply(
        {"params": state.params, "batch_stats": state.batch_stats}, images, train=False
    )


@jax.jit
def training_pass(state, images):
    """Logits and new statistics of one pass with the batch's own statistics."""
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    return CLASSIFIER.apply(variables, images, train=True, mutable=["batch_stats"])


def soft_cross_entropy(logits, targets):
    shifted = np.asarray(logits) - np.asarray(logits).max(1, keepdims=True)
    return (
        -(np.asarray(targets) * (shifted - np.log(np.exp(shifted).sum(1, keepdims=True))))
        .sum(1)
        .mean()
    )


def contested():
    """A state and a batch with radii of all sizes.

    The classifier holds against some of the attacks and not against others.
    """
    batch = small.batch_at(0, np.float64)
    index = batch["index"]
    epsilon = np.full(small.NUM_EXAMPLES, 0.75)
    epsilon[index] = np.tile([0.0, 0.5, 1.0, small.EPSILON_MAX], 2)
    state = ready_state()._replace(epsilon=epsilon)
    # the labels that the classifier gives to the first variations, and others for the last two
    answers = np.asarray(running_logits(state, vary(method(), state, batch).inputs)).argmax(1)
    batch["label"] = np.where(
        np.arange(len(index)) < 6, answers, (answers + 1) % small.NUM_CLASSES
    ).astype(np.int32)
    variation = jax.tree.map(np.asarray, vary(method(), state, batch))
    held = ~variation.failed
    assert 0 < held.sum() < len(held) and np.any(
        epsilon[index][held] + small.RHO > small.EPSILON_MAX
    )
    return state, batch, variation, held


def test_a_step_changes_the_radii_of_its_batch_alone_and_by_cats_rule():
    state, batch, _, held = contested()
    index, expected = batch["index"], np.array(state.epsilon)
    for place, held_here in zip(index, held, strict=True):
        if held_here:
            expected[place] = min(expected[place] + small.RHO, small.EPSILON_MAX)
    after, metrics = compiled()(method(), state, batch)
    np.testing.assert_array_equal(after.epsilon, expected)
    assert (
        metrics["attack_success"] == 1 - held.mean()
        and metrics["epsilon"] == expected[index].mean()
    )


def test_targets_are_smoothed_by_the_new_radius():
    state, batch, variation, held = contested()
    old = np.array(state.epsilon)[batch["index"]]
    amount = np.minimum(1, small.SMOOTHING * np.minimum(old + small.RHO * held, small.EPSILON_MAX))
    np.testing.assert_allclose(variation.targets.sum(1), 1, atol=1e-12)
    assert np.all(variation.targets >= 0) and np.all(variation.targets.max(1) >= 1 - amount)
    # the same draws under labels that nothing defends: there the radius, and with it the amount,
    # stays
    other = (batch["label"] + 1) % small.NUM_CLASSES
    lost = jax.tree.map(np.asarray, vary(method(), state, batch | {"label": other}))
    compared = 0
    for i in np.flatnonzero(held & lost.failed):
        wrong_in_both = [
            c for c in range(small.NUM_CLASSES) if c not in (batch["label"][i], other[i])
        ]
        mine, theirs = variation.targets[i, wrong_in_both], lost.targets[i, wrong_in_both]
        np.testing.assert_allclose(mine * small.SMOOTHING * old[i], theirs * amount[i], atol=1e-12)
        assert np.all(mine > 0)
        compared += 0 < old[i] < small.EPSILON_MAX
    assert compared > 0


def test_the_attack_leaves_batchnorm_alone_and_the_update_sees_clean_and_varied_images_together():
    state, batch = ready_state(), small.batch_at(0, np.float64)
    variation = vary(method(), state, batch)
    logits, updated = training_pass(state, np.concatenate([batch["image"], variation.inputs]))
    clean, varied = np.split(np.asarray(logits), 2)
    after, metrics = compiled()(method(), state, batch)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9),
        after.batch_stats,
        updated["batch_stats"],
    )
    loss = small.CLEAN_RATIO * soft_cross_entropy(clean, np.eye(small.NUM_CLASSES)[batch["label"]])
    loss += (1 - small.CLEAN_RATIO) * soft_cross_entropy(varied, variation.targets)
    np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-9)
    assert metrics["accuracy"] == (clean.argmax(1) == batch["label"]).mean()


def test_another_batch_and_other_generator_weights_need_no_new_program():
    batch = small.batch_at(0, np.float64)
    first, _ = compiled()(method(), ready_state(), batch)
    traced = len(TRACED)
    assert traced >= 1
    second, _ = compiled()(method(), first, small.batch_at(1, np.float64))
    assert int(second.step) == 9
    # were the weights constants of the program, other weights would change nothing
    other, _ = compiled()(jax.tree.map(lambda x: 1.5 * x, method()), ready_state(), batch)
    again, _ = compiled()(method(), ready_state(), batch)
    assert len(TRACED) == traced
    moved = [
        np.abs(a - b).max()
        for a, b in zip(jax.tree.leaves(other.params), jax.tree.leaves(again.params), strict=True)
    ]
    assert max(moved) > 1e-6


def test_a_step_depends_on_seed_step_and_indices_and_not_on_the_order_of_the_batch():
    batch = small.batch_at(0, np.float64)
    first, _ = compiled()(method(), ready_state(), batch)
    reverse, _ = compiled()(method(), ready_state(), jax.tree.map(lambda x: x[::-1], batch))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12),
        first.params,
        reverse.params,
    )
    np.testing.assert_array_equal(first.epsilon, reverse.epsilon)
    later, _ = compiled()(method(), ready_state()._replace(step=np.int32(8)), batch)
    seeded, _ = compiled()(method(), ready_state()._replace(key=jax.random.key(4)), batch)
    for other in (later, seeded):
        assert (
            max(
                np.abs(a - b).max()
                for a, b in zip(
                    jax.tree.leaves(first.params), jax.tree.leaves(other.params), strict=True
                )
            )
            > 1e-6
        )


GROUPED = small.builder("group")


@jax.jit
def grouped_step(clean_ratio, variation, batch):
    """One step on given variations by a classifier in which no image depends on another.

    Eq. 1 and, of failures only, eq. 7.
    """
    made = Method(
        Partial(lambda variation, *_: variation, variation), passes=0, loss=soft_cross_entropy_of
    )
    state = jax.tree.map(jnp.asarray, small.state(OPTIMIZER, "group", np.float64))

    def after(failures_only):
        step = make_step(
            GROUPED, OPTIMIZER, None, clean_ratio=clean_ratio, failures_only=failures_only
        )
        state_after, metrics = step(made, state, batch)
        return state_after.params, metrics

    logits = GROUPED(None).apply(
        {"params": state.params}, jnp.concatenate([batch["image"], variation.inputs])
    )
    return logits, after(False), after(True)


def given_variations(seed=0):
    rng = np.random.default_rng(seed)
    batch = small.batch_at(0, np.float64)
    images = rng.uniform(-1, 1, batch["image"].shape)
    targets = 0.7 * np.eye(small.NUM_CLASSES)[batch["label"]] + 0.3 * rng.dirichlet(
        np.ones(small.NUM_CLASSES), len(images)
    )
    return batch, Variation(images, targets, np.zeros(len(images)), np.arange(len(images)) % 3 == 0)


@pytest.mark.parametrize("clean_ratio", [0.0, 0.4, 1.0])
def test_the_loss_weighs_clean_images_and_variations_and_of_these_all_or_the_failures(clean_ratio):
    batch, variation = given_variations()
    logits, (_, of_all), (_, of_failures) = grouped_step(clean_ratio, variation, batch)
    clean, varied = np.split(np.asarray(logits), 2)
    of_clean = soft_cross_entropy(clean, np.eye(small.NUM_CLASSES)[batch["label"]])
    losses = np.array(
        [soft_cross_entropy(varied[[i]], variation.targets[[i]]) for i in range(len(varied))]
    )
    np.testing.assert_allclose(
        of_all["loss"], clean_ratio * of_clean + (1 - clean_ratio) * losses.mean(), rtol=1e-9
    )
    # what is right adds nothing: the others do not weigh more for it
    failures = losses[variation.failed].sum() / len(losses)
    np.testing.assert_allclose(
        of_failures["loss"], clean_ratio * of_clean + (1 - clean_ratio) * failures, rtol=1e-9
    )
    assert of_all["attack_success"] == of_failures["attack_success"] == variation.failed.mean()


def change(a, b):
    return max(
        np.abs(x - y).max() for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


def test_of_failures_only_the_update_does_not_depend_on_variations_that_are_right():
    batch, variation = given_variations()
    other = given_variations(1)[1]
    right = ~variation.failed
    moved = variation._replace(
        inputs=np.where(right[:, None, None, None], other.inputs, variation.inputs),
        targets=np.where(right[:, None], other.targets, variation.targets),
    )
    _, (all_before, _), (failures_before, _) = grouped_step(0.4, variation, batch)
    _, (all_after, _), (failures_after, _) = grouped_step(0.4, moved, batch)
    assert change(failures_before, failures_after) < 1e-12 < 1e-4 < change(all_before, all_after)


def test_with_all_weight_on_either_the_update_does_not_depend_on_the_other():
    batch, variation = given_variations()
    other_batch, other = batch | {"image": given_variations(2)[1].inputs}, given_variations(1)[1]
    (clean_only, varied_only) = (
        grouped_step(ratio, variation, batch)[1][0] for ratio in (1.0, 0.0)
    )
    assert change(clean_only, grouped_step(1.0, other, batch)[1][0]) < 1e-12
    assert change(varied_only, grouped_step(0.0, variation, other_batch)[1][0]) < 1e-12
    assert change(clean_only, varied_only) > 1e-4
