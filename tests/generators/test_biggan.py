"""BigGAN: every variant keeps the laws of a generator; chunks of z, classes and their mixtures,
the prior, the gradient.
"""

from functools import cache

import jax
import numpy as np
import pytest

from natra_jax.generators.biggan import biggan
from tests.generators import laws

TINY = {"resolution": 8, "channels": (8, 8), "label_dim": 3}
HIERARCHICAL = biggan(**TINY, z_dim=5, embed_dim=3, attention=(8,))


@cache
def params():
    return laws.random_params(HIERARCHICAL)


def test_a_generator_with_chunks_of_z_a_shared_embedding_and_attention_keeps_the_laws():
    laws.check(HIERARCHICAL, params())


@pytest.mark.slow
def test_generators_with_one_z_and_without_a_shared_embedding_keep_the_laws():
    laws.check(biggan(**TINY, z_dim=4, embed_dim=3, hierarchical=False))
    laws.check(biggan(**TINY, z_dim=4, hierarchical=False))
    laws.check(biggan(**TINY, z_dim=4, truncation=0.5))


def test_z_is_rounded_down_to_one_chunk_a_layer():
    generator = biggan(resolution=32, channels=(16, 16, 16, 16), z_dim=17, embed_dim=9, label_dim=7)
    assert (
        generator.num_layers == 4
        and generator.code_dim == 4 + 9
        and len(generator.class_entries) == 9
    )
    z = generator.sample(jax.random.key(0), 2)
    assert z.shape == (2, 16)
    embedding = np.random.default_rng(0).normal(size=(7, 9)).astype(np.float32)
    codes = np.asarray(generator.map({"mapping": {"embedding": embedding}}, z, np.array([5, 1])))
    np.testing.assert_array_equal(codes[..., :4], np.asarray(z).reshape(2, 4, 4))
    np.testing.assert_allclose(
        codes[..., 4:], np.broadcast_to(embedding[[5, 1]][:, None], (2, 4, 9)), rtol=1e-6
    )


def test_without_chunks_z_is_in_the_first_code_alone_and_elsewhere_has_no_effect():
    generator = biggan(**TINY, z_dim=4, embed_dim=3, hierarchical=False)
    weights = laws.random_params(generator)
    codes = np.asarray(
        generator.map(weights, generator.sample(jax.random.key(0), 2), np.array([0, 2]))
    )
    assert (
        codes.shape == (2, 2, 7) and np.all(codes[:, 1, :4] == 0) and np.all(codes[:, 0, :4] != 0)
    )
    other = codes.copy()
    other[:, 1, :4] = 1
    synthesize = jax.jit(generator.synthesize)
    np.testing.assert_array_equal(synthesize(weights, other), synthesize(weights, codes))
    np.testing.assert_array_equal(np.asarray(generator.style(weights, 1))[:, :4], 0)


def test_without_an_embedding_the_class_part_is_the_distribution():
    generator = biggan(**TINY, z_dim=4, hierarchical=False)
    soft = np.array([[0.2, 0.5, 0.3], [0, 1, 0]], np.float32)
    codes = np.asarray(generator.map({"mapping": {}}, np.zeros((2, 4), np.float32), soft))
    assert len(generator.class_entries) == 3
    np.testing.assert_array_equal(codes[..., 4:], np.stack([soft, soft], 1))


def test_a_soft_label_is_the_mixture_of_its_classes():
    z = HIERARCHICAL.sample(jax.random.key(0), 1)
    shares = np.array([[0.25, 0.0, 0.75]], np.float32)
    each = [np.asarray(HIERARCHICAL.map(params(), z, np.array([label]))) for label in range(3)]
    np.testing.assert_allclose(
        HIERARCHICAL.map(params(), z, shares), 0.25 * each[0] + 0.75 * each[2], atol=1e-6
    )


def test_a_label_given_to_the_synthesis_replaces_the_codes_class():
    z = HIERARCHICAL.sample(jax.random.key(0), 2)
    first, second = (HIERARCHICAL.map(params(), z, np.array(label)) for label in ([0, 1], [2, 2]))
    synthesize = jax.jit(HIERARCHICAL.synthesize)
    replaced = synthesize(params(), first, np.array([2, 2]))
    np.testing.assert_allclose(replaced, synthesize(params(), second), atol=1e-6)
    assert np.abs(replaced - synthesize(params(), first)).max() > 1e-3


def test_truncation_draws_the_z_part_to_zero_and_leaves_the_class():
    z = np.asarray(HIERARCHICAL.sample(jax.random.key(0), 3))
    full = np.asarray(HIERARCHICAL.map(params(), z, np.arange(3)))
    half = np.asarray(HIERARCHICAL.map(params(), z, np.arange(3), truncation_psi=0.5))
    np.testing.assert_allclose(half[..., :2], full[..., :2] / 2, rtol=1e-6)
    np.testing.assert_array_equal(half[..., 2:], full[..., 2:])


