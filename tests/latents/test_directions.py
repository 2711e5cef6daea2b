"""Directions of a population whose factors are known: found, masked, measured, kept apart and put
together.
"""

import dataclasses

import jax
import jaxtyping
import numpy as np
import pytest

from natra_jax.latents import directions
from natra_jax.latents.sefa import sefa
from tests.helpers import linear_generator

L, D, FIRST, STOP = 4, 5, 1, 3
SPREAD = np.array([3.0, 2.0, 1.0])
SIZE = (STOP - FIRST) * D


def factors(count, seed=0):
    """Independent factors [K, 3] of unit variance, no two of the same distribution."""
    rng = np.random.default_rng(seed)
    drawn = [rng.uniform(-1, 1, count), rng.normal(size=count), rng.choice([-1.0, 1.0], count)]
    return np.stack([(x - x.mean()) / x.std() for x in drawn], axis=1)


def true_vectors(seed=1):
    """Orthonormal [3, L, D] that live in layers FIRST to STOP alone."""
    vectors = np.zeros((3, L, D))
    basis = np.linalg.qr(np.random.default_rng(seed).normal(size=(SIZE, 3)))[0]
    vectors[:, FIRST:STOP] = basis.T.reshape(3, STOP - FIRST, D)
    return vectors


def population(count=2000, noise=0.05):
    """Codes [K, L, D] around a mean, moved by the factors; the layers outside FIRST to STOP follow
    the factors too.
    """
    rng = np.random.default_rng(2)
    codes = rng.normal(size=(L, D)) + np.einsum(
        "kf,f,fld->kld", factors(count), SPREAD, true_vectors()
    )
    codes[:, 0] += 5 * factors(count)[:, [0]]
    return (codes + noise * rng.normal(size=codes.shape)).astype(np.float32)


def isometry(generator):
    """Parameters of `linear_generator` under which images are as far from each other as codes."""
    pixels = generator.resolution**2
    matrix = np.linalg.qr(np.random.default_rng(3).normal(size=(pixels, pixels)))[0][: L * D]
    return {
        "constant": np.ones(pixels, np.float32),
        "layers": matrix.reshape(L, D, pixels).astype(np.float32),
    }


def discover(codes, seen, **options):
    settings = {
        "method": "pca",
        "num": 3,
        "layers": (FIRST, STOP),
        "seed": 0,
        "fingerprint": "made-for",
        "dim": 3,
    }
    return directions.discover(codes, seen, **settings | options)


def cosines(found, expected):
    return np.einsum("kld,jld->kj", found, expected)


@pytest.mark.parametrize("regression", ["principal", "whitened"])
@pytest.mark.parametrize("where", ["codes", "activations"])
def test_the_true_directions_are_found_in_the_order_of_their_spread(where, regression):
    codes = population()
    generator = linear_generator(L, D, resolution=5)
    seen = codes[:, FIRST:STOP]
    if where == "activations":
        seen = directions.activations(generator, isometry(generator), codes, (FIRST, STOP))
    found = discover(codes, seen, regression=regression)
    assert found.vectors.shape == (3, L, D) and found.vectors.dtype == np.float32
    np.testing.assert_array_less(0.99, np.abs(np.diag(cosines(found.vectors, true_vectors()))))
    np.testing.assert_allclose(found.sigma, SPREAD, rtol=0.05)


def test_principal_axes_do_not_depend_on_how_the_coordinates_were_stretched():
    codes = population()
    stretched = (
        factors(len(codes))
        * [0.1, 5.0, 1.0]
        @ np.linalg.qr(np.random.default_rng(4).normal(size=(3, 3)))[0]
    )
    principal = discover(codes, stretched, regression="principal")
    np.testing.assert_array_less(0.99, np.abs(np.diag(cosines(principal.vectors, true_vectors()))))
    # while the columns themselves follow the coordinates: the second factor is the widest of them
    whitened = discover(codes, stretched, regression="whitened")
    np.testing.assert_array_less(
        0.99, np.abs(cosines(whitened.vectors, true_vectors())[[0, 1, 2], [1, 2, 0]])
    )


