"""The one-call attacks: optima of linear models, what they refuse, and how often they trace."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.tree_util import Partial

from natra_jax import attacks
from tests.helpers import few_examples, floats32, two_layer, two_layer_weights, unchecked

B, SHAPE, PIXELS = 5, (2, 2, 3), 12
KEY = jax.random.key(0)
EPSILON = np.array([0.0, 0.05, 0.1, 0.2, 0.4], np.float32)

LINF = {
    "fgsm": attacks.fgsm,
    "mim": partial(attacks.mim, step_size=None, num_steps=3),
    "linf_pgd": partial(attacks.linf_pgd, step_size=None, num_steps=3, restarts=2, key=KEY),
    "apgd": partial(attacks.apgd, num_steps=3, key=KEY),
}
L2 = {
    "l2_pgd": partial(attacks.l2_pgd, num_steps=4, random_start=False, key=KEY),
    "apgd": partial(attacks.apgd, norm="l2", num_steps=40, key=KEY),
}


def linear(weights, images):
    return images.reshape(len(images), -1) @ weights


def two_classes(seed, low, high):
    """Weights [P, 2] with a pixel that does not count, images, labels, gradients of the margin."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(PIXELS, 2)).astype(np.float32)
    weights[3] = 0.0
    images = rng.uniform(low, high, (B, *SHAPE)).astype(np.float32)
    images[1], images[2, 0] = low, high
    labels = rng.integers(0, 2, B)
    gradient = np.array([weights[:, 1 - label] - weights[:, label] for label in labels], np.float64)
    return weights, images, labels, gradient.reshape(images.shape)


@pytest.mark.parametrize("name", LINF)
def test_the_linf_attacks_reach_the_corner_of_ball_and_bounds_and_keep_images_of_radius_zero(name):
    for seed, bounds in enumerate([(0.0, 1.0), (-1.0, 1.0)]):
        weights, images, labels, gradient = two_classes(seed, *bounds)
        moved = LINF[name](Partial(linear, weights), images, labels, epsilon=EPSILON, bounds=bounds)
        corner = np.clip(images + EPSILON[:, None, None, None] * np.sign(gradient), *bounds)
        counts = gradient != 0
        np.testing.assert_allclose(np.asarray(moved)[counts], corner[counts], atol=1e-5)
        np.testing.assert_array_equal(moved[0], images[0])
        # the bounds cut some pixels and not others
        cut = np.abs(corner - images) < EPSILON[:, None, None, None] - 0.01
        assert np.any(cut[counts]) and not np.all(cut[1:][counts[1:]])


@pytest.mark.parametrize("name", LINF)
def test_targeted_linf_attacks_reach_the_corner_nearest_to_their_target(name):
    weights, images, labels, gradient = two_classes(2, 0.0, 1.0)
    moved = LINF[name](Partial(linear, weights), images, 1 - labels, epsilon=0.1, targeted=True)
    corner = np.clip(images + 0.1 * np.sign(gradient), 0, 1)
    np.testing.assert_allclose(np.asarray(moved)[gradient != 0], corner[gradient != 0], atol=1e-5)


@pytest.mark.parametrize("name", L2)
def test_the_l2_attacks_reach_the_farthest_point_of_the_ball(name):
    weights, images, labels, gradient = two_classes(3, -0.4, 0.4)
    length = np.sqrt(np.square(gradient).sum(axis=(1, 2, 3), keepdims=True))
    # in float64: around its maximum the loss is too flat for float32 to tell points apart that
    # differ by 1e-5
    with jax.enable_x64(True):
        moved = L2[name](
            Partial(linear, weights),
            images.astype(float),
            labels,
            epsilon=EPSILON,
            bounds=(-1.0, 1.0),
        )
    np.testing.assert_allclose(
        moved, images + EPSILON[:, None, None, None] * gradient / length, atol=1e-5
    )


