"""BigGAN-deep: the laws of a generator; one code for every layer, statistics by truncation, the
gradient.
"""

from functools import cache
from pathlib import Path

import jax
import numpy as np
import pytest

from natra_jax.generators.biggan_deep import biggan_deep, stored
from tests.generators import laws

GOLDEN = Path(__file__).parents[1] / "golden" / "biggan_deep_hf_32.npz"
TINY = {
    "resolution": 8,
    "channels": (16, 16, 8),
    "upsample": (False, True),
    "z_dim": 3,
    "embed_dim": 2,
    "label_dim": 3,
}
GENERATOR = biggan_deep(**TINY, attention=(0,), n_stats=3, truncation=0.7)


@cache
def params():
    return laws.random_params(GENERATOR, scale=0.1)


@pytest.mark.slow
def test_a_generator_with_attention_and_several_statistics_keeps_the_laws():
    laws.check(GENERATOR, params())


@pytest.mark.slow
def test_a_generator_with_one_statistic_and_a_normal_prior_keeps_the_laws():
    generator = biggan_deep(**TINY, truncation=None)
    laws.check(generator)
    assert np.abs(generator.sample(jax.random.key(0), 1000)).max() > 3


def test_every_layer_has_the_same_code():
    z = GENERATOR.sample(jax.random.key(0), 2)
    codes = np.asarray(GENERATOR.map(params(), z, np.array([2, 0])))
    assert (
        GENERATOR.num_layers == 3 and len(GENERATOR.class_entries) == 2 and codes.shape == (2, 3, 5)
    )
    expected = np.concatenate([z, params()["mapping"]["embedding"][[2, 0]]], 1)
    np.testing.assert_allclose(codes, np.stack([expected] * 3, 1), rtol=1e-6)
    np.testing.assert_allclose(
        GENERATOR.map(params(), z, np.array([2, 0]), truncation_psi=0.5)[..., :3],
        codes[..., :3] / 2,
        rtol=1e-6,
    )


def test_samples_are_of_the_truncation():
    z = np.asarray(GENERATOR.sample(jax.random.key(0), 5000)) / 0.7
    assert 1.95 < np.abs(z).max() <= 2
    np.testing.assert_allclose([z.mean(), z.std()], [0, 0.8796], atol=0.03)


def test_statistics_are_chosen_as_the_original_does():
    golden = np.load(GOLDEN)
    for truncation, first, share in zip(
        golden["table/truncation"], golden["table/start_idx"], golden["table/coef"], strict=True
    ):
        assert stored(float(truncation), 51) == (first, share)


def test_one_statistic_belongs_to_every_truncation():
    assert stored(0.3, 1) == stored(1.0, 1) == stored(None, 1) == (0, 0.0)


def test_the_gradient_with_respect_to_the_codes_is_the_slope():
    codes = laws.random_codes(GENERATOR, params()).astype(np.float64)
    rng = np.random.default_rng(0)
    direction, weights = rng.normal(size=codes.shape), rng.normal(size=(2, 8, 8, 3))
    with jax.enable_x64(True):
        exact = jax.tree.map(lambda leaf: leaf.astype(np.float64), params())
        value = jax.jit(lambda codes: (GENERATOR.synthesize(exact, codes) * weights).sum())
        gradient = np.asarray(jax.jit(jax.grad(value))(codes))
        slope = (
            float(value(codes + 1e-6 * direction)) - float(value(codes - 1e-6 * direction))
        ) / 2e-6
    np.testing.assert_allclose((gradient * direction).sum(), slope, rtol=1e-5)
    assert np.abs(gradient).max() > 1e-3


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"resolution": 16}, "blocks that upsample 1 times from 4 px do not give 16 px"),
        ({"resolution": 10}, "resolution must be a power of two"),
        ({"channels": (16, 16)}, "2 blocks need 3 numbers of channels"),
        ({"channels": (16, 8, 16)}, "none above the one before"),
        ({"channels": (16, 3, 3)}, "4 channels or more"),
        ({"attention": (3,)}, r"attention must be behind layers in 0..2, got \[3\]"),
        ({"attention": (2,), "channels": (16, 16, 4)}, "attention needs 8 channels"),
        ({"z_dim": 0}, "z_dim must be at least 1"),
        ({"embed_dim": 0}, "embed_dim must be at least 1"),
        ({"n_stats": 0}, "n_stats must be at least 1"),
        ({"output_eps": 1.0}, "output_eps"),
        ({"truncation": -0.5}, "truncation must be above 0"),
        ({"truncation": None, "n_stats": 2}, "statistics for several truncations need one"),
    ],
)
def test_arguments_that_fit_no_generator_are_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        biggan_deep(**{**TINY, **changed})
