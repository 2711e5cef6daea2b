"""Spaces: what is inside, what projection does, where random starts lie, against NumPy."""

from dataclasses import replace
from functools import partial

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from natra_jax import attacks
from tests.helpers import (
    example_keys,
    few_examples,
    floats32,
    linear_generator,
    linear_images,
    linear_params,
    oblique_directions,
    population_box,
)

B, S = 4, 3
GENERATOR = linear_generator()
PARAMS = linear_params(GENERATOR)
DIRECTIONS = oblique_directions(GENERATOR, S)
LIMITED = DIRECTIONS._replace(useful=np.array([0.5, np.inf, 1.25]))
KINDS = [
    ("linf", "sigma", 2.0, DIRECTIONS),
    ("l2", "sigma", 2.0, DIRECTIONS),
    ("linf", "raw", 1.5, DIRECTIONS),
    ("l2", "raw", 1.5, DIRECTIONS),
    ("linf", "sigma", None, DIRECTIONS),
    ("l2", "raw", None, DIRECTIONS),
    ("linf", "sigma", 2.0, LIMITED),
    ("linf", "raw", 1.5, LIMITED),
    ("l2", "raw", None, LIMITED),
]
every_kind = pytest.mark.parametrize(("norm", "units", "truncation", "directions"), KINDS)
codes_near_and_far = floats32((B, 3, 4), -20.0, 20.0)
radii = floats32((B,), 0.0, 5.0)

project = jax.jit(lambda space, delta, center, epsilon: space.project(delta, center, epsilon))
anchor = jax.jit(lambda space, keys, origin: space.anchor(keys, origin))
initial_delta = jax.jit(lambda space, keys, center, epsilon: space.init(keys, center, epsilon))


def code_space(norm, units, truncation, directions=DIRECTIONS):
    return attacks.directions(
        GENERATOR, PARAMS, directions, truncation=truncation, norm=norm, units=units
    )


def assert_inside(r, codes, epsilon, norm, units, truncation, directions, tolerance=3e-5):
    r = np.asarray(r, np.float64)
    low, high = population_box(codes, directions, truncation, units)
    length = np.abs(r).max(axis=1) if norm == "linf" else np.sqrt(np.square(r).sum(axis=1))
    assert np.all(length <= epsilon * (1 + 1e-6))
    assert np.all(r >= low - tolerance) and np.all(r <= high + tolerance)


def numpy_projection(r, codes, epsilon, norm, units, truncation, directions):
    r = np.array(r, np.float64)
    low, high = population_box(codes, directions, truncation, units)
    for b, radius in enumerate(epsilon):
        if norm == "linf":
            r[b] = np.minimum(np.maximum(r[b], -radius), radius)
        elif np.linalg.norm(r[b]) > radius:
            r[b] *= radius / np.linalg.norm(r[b])
    return np.minimum(np.maximum(r, low), high)


@every_kind
@few_examples
@given(codes=codes_near_and_far, r=floats32((B, S), -10.0, 10.0), epsilon=radii)
def test_projection_onto_directions_agrees_with_numpy(
    norm, units, truncation, directions, codes, r, epsilon
):
    space = code_space(norm, units, truncation, directions)
    center = anchor(space, example_keys(B), codes)
    once = project(space, r, center, epsilon)
    np.testing.assert_allclose(
        once, numpy_projection(r, codes, epsilon, norm, units, truncation, directions), atol=3e-5
    )
    assert_inside(once, codes, epsilon, norm, units, truncation, directions)
    np.testing.assert_allclose(project(space, once, center, epsilon), once, rtol=1e-6, atol=0)