def least_squares(coordinates, codes):
    """U of eq. 11 for columns of coordinates [K, d], normalised, [d, STOP - FIRST, D]."""
    deviations = (codes - codes.mean(0))[:, FIRST:STOP].reshape(len(codes), -1).astype(np.float64)
    fit = np.linalg.lstsq(coordinates, deviations, rcond=None)[0]
    return (fit / np.linalg.norm(fit, axis=1, keepdims=True)).reshape(-1, STOP - FIRST, D)


def test_the_regression_is_eq_11(monkeypatch):
    codes = population(500, noise=0.5)
    tangled = factors(500) @ np.array([[1.0, 0.6, 0.2], [0.0, 1.0, 0.5], [0.3, 0.0, 1.0]])
    tangled -= tangled.mean(0)
    monkeypatch.setattr(directions.reduction, "reduce", lambda *_, **__: tangled.copy())
    each = discover(codes, codes, regression="per_coordinate").vectors
    for j, vector in enumerate(each):
        np.testing.assert_allclose(
            vector[FIRST:STOP], least_squares(tangled[:, [j]], codes)[0], atol=1e-5
        )
    # the joint fit on principal coordinates, up to sign
    principal = tangled @ np.linalg.svd(tangled, full_matrices=False)[2].T
    joint = discover(codes, codes, regression="whitened").vectors[:, FIRST:STOP]
    expected = least_squares(principal, codes)
    signs = np.sign(np.einsum("kld,kld->k", joint, expected))
    np.testing.assert_allclose(joint, signs[:, None, None] * expected, atol=1e-5)


def test_what_is_held_varies_in_nothing_but_the_class_less_part():
    generator = dataclasses.replace(linear_generator(3, 4), class_entries=(0, 3))
    codes = np.random.default_rng(0).normal(size=(50, 3, 4)).astype(np.float32)
    held = directions.hold_class(generator, codes)
    np.testing.assert_array_equal(held[..., [1, 2]], codes[..., [1, 2]])
    np.testing.assert_allclose(
        held[..., [0, 3]], np.broadcast_to(codes[..., [0, 3]].mean(0), (50, 3, 2)), atol=1e-6
    )
    found = directions.discover(
        held, held, method="pca", num=3, layers=(0, 2), seed=0, fingerprint="", dim=4
    )
    assert len(found.names) == 3
    np.testing.assert_allclose(found.vectors[..., [0, 3]], 0, atol=1e-6)
    np.testing.assert_array_equal(directions.hold_class(linear_generator(3, 4), codes), codes)


@pytest.mark.parametrize("regression", directions.REGRESSIONS)
def test_coordinates_that_are_the_factors_lead_to_the_true_directions(regression, monkeypatch):
    codes = population()
    monkeypatch.setattr(
        directions.reduction, "reduce", lambda *_, **__: factors(len(codes)) * [30.0, 2.0, 0.1]
    )
    found = discover(codes, codes, method="umap", regression=regression)
    np.testing.assert_array_less(0.99, np.abs(np.diag(cosines(found.vectors, true_vectors()))))
    np.testing.assert_allclose(found.sigma, SPREAD, rtol=0.05)


@pytest.mark.parametrize("regression", directions.REGRESSIONS)
def test_directions_are_unit_masked_named_and_measured_after_masking(regression):
    codes = population(300, noise=0.3)
    found = discover(codes, codes[:, FIRST:STOP], regression=regression, dim=6, num=4)
    count = len(found.vectors)
    assert 1 <= count <= 4 and found.generator_fingerprint == "made-for"
    np.testing.assert_allclose(np.square(found.vectors).sum((1, 2)), 1, atol=1e-5)
    np.testing.assert_array_equal(found.mask, np.tile([False, True, True, False], (count, 1)))
    assert np.all(found.vectors[:, [0, 3]] == 0)
    assert len(set(found.names)) == count and all(
        "pca" in name and "1-2" in name for name in found.names
    )
    np.testing.assert_allclose(found.mean, codes.mean(0), atol=1e-5)
    projections = [
        [np.sum(code * vector) for code in codes.astype(np.float64)] for vector in found.vectors
    ]
    np.testing.assert_allclose(found.sigma, np.std(projections, axis=1), rtol=1e-4)
    assert np.all(np.isinf(found.useful)) and found.useful.shape == (count,)
    overlap = np.abs(cosines(found.vectors, found.vectors)) - np.eye(count)
    assert overlap.max() <= 0.9 + 1e-5


