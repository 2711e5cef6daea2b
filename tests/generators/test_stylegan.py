"""StyleGAN keeps the laws of a generator; noise, labels, levels of detail, and both ways to
double.
"""

from functools import cache

import jax
import numpy as np
import pytest

from natra_jax.generators import progressive
from natra_jax.generators.stylegan import stylegan
from tests.generators import laws

TINY = {"z_dim": 5, "code_dim": 4, "mapping_layers": 2, "mapping_features": 6}
GENERATOR = stylegan(resolution=8, channels=(4, 3), **TINY)
synthesize = jax.jit(GENERATOR.synthesize, static_argnames="noise")


@cache
def params():
    return laws.random_params(GENERATOR)


@cache
def codes():
    return np.random.default_rng(0).normal(size=(3, 4, 4)).astype(np.float32)


def test_with_embedded_classes_and_fused_doubling_it_keeps_the_laws():
    laws.check(
        stylegan(resolution=8, channels=(4, 3), **TINY, label_dim=3, label_features=2, fused_from=8)
    )


@pytest.mark.slow
def test_unconditional_or_half_grown_it_keeps_the_laws():
    laws.check(GENERATOR, params())
    laws.check(
        stylegan(resolution=16, channels=(4, 3, 2), **TINY, label_dim=3, fused_from=16, lod=0.4)
    )
    laws.check(
        stylegan(resolution=16, channels=(4, 3, 2), **TINY, fused_from=16, lod=1.4), unused=(4, 5)
    )
    laws.check(
        stylegan(resolution=16, channels=(4, 3, 2), **TINY, img_channels=1, lod=1), unused=(4, 5)
    )


def test_layers_above_the_level_of_detail_have_no_parameters_and_their_codes_no_effect():
    generator = stylegan(resolution=16, channels=(4, 3, 2), **TINY, lod=2)
    weights = laws.random_params(generator)
    assert len(weights["synthesis"]["layers"]) == 2 and len(weights["synthesis"]["rgb"]) == 1
    first, second = (
        np.random.default_rng(seed).normal(size=(2, 6, 4)).astype(np.float32) for seed in range(2)
    )
    second[:, :2] = first[:, :2]
    images = np.asarray(jax.jit(generator.synthesize)(weights, first))
    np.testing.assert_array_equal(jax.jit(generator.synthesize)(weights, second), images)
    # four pixels a side, each shown as 4x4
    np.testing.assert_array_equal(images, np.repeat(np.repeat(images[:, ::4, ::4], 4, 1), 4, 2))
    np.testing.assert_array_equal(generator.style(weights, 2), np.zeros((1, 4)))


def test_noise_is_the_stored_one_or_none_or_drawn_for_every_image():
    stored = np.asarray(synthesize(params(), codes()))
    np.testing.assert_array_equal(synthesize(params(), codes(), noise="const"), stored)
    none = np.asarray(synthesize(params(), codes(), noise="none"))
    silent = jax.tree.map(np.copy, params())
    for layer in silent["synthesis"]["layers"]:
        layer["noise"][:] = 0
    np.testing.assert_allclose(synthesize(silent, codes()), none, atol=1e-6)
    same = np.repeat(codes()[:1], 3, axis=0)
    one, again, other = (
        np.asarray(synthesize(params(), same, noise="random", key=jax.random.key(k)))
        for k in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, again)
    pairs = [(stored, none), (one, other), (one[:1], one[1:2]), (one[:1], one[2:])]
    assert all(np.abs(a - b).max() > 1e-2 for a, b in pairs)


def test_noise_that_does_not_exist_or_lacks_a_key_is_refused():
    with pytest.raises(ValueError, match="noise must be 'const', 'none' or 'random', got 'loud'"):
        GENERATOR.synthesize(params(), codes(), noise="loud")
    with pytest.raises(ValueError, match="needs a key"):
        GENERATOR.synthesize(params(), codes(), noise="random")


@pytest.mark.parametrize("side", [3, 16])
def test_doubling_is_by_nearest_neighbour_or_fused_by_a_transposed_convolution_with_four_shifts(
    side,
):
    rng = np.random.default_rng(0)
    x, kernel = (
        rng.normal(size=(2, side, side, 3)).astype(np.float32),
        rng.normal(size=(3, 3, 3, 2)).astype(np.float32),
    )
    scaled = kernel * np.sqrt(2 / 27)
    doubled = np.pad(x.repeat(2, 1).repeat(2, 2), ((0, 0), (1, 1), (1, 1), (0, 0)))
    expected = sum(
        doubled[:, a : a + 2 * side, b : b + 2 * side] @ scaled[a, b]
        for a in range(3)
        for b in range(3)
    )
    np.testing.assert_allclose(
        progressive.convolve_up(x, kernel, fused=False), expected, rtol=1e-4, atol=1e-5
    )
    expected = np.zeros((2, 2 * side + 2, 2 * side + 2, 2))
    for a, b in np.ndindex(4, 4):
        four = sum(
            scaled[c, d] for c in (a, a - 1) for d in (b, b - 1) if 0 <= c < 3 and 0 <= d < 3
        )
        expected[:, a : a + 2 * side : 2, b : b + 2 * side : 2] += x @ four
    np.testing.assert_allclose(
        progressive.convolve_up(x, kernel, fused=True),
        expected[:, 1:-1, 1:-1],
        rtol=1e-4,
        atol=1e-5,
    )


def test_sizes_that_cannot_be_are_refused():
    good = {"resolution": 16, "channels": (4, 3, 2)}
    for wrong, says in [
        ({"resolution": 12}, "power of two"),
        ({"resolution": 4, "channels": (4,)}, "at least 8"),
        ({"channels": (4, 3)}, "3 positive numbers"),
        ({"channels": (4, 0, 2)}, "3 positive numbers"),
        ({"lod": 2.5}, "lod must be in 0..2"),
        ({"lod": float("nan")}, "lod must be in 0..2"),
        ({"fused_from": 4}, "fused_from"),
        ({"z_dim": 0}, "every size must be positive"),
        ({"mapping_layers": 0}, "every size must be positive"),
        ({"label_features": 3}, "needs classes"),
    ]:
        with pytest.raises(ValueError, match=says):
            stylegan(**good | wrong)


def test_training_starts_from_feature_maps_of_ordinary_size():
    weights = jax.jit(GENERATOR.init)(jax.random.key(0))
    assert np.all(np.asarray(weights["mapping"]["mean"]) == 0)
    drawn = GENERATOR.draw(weights, jax.random.key(1), 20)
    features = jax.jit(GENERATOR.head, static_argnums=2)(weights, drawn, 4)
    assert all(0.2 < np.asarray(x).std() < 5 for x in (drawn, features))
