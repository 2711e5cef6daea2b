"""What every search promises in every Space, in one table.

Float64, against decoders and losses in NumPy.

Examples 0 and 1 have radius zero, 2 is constant, and no input gets 5 classified as its label.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.tree_util import Partial

from natra_jax import attacks
from tests.helpers import (
    example_keys,
    linear_generator,
    linear_images,
    linear_params,
    oblique_directions,
    population_box,
    two_layer,
    two_layer_weights,
)

B, S, TRUNCATION = 6, 3, 1.5
GENERATOR = linear_generator()
PARAMS = linear_params(GENERATOR)
DIRECTIONS = oblique_directions(GENERATOR, S)
REPLACED = np.array([False, True, True])
LABELS = np.array([0, 1, 0, 1, 0, 2])
EPSILON = np.array([0.0, 0.0, 0.2, 0.4, 0.6, 0.8])
NONE = np.zeros(B)  # what is wrong with the logits
NEVER = np.array([0.0, 0.0, -50.0])  # added to the logits: nothing is of the last class

SEARCHES = {
    "pgd, sign": attacks.pgd(4),
    "pgd, l2": attacks.pgd(4, rule="l2"),
    "pgd, gradient": attacks.pgd(4, 0.1, rule="gradient"),
    "pgd, adam": attacks.pgd(4, optax.adam(0.1)),
    "pgd, decay": attacks.pgd(4, decay=0.9),
    "auto_pgd, sign": attacks.auto_pgd(8),
    "auto_pgd, l2": attacks.auto_pgd(8, rule="l2"),
    "best_of": attacks.best_of(attacks.pgd(3), 3),
    "best_of, early stop": attacks.best_of(attacks.auto_pgd(3), 3, early_stop=True),
    "per_direction": attacks.per_direction(attacks.pgd(3)),
    "random_search": attacks.random_search(4),
}


@dataclass(frozen=True)
class Place:
    """A Space with examples to attack, and what NumPy says of a result there."""

    make: Callable[[], attacks.Space]
    draw: Callable[[np.random.Generator], Any]  # the origin
    decode: Callable[[Any, attacks.AttackResult], np.ndarray]  # (origin, result) -> inputs
    length: Callable[
        [Any, attacks.AttackResult], np.ndarray
    ]  # of each delta [B // group], to be within epsilon
    fixed: bool = True  # whether delta = 0 is the origin itself


def flat(x):
    return np.asarray(x).reshape(len(x), -1)


def largest(origin, result):
    return np.max(
        [np.abs(flat(leaf)).max(axis=1) for leaf in jax.tree.leaves(result.delta)], axis=0
    )


def euclidean(origin, result):
    return np.linalg.norm(flat(result.delta), axis=1)


def draw_images(rng):
    images = rng.uniform(-1, 1, (B, 2, 2, 1))
    images[2] = 0.25
    return images


def added(images, result):
    assert np.all(np.abs(result.inputs) <= 1)
    return images + result.delta


def draw_codes(rng):
    codes = rng.normal(scale=1.5, size=(B, 3, 4))
    codes[2] = 0.0
    return codes


def moved_along(units):
    def decode(codes, result):
        low, high = population_box(codes, DIRECTIONS, TRUNCATION, units)
        assert np.all(result.delta >= low - 1e-9) and np.all(result.delta <= high + 1e-9)
        steps = DIRECTIONS.vectors * (DIRECTIONS.sigma[:, None, None] if units == "sigma" else 1.0)
        return linear_images(PARAMS, codes + np.einsum("bs,sld->bld", result.delta, steps))

    return decode


def in_directions(norm, units):
    def make():
        return attacks.directions(
            GENERATOR, PARAMS, DIRECTIONS, truncation=TRUNCATION, norm=norm, units=units
        )

    return Place(make, draw_codes, moved_along(units), largest if norm == "linf" else euclidean)


def draw_codes_and_others(rng):
    return draw_codes(rng), rng.normal(size=(B, 2, 3, 4))


def mixed(origin, result):
    codes = origin[0] if isinstance(origin, tuple) else origin
    mixed = np.array(result.center.codes)
    np.testing.assert_array_equal(mixed[:, ~REPLACED], codes[:, ~REPLACED])
    mixed[:, REPLACED] += result.delta
    return linear_images(PARAMS, mixed)


def mixture(source, draw):
    return Place(
        lambda: attacks.mixing(GENERATOR, PARAMS, REPLACED, source=source),
        draw,
        mixed,
        largest,
        fixed=False,
    )


def draw_features(rng):
    features = np.maximum(rng.normal(0.5, 1.0, (B, 2, 2, 2)), 0)
    features[2] = 0.25
    return features


def statistics(group, relu=True):
    def decode(features, result):
        perturbed = np.empty_like(features)
        for g in range(B // group):
            members = slice(g * group, (g + 1) * group)
            mu = features[members].mean(axis=(0, 1, 2))
            perturbed[members] = (features[members] - mu) * (1 + result.delta.std[g]) + (
                1 + result.delta.mean[g]
            ) * mu
        return np.maximum(perturbed, 0) if relu else perturbed

    return Place(lambda: attacks.feature_stats(group, relu=relu), draw_features, decode, largest)


PLACES = {
    "linf": Place(attacks.linf, draw_images, added, largest),
    "l2": Place(attacks.l2, draw_images, added, euclidean),
    "directions, linf, sigma": in_directions("linf", "sigma"),
    "directions, l2, sigma": in_directions("l2", "sigma"),
    "directions, linf, raw": in_directions("linf", "raw"),
    "directions, l2, raw": in_directions("l2", "raw"),
    "mixing, prior": mixture("prior", draw_codes),
    "mixing, other": mixture("other", draw_codes_and_others),
    "feature_stats": statistics(1),
    "feature_stats, groups": statistics(2),
    "feature_stats, no relu": statistics(2, relu=False),
}

# a cell that is compiled and run costs half a second: these have every Space and every search
CELLS = [
    ("linf", "pgd, sign"),
    ("linf", "pgd, decay"),
    ("linf", "best_of, early stop"),
    ("linf", "random_search"),
    ("l2", "pgd, l2"),
    ("l2", "auto_pgd, l2"),
    ("directions, linf, sigma", "pgd, adam"),
    ("directions, linf, sigma", "auto_pgd, sign"),
    ("directions, linf, sigma", "per_direction"),
    ("directions, linf, sigma", "best_of, early stop"),
    ("directions, l2, sigma", "pgd, gradient"),
    ("directions, linf, raw", "best_of"),
    ("directions, l2, raw", "auto_pgd, l2"),
    ("directions, l2, raw", "per_direction"),
    ("mixing, prior", "best_of"),
    ("mixing, other", "best_of, early stop"),
    ("feature_stats", "auto_pgd, sign"),
    ("feature_stats, groups", "best_of, early stop"),
    ("feature_stats, groups", "auto_pgd, sign"),
    ("feature_stats, no relu", "random_search"),
]
SPLIT = [
    ("directions, linf, sigma", "auto_pgd, sign"),
    ("mixing, prior", "best_of"),
    ("feature_stats, groups", "auto_pgd, sign"),
]


def measured(weights, labels, fault, inputs):
    logits = two_layer(weights, inputs) + NEVER + fault[:, None]
    return attacks.cross_entropy(logits, labels), attacks.misclassified(logits, labels)


def weights_for(inputs, scale=1.0):
    first, second = two_layer_weights(flat(inputs).shape[1], 3, seed=3, dtype=np.float64)
    second[:, 2] = 0.0
    return scale * first, second


def numpy_measured(inputs):
    first, second = weights_for(inputs)
    logits = np.tanh(flat(inputs) @ first) @ second + NEVER
    right = logits[np.arange(len(logits)), LABELS]
    return np.log(np.exp(logits).sum(axis=1)) - right, logits.argmax(axis=1) != LABELS


def taken(tree, indices):
    return jax.tree.map(lambda leaf: leaf[indices], tree)


@cache
def jitted(search_name):
    return jax.jit(SEARCHES[search_name])


def call(cell, rows=slice(None), origin=None, epsilon=EPSILON, fault=NONE):
    """The search of a cell on some of its examples; everything comes back as NumPy arrays."""
    place = PLACES[cell[0]]
    origin = place.draw(np.random.default_rng(5)) if origin is None else origin
    with jax.enable_x64(True):
        space = place.make()
        inputs = jax.eval_shape(lambda: space.decode(*unchanged(space, example_keys(B), origin)))
        loss_fn = Partial(measured, weights_for(np.empty(inputs.shape)), LABELS[rows], fault[rows])
        result = jitted(cell[1])(
            loss_fn, example_keys(B)[rows], space, taken(origin, rows), epsilon[rows]
        )
        return origin, jax.tree.map(np.asarray, result)


def unchanged(space, keys, origin):
    center = space.anchor(keys, origin)
    return center, jax.tree.map(jnp.zeros_like, space.init(keys, center, jnp.zeros(B)))


@cache
def outcome(cell):
    return call(cell)


@pytest.fixture(scope="module", params=CELLS, ids=" in ".join)
def cell(request):
    return request.param


def group_of(cell):
    return PLACES[cell[0]].make().group


def group_mean(cell, losses):
    return losses.reshape(*losses.shape[:-1], -1, group_of(cell)).mean(axis=-1)


def test_what_is_returned_lies_inside_its_radius_and_is_what_numpy_decodes(cell):
    origin, result = outcome(cell)
    place = PLACES[cell[0]]
    assert result.inputs.dtype == np.float64
    assert np.all(place.length(origin, result) <= EPSILON[:: group_of(cell)] * (1 + 1e-12))
    np.testing.assert_allclose(result.inputs, place.decode(origin, result), atol=1e-12)


def test_radius_zero_is_the_identity_and_the_others_move(cell):
    origin, result = outcome(cell)
    zero = EPSILON[:: group_of(cell)] == 0
    for leaf in jax.tree.leaves(result.delta):
        np.testing.assert_array_equal(leaf[zero], 0)
    still = result._replace(delta=jax.tree.map(np.zeros_like, result.delta))
    np.testing.assert_allclose(
        result.inputs[:2], PLACES[cell[0]].decode(origin, still)[:2], atol=1e-12
    )
    assert np.any(PLACES[cell[0]].length(origin, result)[~zero] > 0.01)


def test_the_highest_loss_visited_is_returned_and_it_is_not_below_the_starts(cell):
    origin, result = outcome(cell)
    loss, wrong = numpy_measured(result.inputs)
    np.testing.assert_allclose(
        group_mean(cell, loss), group_mean(cell, result.loss).max(axis=0), rtol=1e-10
    )
    np.testing.assert_array_equal(result.success, wrong)
    assert result.success[5]
    if PLACES[cell[0]].fixed:
        still = result._replace(delta=jax.tree.map(np.zeros_like, result.delta))
        initial_delta, _ = numpy_measured(PLACES[cell[0]].decode(origin, still))
        assert np.all(group_mean(cell, loss) >= group_mean(cell, initial_delta) - 1e-12)
        assert np.any(group_mean(cell, loss) > group_mean(cell, initial_delta) + 1e-3)


def test_no_example_depends_on_its_place_or_on_the_others(cell):
    origin, whole = outcome(cell)
    # the last of the groups come first, and others stand where they stood
    rows = np.array([4, 5, 2, 3, 2, 3])
    _, moved = call(cell, rows, origin)
    assert_same(cell, whole, moved, rows)


@pytest.mark.parametrize("cell", SPLIT, ids=" in ".join, scope="function")
def test_how_the_batch_is_split_changes_no_number(cell):
    origin, whole = outcome(cell)
    for rows in ([2, 3], [4, 5]):
        _, part = call(cell, np.array(rows), origin)
        assert_same(cell, whole, part, rows)


def test_where_logits_are_nan_a_finite_point_of_the_set_comes_back_and_is_counted(cell):
    origin, whole = outcome(cell)
    fault = np.where(np.arange(B) == 2, np.nan, 0.0)
    _, result = call(cell, origin=origin, fault=fault)
    place = PLACES[cell[0]]
    assert np.all(place.length(origin, result) <= EPSILON[:: group_of(cell)] * (1 + 1e-12))
    np.testing.assert_allclose(result.inputs, place.decode(origin, result), atol=1e-12)
    # a neighbour of the same group may have NaN for losses where that group went astray
    counted = np.isnan(result.loss).all(axis=0)
    np.testing.assert_array_equal(counted[[0, 1, 2, 4, 5]], np.isnan(fault)[[0, 1, 2, 4, 5]])
    assert_others_same(cell, whole, result)


def test_a_radius_that_is_nan_changes_nothing(cell):
    origin, whole = outcome(cell)
    _, result = call(cell, origin=origin, epsilon=np.where(np.arange(B) == 2, np.nan, EPSILON))
    group = 2 // group_of(cell)
    for leaf in jax.tree.leaves(result.delta):
        np.testing.assert_array_equal(leaf[group], 0)
    np.testing.assert_allclose(result.inputs, PLACES[cell[0]].decode(origin, result), atol=1e-12)
    assert_others_same(cell, whole, result)


def assert_others_same(cell, whole, result):
    """Assert that examples 4 and 5, which share no group with 2, are as they were."""
    part = result._replace(
        delta=taken(result.delta, np.array([4, 5])[:: group_of(cell)] // group_of(cell)),
        inputs=result.inputs[4:],
        loss=result.loss[:, 4:],
        success=result.success[4:],
    )
    assert_same(cell, whole, part, [4, 5])


def assert_same(cell, whole, part, rows):
    rows, groups = np.asarray(rows), np.asarray(rows)[:: group_of(cell)] // group_of(cell)
    for expected, got in zip(
        jax.tree.leaves(taken(whole.delta, groups)), jax.tree.leaves(part.delta), strict=True
    ):
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(part.inputs, whole.inputs[rows], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(part.loss, whole.loss[:, rows], rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(part.success, whole.success[rows])


@pytest.mark.parametrize("name", PLACES)
def test_a_second_call_with_other_arrays_traces_nothing_anew(name):
    place, traced = PLACES[name], []

    def loss_fn(weights, inputs):
        traced.append(1)
        return measured(weights, LABELS, NONE, inputs)

    origin = jax.tree.map(np.float32, place.draw(np.random.default_rng(0)))
    weights = jax.tree.map(
        np.float32, weights_for(np.empty((B, 8 if name.startswith("feature") else 4)))
    )
    for search_name, search in SEARCHES.items():
        if search_name == "per_direction" and not name.startswith("directions"):
            continue
        # traced, not compiled: all of the table at little cost
        trace = jax.jit(search).trace
        shape = trace(
            Partial(loss_fn, weights), example_keys(B), place.make(), origin, EPSILON
        ).out_info
        assert shape.inputs.dtype == np.float32 and shape.success.dtype == bool
        assert shape.loss.shape[1:] == shape.success.shape == shape.inputs.shape[:1] == (B,)
        first = len(traced)
        trace(
            Partial(loss_fn, jax.tree.map(np.negative, weights)),
            example_keys(B, 1),
            place.make(),
            origin,
            EPSILON / 2,
        )
        assert 0 < first == len(traced), search_name
        traced.clear()
