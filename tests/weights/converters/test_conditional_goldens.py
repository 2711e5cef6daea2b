"""Networks with labels, clamps, uneven filters, residual blocks and fused doubling.

The original programs computed the images.
"""

import jax
import numpy as np
import pytest

from natra_jax import weights
from tests.weights import writers

CLOSE = {"rtol": 0, "atol": 5e-5}


def channels_first(images):
    return np.asarray(images).transpose(0, 3, 1, 2)


@pytest.mark.parametrize(
    "name", ["stylegan2_nv_16_resnet_cond", "stylegan1_genforce_16_fused_labels"]
)
def test_w_images_and_gradients_of_soft_and_hard_labels_are_the_originals(name):
    tensors, config, data = writers.golden(name)
    generator, params = weights.from_state_dict(tensors, config)

    @jax.jit
    def run(params, codes):
        images, pull_back = jax.vjp(lambda codes: generator.synthesize(params, codes), codes)
        return images, pull_back(data["in/cotangent"].transpose(0, 2, 3, 1))[0]

    with jax.default_matmul_precision("highest"):
        w = generator.map(params, data["in/z"], data["in/label"])[:, 0]
        images, gradient = run(params, data["in/codes"])
    np.testing.assert_allclose(w, data["out/w"], **CLOSE)
    np.testing.assert_allclose(channels_first(images), data["out/img"], **CLOSE)
    np.testing.assert_allclose(gradient, data["grad/codes"], **CLOSE)


def test_progans_images_of_soft_and_hard_labels_are_the_originals():
    tensors, config, data = writers.golden("progan_genforce_16_fused_labels")
    generator, params = weights.from_state_dict(tensors, config)
    with jax.default_matmul_precision("highest"):
        images = jax.jit(generator.synthesize)(
            params, generator.map(params, data["in/z"], data["in/label"])
        )
    np.testing.assert_allclose(channels_first(images), data["out/img"], **CLOSE)


def test_what_only_a_filter_nobody_uses_says_is_not_taken_for_the_networks():
    tensors, config, _ = writers.golden("stylegan2_nv_16_resnet_cond")
    uneven, default = (
        np.outer(taps, taps) / sum(taps) ** 2 for taps in ([1, 2, 4, 3], [1, 3, 3, 1])
    )
    np.testing.assert_allclose(tensors["synthesis.b8.conv0.resample_filter"], uneven, atol=1e-6)
    np.testing.assert_allclose(tensors["synthesis.b8.conv1.resample_filter"], default, atol=1e-6)
    found = weights.families.convert(weights.Checkpoint(tensors, config))
    assert found.arguments["resample_filter"] == [1, 2, 4, 3]