@pytest.mark.parametrize("name", ["fgsm", "l2_pgd"])
@few_examples
@given(
    images=floats32((B, *SHAPE), -1.0, 1.0),
    labels=st.lists(st.integers(0, 2), min_size=B, max_size=B),
    seed=st.integers(0, 9),
)
def test_any_images_stay_in_ball_and_bounds_and_lose_no_loss(name, images, labels, seed):
    # constant images, images on the bounds and labels that are never predicted are among what is
    # drawn
    weights, labels = two_layer_weights(PIXELS, 3, seed), np.array(labels)
    weights[1][:, 2] = 0.0
    loss_of = partial(mean_loss, weights, labels)
    attack = {"fgsm": LINF["fgsm"], "l2_pgd": L2["l2_pgd"]}[name]
    moved = np.asarray(
        attack(Partial(two_layer, weights), images, labels, epsilon=EPSILON, bounds=(-1.0, 1.0))
    )
    assert np.all(moved >= -1) and np.all(moved <= 1)
    moves = (moved - images).reshape(B, -1)
    length = np.abs(moves).max(axis=1) if name == "fgsm" else np.linalg.norm(moves, axis=1)
    assert np.all(length <= EPSILON * (1 + 1e-5) + 1e-6)
    assert np.all(loss_of(moved) >= loss_of(images) - 1e-5)


def mean_loss(weights, labels, images):
    logits = np.tanh(images.reshape(len(images), -1).astype(np.float64) @ weights[0]) @ weights[1]
    return np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(labels)), labels]


def test_one_example_is_a_batch_and_a_key_of_the_older_kind_will_do():
    weights, images, labels, gradient = two_classes(0, 0.0, 1.0)
    attack = partial(attacks.linf_pgd, step_size=0.3, num_steps=1, key=jax.random.PRNGKey(0))
    moved = attack(Partial(linear, weights), images[:1], labels[:1], epsilon=0.1)
    corner = np.clip(images[:1] + 0.1 * np.sign(gradient[:1]), 0, 1)
    np.testing.assert_allclose(
        np.asarray(moved)[gradient[:1] != 0], corner[gradient[:1] != 0], atol=1e-6
    )


@pytest.mark.parametrize("bounds", [(-2.117904, 2.64), (-1.25, 1.5), (0.1, 0.9)])
def test_what_one_attack_returns_lies_within_the_bounds_that_the_next_one_asks_for(bounds):
    # image + delta rounds, and the bounds are no float32 numbers
    weights = np.random.default_rng(0).normal(size=(4000, 2)).astype(np.float32)
    images = np.clip(np.random.default_rng(1).uniform(*bounds, (B, 4000)), *bounds).astype(
        np.float32
    )
    labels = np.zeros(B, int)
    moved = attacks.fgsm(Partial(linear, weights), images, labels, epsilon=10.0, bounds=bounds)
    assert np.asarray(moved).min() >= np.float32(bounds[0]) and np.asarray(
        moved
    ).max() <= np.float32(bounds[1])
    attacks.fgsm(Partial(linear, weights), moved, labels, epsilon=10.0, bounds=bounds)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_precision_images_come_back_as_such_and_near_the_optimum(dtype):
    weights, images, labels, gradient = two_classes(0, 0.0, 1.0)
    images = jnp.asarray(images, dtype)
    moved = attacks.fgsm(Partial(linear, weights), images, labels, epsilon=0.1)
    assert moved.dtype == dtype and float(moved.min()) >= 0 and float(moved.max()) <= 1
    corner = np.clip(np.asarray(images, np.float64) + 0.1 * np.sign(gradient), 0, 1)
    np.testing.assert_allclose(
        np.asarray(moved, np.float64), corner, atol=float(jnp.finfo(dtype).eps)
    )


def test_a_loss_of_scale_free_margins_is_climbed_where_cross_entropy_is_flat():
    # logits so far apart that cross entropy and its gradient are zero in float32
    weights = 1e4 * np.random.default_rng(0).normal(size=(PIXELS, 3)).astype(np.float32)
    images = np.random.default_rng(1).uniform(0.3, 0.7, (B, *SHAPE)).astype(np.float32)
    labels = np.asarray(linear(weights, images)).argmax(axis=1)
    masked = attacks.fgsm(Partial(linear, weights), images, labels, epsilon=0.3)
    np.testing.assert_array_equal(masked, images)
    for loss in ("dlr", "margin"):
        moved = attacks.fgsm(Partial(linear, weights), images, labels, epsilon=0.3, loss=loss)
        assert np.any(np.asarray(linear(weights, np.asarray(moved))).argmax(axis=1) != labels)
        assert np.all(np.abs(np.asarray(moved) - images).max(axis=(1, 2, 3)) > 0.2)