@every_kind
@few_examples
@given(codes=codes_near_and_far, r=floats32((B, S), -10.0, 10.0), epsilon=radii)
def test_no_move_along_directions_is_inside_wherever_the_example_lies(
    norm, units, truncation, directions, codes, r, epsilon
):
    space = code_space(norm, units, truncation, directions)
    center = anchor(space, example_keys(B), codes)
    np.testing.assert_array_equal(project(space, np.zeros_like(r), center, epsilon), 0)
    # the length of a shorter r is 0 in float32
    np.testing.assert_allclose(project(space, r, center, np.zeros_like(epsilon)), 0, atol=1e-19)


@pytest.mark.parametrize(("norm", "units"), [("linf", "sigma"), ("l2", "raw")])
def test_random_starts_along_directions_fill_the_ball_and_lie_inside(norm, units):
    # the first half stands in the middle of the population with a ball that the box does not cut,
    # the second anywhere
    half, radius, truncation = 4000, 0.5, 2.0
    rng = np.random.default_rng(0)
    codes = np.concatenate(
        [np.broadcast_to(DIRECTIONS.mean, (half, 3, 4)), rng.normal(scale=4, size=(half, 3, 4))]
    ).astype(np.float32)
    epsilon = np.concatenate(
        [np.full(half, radius), np.maximum(0, rng.uniform(-1, 5, half))]
    ).astype(np.float32)
    space = code_space(norm, units, truncation)
    r = np.asarray(
        initial_delta(
            space, example_keys(2 * half), anchor(space, example_keys(2 * half), codes), epsilon
        ),
        np.float64,
    )
    some = slice(half - 200, half + 400)
    assert_inside(r[some], codes[some], epsilon[some], norm, units, truncation, DIRECTIONS)
    np.testing.assert_array_equal(r[epsilon == 0], 0)
    free = r[:half]
    np.testing.assert_allclose(free.mean(axis=0), 0, atol=0.03)
    # variance of a coordinate of a uniform point: of the cube 1/3, of the ball in S dimensions
    # 1/(S + 2)
    np.testing.assert_allclose(
        free.var(axis=0), radius**2 * (1 / 3 if norm == "linf" else 1 / (S + 2)), rtol=0.08
    )
    assert len(np.unique(free)) > 0.99 * free.size


@pytest.mark.parametrize(("norm", "units"), [("linf", "sigma"), ("l2", "raw")])
def test_random_starts_stay_in_useful_ranges_and_fill_them(norm, units):
    count, truncation = 2000, 2.0
    codes = np.random.default_rng(0).normal(scale=2, size=(count, 3, 4)).astype(np.float32)
    epsilon = np.full(count, 6.0, np.float32)
    center = anchor(code_space(norm, units, truncation), example_keys(count), codes)
    r = np.asarray(
        initial_delta(
            code_space(norm, units, truncation, LIMITED), example_keys(count), center, epsilon
        ),
        np.float64,
    )
    assert_inside(r[:300], codes[:300], epsilon[:300], norm, units, truncation, LIMITED)
    reach = LIMITED.useful * (LIMITED.sigma if units == "raw" else 1)
    for s in (0, 2):
        assert r[:, s].min() < -0.9 * reach[s] and r[:, s].max() > 0.9 * reach[s]
    assert np.abs(r[:, 1]).max() > 2
    none = code_space(norm, units, truncation, LIMITED._replace(useful=np.zeros(S)))
    np.testing.assert_array_equal(initial_delta(none, example_keys(count), center, epsilon), 0)


def test_the_box_reaches_the_far_end_of_the_population_but_not_beyond():
    steps = (DIRECTIONS.sigma[:, None, None] * DIRECTIONS.vectors).reshape(S, -1)
    inside, outside = np.array([1.0, -1.5, 0.0]), np.array([5.0, -3.0, 1.0])
    codes = (
        (DIRECTIONS.mean.ravel() + np.stack([inside, outside]) @ steps)
        .reshape(2, 3, 4)
        .astype(np.float32)
    )
    space = code_space("linf", "sigma", 2.0)
    center = anchor(space, example_keys(2), codes)
    np.testing.assert_allclose(center.coordinates, [inside, outside], atol=1e-5)
    epsilon = np.full(2, 4.0, np.float32)
    highest = project(space, np.full((2, S), 100.0, np.float32), center, epsilon)
    lowest = project(space, np.full((2, S), -100.0, np.float32), center, epsilon)
    np.testing.assert_allclose(highest, [[1.0, 3.5, 2.0], [0.0, 4.0, 1.0]], atol=1e-5)
    np.testing.assert_allclose(lowest, [[-3.0, -0.5, -2.0], [-4.0, 0.0, -3.0]], atol=1e-5)


