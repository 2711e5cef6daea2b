"""The small style generator: split at any layer, styled by layer, truncated; and the weights that
come with the package.
"""

import json
from functools import cache
from pathlib import Path

import jax
import numpy as np
import pytest

from natra_jax import generators
from natra_jax.experiments import digits_on_photos
from natra_jax.types import UserError
from natra_jax.weights.generator_config import OWN, PACKAGE, own_arguments

GENERATOR = generators.style_small(resolution=16, code_dim=5, base_channels=4, max_channels=8)
L = GENERATOR.num_layers
WEIGHTS = Path(generators.__file__).parent / "weights"

head, tail = jax.jit(GENERATOR.head, static_argnums=2), jax.jit(GENERATOR.tail, static_argnums=3)
synthesize, map_codes = (
    jax.jit(GENERATOR.synthesize),
    jax.jit(GENERATOR.map, static_argnames="truncation_cutoff"),
)


@cache
def params():
    """Random weights in every array, also where training starts from zeros."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(GENERATOR.init, jax.random.key(0))
    return jax.tree.map(lambda s: (0.3 * rng.normal(size=s.shape)).astype(np.float32), shapes)


def codes(seed, count=3):
    return (
        np.random.default_rng(seed).normal(size=(count, L, GENERATOR.code_dim)).astype(np.float32)
    )


@pytest.mark.parametrize(("resolution", "layers"), [(8, 4), (16, 6), (32, 8), (64, 10)])
def test_there_are_as_many_layers_as_stylegan_has(resolution, layers):
    generator = generators.style_small(
        resolution=resolution, code_dim=4, base_channels=2, max_channels=4
    )
    assert (
        generator.num_layers == layers
        and generator.resolution == resolution
        and generator.label_dim == 0
    )
    shapes = jax.eval_shape(generator.init, jax.random.key(0))
    images = jax.eval_shape(
        generator.synthesize, shapes, jax.ShapeDtypeStruct((2, layers, 4), np.float32)
    )
    assert images.shape == (2, resolution, resolution, 3)


@pytest.mark.parametrize("resolution", [4, 12, 20, 2, 1, 0, -8])
def test_other_resolutions_are_refused(resolution):
    with pytest.raises(
        ValueError, match=f"resolution must be a power of two and at least 8, got {resolution}"
    ):
        generators.style_small(resolution=resolution)


def test_head_and_tail_make_the_whole_at_every_layer():
    expected = synthesize(params(), codes(1))
    assert expected.shape == (3, 16, 16, 3) and np.asarray(expected).std() > 1e-3
    for l in range(L + 1):
        features = head(params(), codes(1), l)
        np.testing.assert_allclose(
            tail(params(), features, codes(1), l), expected, rtol=1e-5, atol=1e-6
        )


def test_head_depends_on_the_codes_before_the_cut_and_tail_on_those_after_it():
    for l in range(L + 1):
        coarse, fine = codes(1), codes(1)
        coarse[:, :l], fine[:, l:] = codes(2)[:, :l], codes(2)[:, l:]
        np.testing.assert_array_equal(head(params(), fine, l), head(params(), codes(1), l))
        features = head(params(), codes(1), l)
        np.testing.assert_array_equal(
            tail(params(), features, coarse, l), tail(params(), features, codes(1), l)
        )
        # and style mixing: coarse layers of one example, fine layers of another
        mixed = tail(params(), head(params(), codes(2), l), codes(1), l)
        np.testing.assert_allclose(mixed, synthesize(params(), coarse), rtol=1e-5, atol=1e-6)


def test_advance_leads_from_one_head_to_another_by_the_codes_between_them():
    pairs = [(0, 0), (0, 3), (2, 4), (4, L), (L, L)]

    @jax.jit
    def both(params, codes, others):
        heads = {l: GENERATOR.head(params, codes, l) for pair in pairs for l in pair}
        foreign = {(l, m): others.at[:, l:m].set(codes[:, l:m]) for l, m in pairs}
        return [
            (GENERATOR.advance(params, heads[l], foreign[l, m], l, m), heads[m]) for l, m in pairs
        ]

    for advanced, expected in both(params(), codes(1), codes(2)):
        np.testing.assert_allclose(advanced, expected, rtol=1e-5, atol=1e-6)


def test_every_layers_code_matters():
    whole = np.asarray(synthesize(params(), codes(1)))
    for l in range(L):
        other = codes(1)
        other[:, l] += 1
        assert np.abs(synthesize(params(), other) - whole).max() > 1e-4


def test_examples_do_not_touch_each_other():
    together = np.asarray(synthesize(params(), codes(1)))
    for i in range(3):
        np.testing.assert_allclose(
            synthesize(params(), codes(1)[[i, i, i]])[0], together[i], rtol=1e-5, atol=1e-6
        )


def test_truncation_leads_from_the_centre_to_the_code():
    z = np.asarray(GENERATOR.sample(jax.random.key(0), 4))
    full = np.asarray(map_codes(params(), z))
    centre = np.asarray(map_codes(params(), np.zeros((1, GENERATOR.code_dim), np.float32)))
    assert (
        full.shape == (4, L, GENERATOR.code_dim)
        and np.all(full == full[:, :1])
        and np.abs(full[0] - full[1]).max() > 0.1
    )
    np.testing.assert_allclose(map_codes(params(), z, truncation_psi=1.0), full, atol=1e-6)
    np.testing.assert_allclose(
        map_codes(params(), z, truncation_psi=0.0), np.broadcast_to(centre, full.shape), atol=1e-6
    )
    np.testing.assert_allclose(
        map_codes(params(), z, truncation_psi=0.7), centre + 0.7 * (full - centre), atol=1e-6
    )


def test_truncation_stops_at_its_cutoff():
    z = np.asarray(GENERATOR.sample(jax.random.key(0), 4))
    full, centre = (
        np.asarray(map_codes(params(), z)),
        np.asarray(map_codes(params(), z, truncation_psi=0.0)),
    )
    for cutoff in (0, 2, L):
        cut = np.asarray(map_codes(params(), z, truncation_psi=0.0, truncation_cutoff=cutoff))
        np.testing.assert_allclose(cut[:, :cutoff], centre[:, :cutoff], atol=1e-6)
        np.testing.assert_allclose(cut[:, cutoff:], full[:, cutoff:], atol=1e-6)


def test_samples_are_standard_normal_and_follow_their_key():
    z = np.asarray(GENERATOR.sample(jax.random.key(0), 4000))
    assert z.shape == (4000, GENERATOR.code_dim)
    np.testing.assert_allclose(z.mean(0), 0, atol=0.07)
    np.testing.assert_allclose(z.std(0), 1, atol=0.05)
    np.testing.assert_array_equal(GENERATOR.sample(jax.random.key(0), 4000), z)
    assert np.any(GENERATOR.sample(jax.random.key(1), 4000) != z)


def test_the_shipped_weights_are_small_load_and_draw_digits_in_colour():
    assert (WEIGHTS / "digits.npz").stat().st_size <= 2_000_000
    generator = generators.style_small(resolution=16)
    loaded = generators.load_weights("digits", generator)
    draw = jax.jit(lambda params, z: generator.synthesize(params, generator.map(params, z)))
    images = np.asarray(draw(loaded, generator.sample(jax.random.key(0), 64)))
    assert np.mean(np.abs(images) <= 1.1) > 0.95
    # a dark ground at the corners, a bright stroke near the middle, and more than one colour
    value = images.max(-1)
    assert value[:, :2, :2].mean() < value[:, 6:10, 6:10].mean() - 0.2
    assert images[:, 0, 0].std(0).min() > 0.1


def test_the_shipped_weights_of_digits_on_photographs_load_and_draw_images():
    assert (WEIGHTS / "digits_on_photos.npz").stat().st_size <= 4_000_000
    c = digits_on_photos.get_config().generator
    generator = generators.build(OWN, own_arguments(c))
    loaded = generators.load_weights(c.weights.removeprefix(PACKAGE), generator)
    images = np.asarray(
        jax.jit(generator.synthesize)(loaded, generator.draw(loaded, jax.random.key(0), 64))
    )
    assert images.shape == (64, 32, 32, 3) and np.mean(np.abs(images) <= 1.05) > 0.99
    assert images.std(0).mean() > 0.15 and images.std(-1).mean() > 0.05


def test_the_shipped_weights_have_a_card_that_says_how_they_were_made():
    for file in WEIGHTS.glob("*.npz"):
        card = json.loads(file.with_suffix(".json").read_text())
        assert {
            "what",
            "trained_on",
            "command",
            "minutes",
            "machine",
            "reconstruction_error",
        } <= set(card)
        assert card["minutes"] > 0 and "natra_jax.main" in card["command"]
        error = card["reconstruction_error"]
        assert 0 < error["val_iid"] < error["variance_of_val_iid"] and error["metric"]


def test_weights_that_do_not_fit_and_weights_that_are_not_there_are_users_errors():
    with pytest.raises(UserError, match="digits.npz: .*another configuration"):
        generators.load_weights("digits", generators.style_small(resolution=16, code_dim=32))
    with pytest.raises(UserError, match="digits.npz: .*another configuration"):
        generators.load_weights("digits", generators.style_small(resolution=32))
    with pytest.raises(UserError, match="'digit'.*generator.weights; there are: digits"):
        generators.load_weights("digit", generators.style_small(resolution=16))