# what classifiers and images there are


@pytest.mark.parametrize("column", [True, False])
def test_one_logit_is_attacked_as_two_classes_by_its_binary_cross_entropy(column):
    weights, images, _, _ = two_classes(0, 0.0, 1.0)
    weight, labels = weights[:, 0], np.array([0, 1, 0, 1, 1])

    def logit(weight, images):
        x = linear(weight, images)
        return x[:, None] if column else x

    wrapped = attacks.binary(Partial(logit, weight))
    x = linear(weight, images).astype(np.float64)
    loss, wrong = attacks.objective(wrapped, labels)(images)
    np.testing.assert_allclose(loss, np.log1p(np.exp(np.where(labels, -x, x))), rtol=1e-5)
    np.testing.assert_array_equal(wrong, (x > 0) != labels)
    moved = attacks.fgsm(wrapped, images, labels, epsilon=0.1)
    sign = np.where(labels, -1, 1)[:, None] * np.sign(weight)
    corner = np.clip(images + 0.1 * sign.reshape(images.shape), 0, 1)
    np.testing.assert_allclose(moved, corner, atol=1e-6)
    with pytest.raises(ValueError, match=r"binary: .* \[B\] or \[B, 1\], got shape \(5, 2\)"):
        attacks.binary(Partial(linear, weights))(images)


def odd_classifiers():
    """Classifiers whose logits, or whose gradients, are not finite for some or all images."""
    third = np.arange(B) == 2

    def one_is_nan(weights, images):
        return jnp.where(third[:, None], jnp.nan, linear(weights, images))

    def overflowing(weights, images):
        return linear(weights * 3e4, images).astype(jnp.float16)

    def half(weights, images):
        return linear(weights.astype(jnp.float16), images.astype(jnp.float16))

    def no_gradient(weights, images):  # a distance, at the place that it is measured from
        apart = jnp.sqrt(jnp.square(images - 0.5).reshape(len(images), -1).sum(axis=1))
        return jnp.stack([apart, 1 - apart], axis=1)

    def nan_once_moved(weights, images):
        logits = linear(weights, images)
        return jnp.where((jnp.abs(images - 0.5) > 0.02).any((1, 2, 3))[:, None], jnp.nan, logits)

    def all_infinite(weights, images):
        return linear(weights, images) * jnp.inf

    return [one_is_nan, overflowing, half, no_gradient, nan_once_moved, all_infinite]


@pytest.mark.parametrize("function", odd_classifiers(), ids=lambda function: function.__name__)
@pytest.mark.parametrize("name", ["fgsm", "linf_pgd", "l2_pgd", "apgd"])
def test_images_come_back_inside_their_set_whatever_the_logits_are(name, function):
    weights = np.random.default_rng(0).normal(size=(PIXELS, 2)).astype(np.float32)
    labels = np.array([0, 1, 0, 1, 1])
    attack = L2[name] if name == "l2_pgd" else LINF[name]
    moved = np.asarray(attack(Partial(function, weights), GOOD, labels, epsilon=EPSILON))
    assert np.isfinite(moved).all() and moved.min() >= 0 and moved.max() <= 1
    length = np.abs(moved - GOOD).reshape(B, -1)
    length = np.linalg.norm(length, axis=1) if name == "l2_pgd" else length.max(axis=1)
    assert np.all(length <= EPSILON * (1 + 1e-5) + 1e-6)