@pytest.mark.parametrize("units", ["sigma", "raw"])
def test_decoding_moves_the_codes_and_their_coordinates_by_r(units):
    rng = np.random.default_rng(3)
    codes, r = (
        rng.normal(size=(B, 3, 4)).astype(np.float32),
        rng.normal(size=(B, S)).astype(np.float32),
    )
    moved = codes.astype(np.float64)
    for b in range(B):
        for s in range(S):
            moved[b] += (
                r[b, s] * (DIRECTIONS.sigma[s] if units == "sigma" else 1.0) * DIRECTIONS.vectors[s]
            )
    space = code_space("linf", units, None)
    center = anchor(space, example_keys(B), codes)
    np.testing.assert_allclose(space.decode(center, r), linear_images(PARAMS, moved), atol=1e-5)
    after = anchor(space, example_keys(B), moved.astype(np.float32))
    np.testing.assert_allclose(after.coordinates - center.coordinates, r, atol=1e-5)


def test_layers_below_the_first_that_moves_are_computed_at_the_anchor_alone():
    splits = []

    def head(params, codes, l):
        splits.append(("head", l))
        return GENERATOR.head(params, codes, l)

    def tail(params, features, codes, l):
        splits.append(("tail", l))
        return GENERATOR.tail(params, features, codes, l)

    directions = oblique_directions(GENERATOR, S, first_layer=2)
    space = attacks.directions(replace(GENERATOR, head=head, tail=tail), PARAMS, directions)
    codes = np.ones((B, 3, 4), np.float32)
    center = space.anchor(example_keys(B), codes)
    assert splits == [("head", 2)]
    images = space.decode(center, np.zeros((B, S), np.float32))
    assert splits == [("head", 2), ("tail", 2)]
    np.testing.assert_allclose(images, linear_images(PARAMS, codes), atol=1e-5)


def brightness(images):
    return images.sum(axis=(1, 2, 3)), images[:, 0, 0, 0] > 0


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_radius_zero_along_directions_returns_the_example_itself(norm):
    # eighths of integers: the images are exact, whatever the order of summation
    codes = (np.random.default_rng(0).integers(-40, 41, (B, 3, 4)) / 8).astype(np.float32)
    search = partial(attacks.pgd(2), brightness)
    result = jax.jit(search)(
        example_keys(B), code_space(norm, "sigma", 2.0), codes, np.zeros(B, np.float32)
    )
    np.testing.assert_array_equal(result.delta, 0)
    np.testing.assert_array_equal(result.inputs, linear_images(PARAMS, codes))


@few_examples
@given(
    images=floats32((B, 3), -1.0, 1.0),
    delta=floats32((B, 3), -3.0, 3.0),
    epsilon=floats32((B,), 0.0, 2.5),
    bounds=st.sampled_from([(-1.0, 1.0), (-1.25, 1.5), (-2.117904, 2.64)]),
)
def test_pixel_projection_agrees_with_numpy(images, delta, epsilon, bounds):
    low, high = bounds
    space = attacks.linf(bounds)
    once = np.asarray(project(space, delta, images, epsilon))
    x, d, e = (
        images.astype(np.float64),
        delta.astype(np.float64),
        epsilon.astype(np.float64)[:, None],
    )
    expected = np.clip(x + np.minimum(np.maximum(d, -e), e), low, high) - x
    np.testing.assert_allclose(once, expected, atol=1e-6)
    assert np.all(np.abs(once) <= e + 1e-6)
    moved = np.asarray(space.decode(images, once))
    assert np.all(moved >= low - 1e-6) and np.all(moved <= high + 1e-6)
    np.testing.assert_allclose(project(space, once, images, epsilon), once, atol=1e-6)
    np.testing.assert_array_equal(project(space, delta, images, np.zeros_like(epsilon)), 0)
    np.testing.assert_array_equal(project(space, np.zeros_like(delta), images, epsilon), 0)