@pytest.mark.parametrize("regression", directions.REGRESSIONS)
def test_a_population_that_varies_along_one_direction_has_one(regression):
    f = factors(400)
    codes = (1 + f[:, :1, None] * true_vectors()[:1].reshape(1, L, D)).astype(np.float32)
    found = discover(
        codes, f * [3, 2, 1], regression=regression
    )  # coordinates of which two say nothing of the codes
    assert len(found.vectors) == len(found.names) == len(found.sigma) == 1
    assert abs(cosines(found.vectors, true_vectors())[0, 0]) > 0.99


def test_no_more_directions_than_asked_for_and_the_widest_first():
    codes = population()
    few = discover(codes, codes[:, FIRST:STOP], num=2, dim=6)
    many = discover(codes, codes[:, FIRST:STOP], num=6, dim=6)
    assert len(few.vectors) == 2 and len(many.vectors) == 6
    np.testing.assert_array_equal(few.vectors, many.vectors[:2])
    assert np.all(np.diff(many.sigma) <= 1e-6)


@pytest.mark.parametrize("at", [0, STOP - 1, STOP, L])
def test_activations_differ_through_the_moved_layers_alone(at):
    generator = linear_generator(L, D, resolution=3)
    params = {
        "constant": np.ones(9, np.float32),
        "layers": np.random.default_rng(5).normal(size=(L, D, 9)).astype(np.float32),
    }
    codes = population(23)
    seen = directions.activations(generator, params, codes, (FIRST, STOP), at, batch_size=7)
    moved, up_to = np.repeat(codes.mean(0)[None], len(codes), axis=0), at or STOP
    moved[:, FIRST:STOP] = codes[:, FIRST:STOP]
    expected = 1 + np.einsum("kld,ldp->kp", moved[:, :up_to], params["layers"][:up_to])
    np.testing.assert_allclose(seen, expected, rtol=1e-4, atol=1e-4)


def test_activations_of_layers_that_are_not_reached_or_that_would_not_fit_are_refused():
    generator = linear_generator(L, D, resolution=3)
    params = generator.init(jax.random.key(0))
    for at in (FIRST, L + 1):
        with pytest.raises(
            ValueError,
            match=rf"at must be a layer behind the first that moves, in {FIRST + 1}..{L}, got {at}",
        ):
            directions.activations(generator, params, population(5), (FIRST, STOP), at)
    with pytest.raises(ValueError, match="layers must be a range inside 0..4, got 3..2"):
        directions.activations(generator, params, population(5), (3, 2))
    many = np.broadcast_to(np.zeros(1, np.float32), (10**9, L, D))
    with pytest.raises(
        ValueError,
        match="activations of 1000000000 codes after layer 3 are 34 GiB: see an earlier layer",
    ):
        directions.activations(generator, params, many, (FIRST, STOP))
    with pytest.raises(ValueError, match="the codes do not vary in"):
        discover(population(20), np.ones((20, 7)), method="umap")


def white(count=300):
    """Codes [K, 1, D] of which no direction stands out: their sample covariance is the identity."""
    codes = np.random.default_rng(6).normal(size=(count, D))
    codes -= codes.mean(0)
    return (
        np.linalg.solve(np.linalg.cholesky(codes.T @ codes / count), codes.T)
        .T[:, None]
        .astype(np.float32)
    )