def test_a_random_start_loses_nothing_against_the_image_itself():
    # of 64 small images half are as bad for the classifier as they can be in so few steps
    rng = np.random.default_rng(0)
    weights = two_layer_weights(PIXELS, 3, seed=0)
    weights = (20 * weights[0], weights[1])
    images = rng.uniform(0, 1, (64, *SHAPE)).astype(np.float32)
    labels = rng.integers(0, 3, 64)
    loss_fn = attacks.objective(Partial(two_layer, weights), labels)
    clean, _ = loss_fn(images)
    for attack in (
        partial(attacks.linf_pgd, step_size=1e-4, num_steps=1),
        partial(attacks.l2_pgd, step_size=1e-4, num_steps=1),
        partial(attacks.apgd, num_steps=1),
    ):
        moved = attack(Partial(two_layer, weights), images, labels, epsilon=0.3, key=KEY)
        loss, _ = loss_fn(moved)
        assert np.all(loss >= clean - 1e-5)
        kept = (np.asarray(moved) == images).all(axis=(1, 2, 3))
        assert np.any(kept) and np.any(loss[~kept] > clean[~kept])


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
@pytest.mark.parametrize("name", ["fgsm", "mim", "linf_pgd", "l2_pgd", "apgd"])
def test_half_precision_images_stay_within_epsilon(name, dtype):
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(4 * PIXELS, 3)).astype(np.float32)
    for bounds in ((0.0, 1.0), (-1.0, 1.0), (-2.1179, 2.64)):
        # around zero, too, where numbers are close to each other
        images = (
            rng.uniform(*bounds, (B, 4, *SHAPE))
            * np.array([1, 1e-2, 1e-4, 1e-7])[:, None, None, None]
        )
        images = jnp.asarray(np.clip(images, *bounds), dtype)
        for epsilon in (8 / 255, 0.5, 1e-3):
            moved = ATTACKS[name](
                Partial(linear, weights), images, np.zeros(B, int), epsilon=epsilon, bounds=bounds
            )
            assert moved.dtype == dtype
            apart = np.abs(np.asarray(moved, np.float64) - np.asarray(images, np.float64))
            apart = apart.reshape(B, -1)
            length = np.linalg.norm(apart, axis=1) if name == "l2_pgd" else apart.max(axis=1)
            assert np.all(length <= epsilon * (1 + 1e-6))
            assert epsilon != 8 / 255 or np.all(length > 0.9 * epsilon)


def test_a_traced_radius_or_image_that_is_nan_comes_back_finite():
    weights, images, labels, _ = two_classes(0, 0.0, 1.0)
    for attack in (
        attacks.fgsm,
        partial(attacks.linf_pgd, key=KEY),
        partial(attacks.apgd, key=KEY),
    ):
        traced = jax.jit(partial(attack, Partial(linear, weights), labels=labels))
        for epsilon in (np.nan, -0.1):
            np.testing.assert_array_equal(traced(images, epsilon=epsilon), images)
        moved = np.asarray(
            traced(np.where(np.arange(B)[:, None, None, None] == 1, np.nan, images), epsilon=0.1)
        )
        np.testing.assert_array_equal(moved[1], 0.0)
        assert np.isfinite(moved).all() and np.any(moved[2:] != images[2:])


# tracing


@unchecked()
def test_other_weights_images_labels_radii_bounds_and_keys_trace_nothing_anew():
    traced = []

    def logits_fn(weights, images):
        traced.append(1)
        return linear(weights, images)

    weights, images, labels, gradient = two_classes(0, 0.0, 1.0)
    attack = partial(attacks.linf_pgd, step_size=0.1, num_steps=4)
    attack(Partial(logits_fn, weights), images, labels, epsilon=0.1, key=KEY)
    first = len(traced)
    moved = attack(
        Partial(logits_fn, -weights),
        images,
        1 - labels,
        epsilon=0.2,
        key=jax.random.key(1),
        bounds=(-1.0, 1.0),
    )
    attack(
        Partial(logits_fn, weights),
        images[::-1],
        labels[::-1],
        epsilon=0.3,
        key=KEY,
        step_size=np.float64(0.1),
        num_steps=np.int64(4),
    )
    assert len(traced) == first
    # the second call used what it was given: other weights and other labels are the same
    # gradient, in wider bounds
    corner = np.clip(images + 0.2 * np.sign(gradient), -1, 1)
    np.testing.assert_allclose(np.asarray(moved)[gradient != 0], corner[gradient != 0], atol=1e-6)


def test_inside_jit_the_rest_may_be_known_or_traced():
    weights, images, labels, _ = two_classes(0, 0.0, 1.0)
    attack = partial(attacks.fgsm, Partial(linear, weights))
    expected = attack(images, labels, epsilon=0.1)
    known = [jnp.asarray(x) for x in (images, labels, 2 * labels)]
    np.testing.assert_allclose(
        jax.jit(lambda x: attack(x, known[1], epsilon=0.1))(images), expected, atol=1e-6
    )
    np.testing.assert_allclose(
        jax.jit(lambda y, e: attack(known[0], y, epsilon=e))(labels, 0.1), expected, atol=1e-6
    )
    # what is known is checked while the rest is traced
    with pytest.raises(ValueError, match="fgsm: labels must be in 0..1, got 0 to 2"):
        jax.jit(lambda x: attack(x, known[2], epsilon=0.1)).trace(images)
    with pytest.raises(ValueError, match="fgsm: epsilon must be >= 0"):
        jax.jit(lambda x: attack(x, labels, epsilon=-0.1)).trace(images)