def test_style_is_the_matrix_by_which_a_code_enters_its_layer():
    generator = biggan(**TINY, z_dim=6, embed_dim=40)
    weights = laws.random_params(generator)
    codes = laws.random_codes(generator, weights)
    features = np.asarray(generator.head(weights, codes, 1)).reshape(2, -1)
    first, second = (np.asarray(generator.style(weights, l)) for l in (0, 1))
    np.testing.assert_allclose(
        features, codes[:, 0] @ first.T + weights["layers"][0]["bias"], atol=1e-5
    )
    # there are more entries of a code than it has effects: along what the matrix does not see, the
    # image stays as it is
    assert second.shape == (32, 43)
    without_effect = np.linalg.svd(second)[2][32:]
    moved = [codes.copy(), codes.copy()]
    moved[0][:, 1] += without_effect.sum(0)
    moved[1][:, 1] += second[0]
    synthesize = jax.jit(generator.synthesize)
    image, still, other = (np.asarray(synthesize(weights, each)) for each in (codes, *moved))
    np.testing.assert_allclose(still, image, atol=2e-4)
    assert np.abs(other - image).max() > 0.01


def test_the_prior_is_normal_or_a_scaled_truncated_normal():
    normal = np.asarray(biggan(**TINY, z_dim=20).sample(jax.random.key(0), 1000))
    assert np.abs(normal).max() > 3
    np.testing.assert_allclose([normal.mean(), normal.std()], [0, 1], atol=0.03)
    for truncation in (1.0, 0.4):
        z = (
            np.asarray(
                biggan(**TINY, z_dim=20, truncation=truncation).sample(jax.random.key(0), 1000)
            )
            / truncation
        )
        assert 1.95 < np.abs(z).max() <= 2
        # the standard deviation of a normal distribution cut off at two of its own
        np.testing.assert_allclose([z.mean(), z.std()], [0, 0.8796], atol=0.03)


def test_the_gradient_with_respect_to_the_codes_is_the_slope():
    codes = laws.random_codes(HIERARCHICAL, params()).astype(np.float64)
    rng = np.random.default_rng(0)
    direction, weights = rng.normal(size=codes.shape), rng.normal(size=(2, 8, 8, 3))
    with jax.enable_x64(True):
        exact = jax.tree.map(lambda leaf: leaf.astype(np.float64), params())
        value = jax.jit(lambda codes: (HIERARCHICAL.synthesize(exact, codes) * weights).sum())
        gradient = np.asarray(jax.jit(jax.grad(value))(codes))
        slope = (
            float(value(codes + 1e-6 * direction)) - float(value(codes - 1e-6 * direction))
        ) / 2e-6
    np.testing.assert_allclose((gradient * direction).sum(), slope, rtol=1e-5)
    assert gradient.dtype == np.float64 and np.abs(gradient).max() > 1e-3


def test_initial_weights_make_images():
    start = jax.jit(HIERARCHICAL.init)(jax.random.key(0))
    images = np.asarray(
        jax.jit(HIERARCHICAL.synthesize)(start, laws.random_codes(HIERARCHICAL, start))
    )
    assert np.abs(images).max() < 1 and images.std() > 1e-2
    assert start["layers"][1]["attention"]["gamma"] == 0


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"resolution": 12}, "resolution must be a power of two and at least 8, got 12"),
        ({"resolution": 4}, "resolution must be a power of two"),
        ({"channels": (8, 8, 8)}, "8 px need 2 numbers of channels, got 3"),
        ({"channels": (8, 0)}, "channels must be at least 1"),
        ({"attention": (4,)}, r"attention must be at resolutions in \[8\], got \[4\]"),
        ({"attention": (8,), "channels": (8, 4)}, "attention needs 8 channels"),
        ({"z_dim": 1}, "z_dim must be at least 1 for each layer"),
        ({"label_dim": 0}, "label_dim must be at least 1"),
        ({"embed_dim": -1}, "embed_dim must be at least 0"),
        ({"eps": 0.0}, "eps"),
        ({"truncation": 0.0}, "truncation must be above 0"),
        ({"truncation": 1.5}, "truncation must be above 0 and at most 1"),
    ],
)
def test_arguments_that_fit_no_generator_are_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        biggan(**{**TINY, "z_dim": 5, **changed})


def test_noise_that_it_does_not_have_is_refused():
    codes = laws.random_codes(HIERARCHICAL, params())
    synthesize = jax.jit(HIERARCHICAL.synthesize, static_argnames="noise")
    np.testing.assert_array_equal(
        synthesize(params(), codes, noise="none"), synthesize(params(), codes)
    )
    with pytest.raises(ValueError, match="biggan has no noise"):
        HIERARCHICAL.synthesize(params(), codes, noise="random", key=jax.random.key(0))