def test_among_isotropic_codes_activations_and_weights_tell_directions_that_change_images_most():
    # a generator without a mapping network: one layer of codes, whose activations the regression of
    # eq. 11 starts from
    generator, codes = linear_generator(1, D, resolution=4), white()
    params = {
        "constant": np.ones(16, np.float32),
        "layers": np.random.default_rng(7).normal(size=(1, D, 16)).astype(np.float32),
    }
    _, _, axes = np.linalg.svd(params["layers"][0].T)
    seen = directions.activations(generator, params, codes, (0, 1), at=1)
    from_activations = discover(codes, seen, layers=(0, 1), dim=D, num=D, regression="whitened")
    from_weights = sefa(generator, params, codes, num=D, layers=(0, 1), fingerprint="made-for")
    for found in (from_activations, from_weights):
        np.testing.assert_allclose(np.abs(found.vectors[:, 0] @ axes.T), np.eye(D), atol=1e-3)
        np.testing.assert_allclose(found.sigma, 1, rtol=1e-3)


def test_umap_is_seeded_to_the_bit_and_leads_to_the_factors():
    codes = population(300)
    options = {"method": "umap", "dim": 2, "num": 2, "neighbors": 10}
    found = discover(codes, codes[:, FIRST:STOP], **options)
    again = discover(codes, codes[:, FIRST:STOP], **options)
    np.testing.assert_array_equal(found.vectors, again.vectors)
    np.testing.assert_array_equal(found.sigma, again.sigma)
    assert all("umap" in name for name in found.names)
    # what is found lies where the population varies: all but 2 % of the length is in the span of
    # the factors
    inside = np.linalg.norm(cosines(found.vectors, true_vectors()), axis=1)
    assert len(found.vectors) == 2 and np.all(inside > 0.98)


def test_unknown_methods_regressions_and_layers_are_refused_by_name():
    codes = population(20)
    with pytest.raises(ValueError, match="method must be one of umap, pca, got 'umpa'"):
        discover(codes, codes, method="umpa")
    with pytest.raises(
        ValueError,
        match="regression must be one of principal, whitened, per_coordinate, got 'joint'",
    ):
        discover(codes, codes, regression="joint")
    for layers in ((2, 2), (3, 1), (-1, 2), (0, L + 1)):
        with pytest.raises(
            ValueError,
            match=rf"layers must be a range inside 0..{L}, got {layers[0]}\.\.{layers[1]}",
        ):
            discover(codes, codes, layers=layers)


def residual(codes, vectors):
    """What of the codes' deviations in layers FIRST to STOP the vectors do not span."""
    deviations = (codes - codes.mean(0))[:, FIRST:STOP].reshape(len(codes), -1).astype(float)
    basis = np.linalg.qr(vectors[:, FIRST:STOP].reshape(len(vectors), -1).T)[0]
    return deviations - deviations @ basis @ basis.T


@pytest.mark.parametrize("num", [None, 2, SIZE])
def test_directions_outside_are_orthogonal_to_those_inside_and_take_the_most_of_what_is_left(num):
    codes = population(noise=0.3)
    along = discover(codes, codes[:, FIRST:STOP], num=2)
    out = directions.outside(codes, along, num)
    count = min(2 if num is None else num, SIZE - 2)
    assert (
        out.vectors.shape == (count, L, D)
        and len(out.names) == len(out.sigma) == len(out.useful) == count
    )
    np.testing.assert_allclose(cosines(out.vectors, along.vectors), 0, atol=1e-5)
    np.testing.assert_allclose(cosines(out.vectors, out.vectors), np.eye(count), atol=1e-5)
    np.testing.assert_array_equal(out.mask.any(0), along.mask.any(0))
    assert (
        not out.vectors[:, [0, 3]].any()
        and out.generator_fingerprint == along.generator_fingerprint
    )
    # sigma is the standard deviation of the codes along each, the widest first
    np.testing.assert_allclose(
        out.sigma, np.einsum("kld,jld->kj", codes - codes.mean(0), out.vectors).std(0), rtol=1e-4
    )
    assert np.all(np.diff(out.sigma) < 1e-6)
    np.testing.assert_allclose(out.mean, codes.mean(0), rtol=1e-5)
    # the best linear summary of the rest is its leading principal components
    left = residual(codes, along.vectors)
    variances = np.sort(np.linalg.eigvalsh(left.T @ left / len(left)))[::-1][:count]
    np.testing.assert_allclose(np.square(out.sigma), variances, rtol=1e-3, atol=1e-6)