@unchecked()
def test_lists_may_hold_what_is_known_and_what_is_traced():
    weights, images, labels, _ = two_classes(0, 0.0, 1.0)
    attack = partial(attacks.fgsm, Partial(linear, weights), jnp.asarray(images))

    def mixed(label, epsilon):
        return attack([label, *labels[1:]], epsilon=[epsilon] * len(labels))

    found = jax.jit(mixed)(labels[0], 0.1)
    np.testing.assert_allclose(found, attack(labels, epsilon=0.1), atol=1e-6)


# errors


ATTACKS = {
    "fgsm": attacks.fgsm,
    "mim": attacks.mim,
    "linf_pgd": partial(attacks.linf_pgd, key=KEY),
    "l2_pgd": partial(attacks.l2_pgd, key=KEY),
    "apgd": partial(attacks.apgd, key=KEY),
}
GOOD = np.full((B, *SHAPE), 0.5, np.float32)
NAN = np.where(np.arange(B)[:, None, None, None] == 3, np.float32(np.nan), GOOD)
WRONG = {
    "a label too high": (
        {"labels": np.array([0, 1, 2, 3, 0])},
        r"labels must be in 0\.\.2, got 0 to 3",
    ),
    "a label below zero": (
        {"labels": np.array([0, -1, 2, 1, 0])},
        r"labels must be in 0\.\.2, got -1 to 2",
    ),
    "too few labels": (
        {"labels": np.zeros(4, int)},
        r"labels must be int \[B\] = \(5,\), got int64 \(4,\)",
    ),
    "labels beyond 32 bits": (
        {"labels": np.array([0, 2**40, 2, 1, 0])},
        r"labels must be in 0\.\.2, got 0 to 1099511627776",
    ),
    "labels beyond 32 bits in a list": (
        {"labels": [0, 2**32, 2, 1, -(2**40)]},
        r"labels must be in 0\.\.2, got -1099511627776 to 4294967296",
    ),
    "labels beyond all bits": (
        {"labels": [0, 2**70, 2, 1, 0]},
        r"labels must be int \[B\] = \(5,\), got \[0, 1180591620717411303424, 2, 1, 0\]",
    ),
    "labels beyond Python's digits": (
        {"labels": [0, 10**5000, 2, 1, 0]},
        r"labels must be int \[B\] = \(5,\), got <list>",
    ),
    "nothing for labels": ({"labels": None}, r"labels must be int \[B\] = \(5,\), got None"),
    "a text for labels": ({"labels": "ab"}, r"labels must be int \[B\] = \(5,\), got 'ab'"),
    "labels in quotes": (
        {"labels": ["0", "1", "2", "1", "0"]},
        r"labels must be int \[B\] = \(5,\), got \['0', '1'",
    ),
    "texts in an array": (
        {"labels": np.array(["0", "1", "2", "1", "0"])},
        r"labels must be int \[B\] = \(5,\), got <U1 \(5,\)",
    ),
    "labels that are objects": (
        {"labels": np.array([0, 1, 2, 1, 0], object)},
        r"labels must be int \[B\] = \(5,\), got object \(5,\)",
    ),
    "hidden labels": (
        {"labels": np.ma.masked_equal([0, 1, 2, 1, 0], 2)},
        r"labels must be int \[B\] = \(5,\), got masked int64 \(5,\)",
    ),
    "truths for labels": (
        {"labels": np.zeros(5, bool)},
        r"labels must be int \[B\] = \(5,\), got bool \(5,\)",
    ),
    "truths among labels": (
        {"labels": [True, 1, 2, 1, 0]},
        r"labels must be int \[B\] = \(5,\), got \[True, 1",
    ),
    "rows of labels": (
        {"labels": [[0], [1, 2]]},
        r"labels must be int \[B\] = \(5,\), got \[\[0\], \[1, 2\]\]",
    ),
    "nothing for images": ({"images": None}, "images must be floating point .*, got None"),
    "a text for images": ({"images": "ab"}, "images must be floating point .*, got 'ab'"),
    "one number for images": ({"images": 0.5}, r"images must be floating point .*, got float64 \("),
    "images that are objects": (
        {"images": GOOD.astype(object)},
        r"images must be floating point .*, got object \(5, 2, 2, 3\)",
    ),
    "hidden images": (
        {"images": np.ma.masked_invalid(NAN)},
        r"images must be floating point .*, got masked float32 \(5, 2, 2, 3\)",
    ),
    "one-hot labels": (
        {"labels": np.eye(3, dtype=np.float32)[[0, 1, 2, 0, 1]]},
        r"labels must be int .*, got float32 \(5, 3\)",
    ),
    "a NaN": ({"images": NAN}, "images must be finite, but image 3 holds NaN"),
    "infinity": (
        {"images": np.nan_to_num(NAN, nan=np.inf)},
        "images must be finite, but image 3 holds NaN or infinity",
    ),
    "images above the bounds": (
        {"images": 3 * GOOD},
        r"images must lie within bounds \(0\.0, 1\.0\), got 1\.5 to 1\.5: cut them",
    ),
    "images a last digit above the bounds": (
        {"images": np.full((B, *SHAPE), 1.0000001, np.float32)},
        r"images must lie within bounds \(0\.0, 1\.0\), got 1\.00000011.* to 1\.00000011",
    ),
    "images below the bounds": (
        {"images": GOOD, "bounds": (0.6, 1.0)},
        r"images must lie within bounds \(0\.6, 1\.0\), got 0\.5 to 0\.5",
    ),
    "integer images": (
        {"images": np.full((B, *SHAPE), 128, np.uint8)},
        r"images must be floating point .*, got uint8 \(5, 2, 2, 3\)",
    ),
    "no images": (
        {"images": GOOD[:0], "labels": np.zeros(0, int)},
        r"images must be .* B >= 1, got float32 \(0, 2, 2, 3\)",
    ),
    "a negative radius": ({"epsilon": -0.1}, "epsilon must be >= 0 and finite, got -0.1"),
    "one negative radius": (
        {"epsilon": np.array([0.1, 0.1, -0.5, 0.1, 0.1])},
        r"epsilon must be >= 0 and finite, got \[.*-0\.5",
    ),
    "a radius that is no number": ({"epsilon": np.nan}, "epsilon must be >= 0 and finite, got nan"),
    "an infinite radius": ({"epsilon": np.inf}, "epsilon must be >= 0 and finite, got inf"),
    "too few radii": (
        {"epsilon": np.full(4, 0.1)},
        r"epsilon must be a number or \[B\] = \(5,\), got shape \(4,\)",
    ),
    "a radius for each pixel": (
        {"epsilon": 0.1 * GOOD},
        r"epsilon must be a number or .*, got shape \(5, 2, 2, 3\)",
    ),
    "a word for a radius": ({"epsilon": "small"}, r"epsilon must be a number or .*, got 'small'"),
    "a number in quotes": ({"epsilon": "0.1"}, r"epsilon must be a number or .*, got '0\.1'"),
    "numbers in quotes": (
        {"epsilon": ["0.1"] * B},
        r"epsilon must be a number or .*, got \['0\.1'",
    ),
    "truth for a radius": ({"epsilon": True}, "epsilon must be a number or .*, got True"),
    "NumPy's truth": ({"epsilon": np.True_}, "epsilon must be a number or .*, got np.True_"),
    "a hidden radius": ({"epsilon": np.ma.masked}, "epsilon must be a number or .*, got masked"),
    "rows of radii": ({"epsilon": [[0.1], [0.1, 0.2]]}, r"epsilon must be a number or .*, got \["),
    "a radius beyond all floats": (
        {"epsilon": 10**400},
        "epsilon must be a number or .*, got 10{76}[.]{3}$",
    ),
    "a radius beyond Python's digits": (
        {"epsilon": 10**5000},
        "epsilon must be a number or .*, got <int>",
    ),
    "an object": ({"epsilon": object()}, "epsilon must be a number or .*, got <object"),
    "a complex radius": ({"epsilon": 0.1j}, "epsilon must be a number or .*, got 0.1j"),
    "an unknown loss": (
        {"loss": "hinge"},
        "loss must be one of 'ce', 'dlr', 'margin' or a function .*, got 'hinge'",
    ),
    "a list for a loss": ({"loss": ["ce"]}, r"loss must be one of .*, got \['ce'\]"),
    "bounds the wrong way round": (
        {"bounds": (1.0, 0.0)},
        r"bounds must be \(low, high\) with low < high, got \(1\.0, 0\.0\)",
    ),
    "bounds that are texts": (
        {"bounds": ("0", "1")},
        r"bounds must be \(low, high\) with low < high, got \('0', '1'\)",
    ),
    "a bound beyond all floats": (
        {"bounds": (0, 10**400)},
        r"bounds must be \(low, high\) with low < high, got \(0, 10000",
    ),
    "one bound": ({"bounds": 1.0}, r"bounds must be \(low, high\) .*, got 1\.0"),
    "no logits": (
        {"logits_fn": lambda images: images.sum(axis=(1, 2, 3))},
        r"logits_fn must return logits \[5, C\] with C >= 2, got one logit, \(5,\): wrap it as "
        r"attacks.binary\(logits_fn\)",
    ),
    "one logit": (
        {"logits_fn": lambda images: images[:, 0, 0, :1]},
        r"logits_fn must return logits \[5, C\] with C >= 2, got one logit, \(5, 1\): wrap it as "
        r"attacks.binary\(logits_fn\)",
    ),
    "integer logits": (
        {"logits_fn": lambda images: images[:, 0, 0].astype(int)},
        r"logits_fn must return logits \[5, C\] in floating point, got int32",
    ),
    "two outputs": (
        {"logits_fn": lambda images: (images, images)},
        r"logits_fn must return logits \[5, C\], got \(",
    ),
}


