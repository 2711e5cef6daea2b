"""ProGAN keeps the laws of a generator; its class is part of the code, and it is split behind
every convolution.
"""

import jax
import numpy as np
import pytest

from natra_jax.generators.progan import progan
from tests.generators import laws

TINY = {"resolution": 8, "channels": (4, 3), "z_dim": 5}
CONDITIONAL = progan(**TINY, label_dim=2, fused_from=8, normalize_z=True, lod=0.4)


@pytest.mark.slow
def test_with_classes_fused_doubling_and_half_grown_it_keeps_the_laws():
    laws.check(CONDITIONAL)


@pytest.mark.slow
def test_without_any_of_that_it_keeps_the_laws():
    laws.check(progan(resolution=16, channels=(4, 3, 2), z_dim=5, img_channels=1))
    laws.check(progan(resolution=16, channels=(4, 3, 2), z_dim=5, label_dim=3, lod=1))


def test_the_length_of_a_code_does_not_matter():
    generator = progan(**TINY)
    params, codes = (
        laws.random_params(generator),
        np.random.default_rng(0).normal(size=(2, 1, 5)).astype(np.float32),
    )
    images = jax.jit(generator.synthesize)(params, codes)
    np.testing.assert_allclose(
        jax.jit(generator.synthesize)(params, 3 * codes), images, rtol=1e-4, atol=1e-5
    )
    assert generator.depth == 4 and images.shape == (2, 8, 8, 3)


def test_the_class_is_the_codes_last_part_and_can_be_replaced_at_synthesis():
    params = laws.random_params(CONDITIONAL)
    z = np.random.default_rng(0).normal(size=(2, 5)).astype(np.float32)
    codes = [
        np.asarray(CONDITIONAL.map(params, z, np.full(2, label), truncation_psi=0.6))
        for label in (0, 1)
    ]
    np.testing.assert_array_equal(codes[0][..., :5], codes[1][..., :5])
    np.testing.assert_array_equal(codes[1][:, 0, 5:], [[0, 1]] * 2)
    synthesize = jax.jit(CONDITIONAL.synthesize)
    wanted = np.asarray(synthesize(params, codes[1]))
    np.testing.assert_allclose(synthesize(params, codes[0], np.array([1, 1])), wanted, atol=1e-6)
    assert np.abs(np.asarray(synthesize(params, codes[0])) - wanted).max() > 1e-3


def test_it_has_no_noise_and_its_sizes_must_be_possible():
    with pytest.raises(ValueError, match="has no noise"):
        CONDITIONAL.synthesize(None, np.zeros((1, 1, 7), np.float32), noise="random")
    for wrong in (
        {"resolution": 9},
        {"channels": (4,)},
        {"z_dim": 0},
        {"label_dim": -1},
        {"lod": -0.5},
        {"fused_from": 0},
    ):
        with pytest.raises(ValueError, match="progan: "):
            progan(**TINY | wrong)