def test_directions_inside_and_outside_span_all_that_varies():
    codes = population(noise=0.3)
    along = discover(codes, codes[:, FIRST:STOP], num=2)
    out = directions.outside(codes, along, SIZE)
    np.testing.assert_allclose(
        residual(codes, np.concatenate([along.vectors, out.vectors])), 0, atol=1e-4
    )
    assert np.abs(residual(codes, along.vectors)).max() > 0.1


def test_ranges_sought_apart_are_put_together():
    codes = population(noise=0.3)
    parts = [
        discover(codes, codes[:, slice(*layers)], layers=layers, num=2)
        for layers in directions.ranges(((1, 2), (2, 3)))
    ]
    both = directions.concatenate(parts)
    assert (
        both.names
        == parts[0].names + parts[1].names
        == ("pca0_layers1-1", "pca1_layers1-1", "pca0_layers2-2", "pca1_layers2-2")
    )
    np.testing.assert_array_equal(
        both.mask, np.repeat([[False, True, False, False], [False, False, True, False]], 2, axis=0)
    )
    for name in ("vectors", "sigma", "useful"):
        np.testing.assert_array_equal(
            getattr(both, name), np.concatenate([getattr(part, name) for part in parts])
        )
    assert both.generator_fingerprint == "made-for" and both.method == "pca"
    np.testing.assert_array_equal(both.mean, parts[0].mean)


def test_of_ranges_that_overlap_parallel_directions_are_kept_once():
    codes = population()
    wide, narrow = (
        discover(codes, codes[:, slice(*layers)], layers=layers, num=2)
        for layers in ((0, L), (0, 2))
    )
    twice = directions.concatenate(
        [wide, wide._replace(names=("again", "and again"), method="other")]
    )
    assert (
        twice.names == wide.names
        and len(twice.vectors) == len(twice.sigma) == 2
        and twice.method == "pca, other"
    )
    both = directions.concatenate([wide, narrow])
    overlap = np.abs(cosines(both.vectors, both.vectors)) - np.eye(len(both.vectors))
    assert 2 <= len(both.vectors) <= 4 and overlap.max() <= 0.9 + 1e-5


def test_what_does_not_belong_together_is_not_put_together():
    codes = population(100)
    found = discover(codes, codes, num=1)
    other_names = discover(codes, codes, num=2)._replace(names=("pca0_layers1-2", "pca0_layers1-2"))
    for several, complaint in (
        ([], "there are no directions"),
        (
            [found, found._replace(generator_fingerprint="other")],
            "different generators or populations",
        ),
        ([found, found._replace(mean=found.mean + 1)], "different generators or populations"),
        ([found, other_names], "the same name"),
    ):
        with pytest.raises(ValueError, match=f"concatenate: .*{complaint}"):
            directions.concatenate(several)


def test_layers_are_one_range_or_several():
    assert (
        directions.ranges((4, 6))
        == directions.ranges(((4, 6),))
        == directions.ranges([[4, 6]])
        == ((4, 6),)
    )
    assert directions.ranges(((0, 2), (4, 6))) == ((0, 2), (4, 6))
    for wrong in ((), (1,), (1, 2, 3), ((0, 1), 2), (0.5, 1), ((0, 1), (2,)), (True, 2)):
        with pytest.raises(
            ValueError, match=r"layers must be \(first, stop\) or several of these, got"
        ):
            directions.ranges(wrong)