def call(attack, logits_fn=None, images=GOOD, labels=(0, 1, 2, 1, 0), **options):
    weights = np.ones((PIXELS, 3), np.float32)
    return attack(logits_fn or Partial(linear, weights), images, labels, **options)


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("wrong", WRONG)
@unchecked()
def test_every_attack_names_itself_the_argument_it_refuses_and_what_it_expected(name, wrong):
    options, message = WRONG[wrong]
    with pytest.raises(ValueError, match=f"^{name}: {message}"):
        call(ATTACKS[name], **options)


@pytest.mark.parametrize(
    ("attack", "options", "message"),
    [
        (
            attacks.apgd,
            {"norm": "l1", "key": KEY},
            "apgd: norm must be one of 'linf', 'l2', got 'l1'",
        ),
        (
            attacks.apgd,
            {"num_steps": -1, "key": KEY},
            "num_steps must be a whole number >= 0, got -1",
        ),
        (attacks.apgd, {"restarts": 0, "key": KEY}, "restarts must be a whole number >= 1, got 0"),
        (
            attacks.linf_pgd,
            {"num_steps": 1.5, "key": KEY},
            "num_steps must be a whole number >= 0, got 1.5",
        ),
        (
            attacks.linf_pgd,
            {"step_size": -0.1, "key": KEY},
            "step_size must be >= 0 and finite, got -0.1",
        ),
        (
            attacks.linf_pgd,
            {"step_size": np.full(B, 0.1), "key": KEY},
            "step_size must be None or one number, .*, got array",
        ),
        (attacks.mim, {"decay": float("nan")}, "decay must be >= 0 and finite, got nan"),
        (
            attacks.mim,
            {"step_size": 10**5000},
            "step_size must be None or one number, .*, got <int>",
        ),
        (attacks.mim, {"decay": "much"}, "decay must be None or one number, got 'much'"),
        (attacks.linf_pgd, {"key": 0}, "linf_pgd: key must be one jax.random.key, got 0"),
        (
            attacks.l2_pgd,
            {"key": jax.random.split(KEY, B)},
            "l2_pgd: key must be one jax.random.key, got Array",
        ),
        (
            attacks.fgsm,
            {"loss": "dlr", "logits_fn": lambda x: x[:, 0, 0, :2], "labels": np.zeros(B, int)},
            r"dlr: .* at least 3 classes, got logits of shape \(5, 2\)",
        ),
    ],
)
@unchecked()
def test_what_only_some_attacks_take_is_refused_by_name_too(attack, options, message):
    with pytest.raises(ValueError, match=message):
        call(attack, **options)