@pytest.mark.parametrize("bounds", [(0.0, 1.0), (-1.0, 1.0)])
def test_projected_pixels_never_leave_the_usual_bounds_even_by_rounding(bounds):
    low, high = bounds
    rng = np.random.default_rng(0)
    images = rng.uniform(low, high, (50, 400)).astype(np.float32)
    far = np.where(rng.random(images.shape) < 0.5, -3, 3).astype(np.float32)
    space = attacks.linf(bounds)
    moved = np.asarray(
        space.decode(images, project(space, far, images, np.full(50, 3.0, np.float32)))
    )
    assert moved.min() == low and moved.max() == high


def test_no_move_in_pixels_is_inside_even_when_the_image_is_out_of_bounds():
    # generators do not clip their images; "delta = 0 means unchanged and lies inside every Space"
    images = np.array([[1.25, 0.0, -1.5]], np.float32)
    np.testing.assert_array_equal(
        project(
            attacks.linf((-1.0, 1.0)), np.zeros_like(images), images, np.array([0.5], np.float32)
        ),
        0,
    )


@few_examples
@given(
    images=floats32((B, 3), -1.0, 1.0),
    epsilon=floats32((B,), 0.0, 2.5),
    seed=st.integers(0, 2**31 - 1),
)
def test_random_starts_in_pixels_lie_in_the_ball_and_projected_in_bounds(images, epsilon, seed):
    space = attacks.linf()
    delta = initial_delta(space, example_keys(B, seed), images, epsilon)
    assert np.all(np.abs(delta) <= epsilon[:, None])
    projected = project(space, delta, images, epsilon)
    assert np.all(np.abs(projected) <= epsilon[:, None] + 1e-6)
    assert np.all(np.abs(images + projected) <= 1 + 1e-6)


def test_random_starts_in_pixels_fill_the_ball():
    epsilon = np.array([0.1, 2.0], np.float32)
    delta = np.asarray(
        initial_delta(attacks.linf(), example_keys(2), np.zeros((2, 5000), np.float32), epsilon),
        np.float64,
    )
    np.testing.assert_allclose(delta.mean(axis=1) / epsilon, 0, atol=0.05)
    np.testing.assert_allclose(delta.var(axis=1), epsilon**2 / 3, rtol=0.08)


def test_directions_names_the_argument_it_refuses():
    with pytest.raises(ValueError, match="norm .*'l1'"):
        attacks.directions(GENERATOR, PARAMS, DIRECTIONS, norm="l1")
    with pytest.raises(ValueError, match="units .*'pixels'"):
        attacks.directions(GENERATOR, PARAMS, DIRECTIONS, units="pixels")
    for useful in (-1.0, np.nan):
        with pytest.raises(ValueError, match="useful must be at least 0"):
            attacks.directions(
                GENERATOR, PARAMS, DIRECTIONS._replace(useful=np.array([1.0, useful, np.inf]))
            )


@pytest.mark.parametrize("shape", [(3, 2, 4), (3, 3, 5), (0, 3, 4)])
def test_directions_refuses_vectors_of_another_shape(shape):
    directions = DIRECTIONS._replace(
        vectors=np.zeros(shape), sigma=np.ones(shape[0]), mask=np.ones(shape[:2], bool)
    )
    with pytest.raises(ValueError, match=r"vectors must be \[S, 3, 4\]"):
        attacks.directions(GENERATOR, PARAMS, directions)