def test_within_classes_what_tells_them_apart_is_gone_and_what_varies_at_one_label_is_left():
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat(np.arange(5), 40))
    between, within = np.eye(12)[[2, 7]].reshape(2, 3, 4)
    codes = (
        9.0 * rng.normal(size=5)[labels][:, None, None] * between
        + rng.normal(size=200)[:, None, None] * within
    )
    codes = (codes + 0.01 * rng.normal(size=codes.shape)).astype(np.float32)
    centred = directions.within_classes(codes, labels)
    assert centred.dtype == codes.dtype
    for label in range(5):
        of_class = labels == label
        np.testing.assert_allclose(centred[of_class].mean(0), codes.mean(0), atol=1e-5)
        moves = np.diff(codes[of_class], axis=0)
        np.testing.assert_allclose(
            np.diff(centred[of_class], axis=0),
            moves,
            atol=1e-5,
            err_msg="differences within a class stay",
        )
    settings = {"method": "pca", "num": 1, "layers": (0, 3), "seed": 0, "fingerprint": "", "dim": 3}
    for population, axis in ((codes, between), (centred, within)):
        found = directions.discover(population, population, **settings)
        assert abs((found.vectors[0] * axis).sum()) > 0.99
    assert found.sigma[0] == pytest.approx(1.0, abs=0.15)


def test_within_classes_of_one_image_each_nothing_varies():
    with pytest.raises(ValueError, match="no class has two images"):
        directions.within_classes(np.zeros((3, 2, 2), np.float32), np.array([4, 0, 9]))


def some(count, value=None):
    codes = np.random.default_rng(0).normal(size=(count, L, D)).astype(np.float32)
    if value is not None:
        codes[:, FIRST] = value
    return codes


def constant(count):
    return np.broadcast_to(some(1), (count, L, D)) + np.zeros((count, 1, 1), np.float32)


IMPOSSIBLE = {
    "no coordinate": (some(20), {"dim": 0}, "dim must be at least 1"),
    "no direction": (some(20), {"num": 0}, "num must be at least 1"),
    "no neighbour": (some(20), {"method": "umap", "neighbors": 1}, "neighbors at least 2"),
    "one code": (some(1), {}, "do not vary in these layers"),
    "two for umap": (some(2), {"method": "umap"}, "umap needs 3 codes at least, got 2"),
    "no code": (some(0), {}, "0 codes, and 0 are seen"),
    "NaN": (some(20, np.nan), {}, "in these layers: there are values that are not finite"),
    "infinity": (some(20, np.inf), {}, "in these layers: there are values that are not finite"),
    "constant": (constant(20), {"method": "umap"}, "do not vary in these layers"),
    "rounding": (constant(20) * (1 + 1e-7 * some(20)), {}, "do not vary in these layers"),
}


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_a_population_or_numbers_without_directions_are_refused(case):
    codes, options, complaint = IMPOSSIBLE[case]
    with pytest.raises(ValueError, match=complaint):
        discover(codes, codes, **options)


def test_what_is_seen_is_finite_and_one_for_each_code():
    # jaxtyping, where it is on, says of unequal numbers itself
    unequal = (ValueError, jaxtyping.TypeCheckError)
    with pytest.raises(ValueError, match="in what is seen of them: there are values that are not"):
        discover(some(20), np.full((20, 5), np.nan))
    with pytest.raises(unequal, match="20 codes, and 19 are seen|Type-check error"):
        discover(some(20), some(19))
    with pytest.raises(unequal, match="20 codes and 19 labels|Type-check error"):
        directions.within_classes(some(20), np.zeros(19, int))
    found = discover(some(20), some(20))
    for codes, num in ((some(20, np.nan), None), (some(20), -1)):
        with pytest.raises(ValueError, match="outside: codes must be finite and num at least 0"):
            directions.outside(codes, found, num)


def test_outside_of_all_that_two_codes_vary_along_there_is_nothing():
    codes = some(2)
    assert directions.outside(codes, discover(codes, codes)).names == ()


@pytest.mark.parametrize("method", ["umap", "pca"])
@pytest.mark.parametrize("count", [3, 5, 17])
def test_of_few_codes_there_are_as_many_directions_as_they_allow(method, count):
    found = discover(some(count), some(count), method=method, dim=16, num=16)
    assert 1 <= len(found.names) <= count - 1
    assert np.isfinite(found.vectors).all() and (found.sigma > 0).all()
