"""DCGAN keeps the laws of a generator; images lie in [-1, 1] and do not depend on their
neighbours; sizes follow the channels.
"""

import jax
import numpy as np
import pytest

from natra_jax.generators.dcgan import dcgan
from tests.generators import laws

GENERATOR = dcgan(channels=(4, 3), z_dim=5, img_channels=1)


def test_it_keeps_the_laws():
    laws.check(GENERATOR)


def test_images_end_in_tanh_and_running_statistics_are_buffers():
    params = laws.random_params(GENERATOR)
    codes = 30 * np.random.default_rng(0).normal(size=(4, 1, 5)).astype(np.float32)
    images = np.asarray(jax.jit(GENERATOR.synthesize)(params, codes))
    assert (
        images.shape == (4, 16, 16, 1)
        and images.max() <= 1
        and images.min() >= -1
        and np.abs(images).max() > 0.9
    )
    assert [s["mean"].shape for s in params["buffers"]["statistics"]] == [(4,), (3,)]


@pytest.mark.parametrize(
    ("channels", "resolution"), [((4,), 8), ((4, 3, 2), 32), ((9, 8, 7, 6, 5), 128)]
)
def test_every_layer_doubles(channels, resolution):
    generator = dcgan(channels=channels, z_dim=5)
    shapes = jax.eval_shape(generator.init, jax.random.key(0))
    images = jax.eval_shape(
        generator.synthesize, shapes, jax.ShapeDtypeStruct((2, 1, 5), np.float32)
    )
    assert images.shape == (2, resolution, resolution, 3) and generator.depth == len(channels) + 1


def test_what_cannot_be_is_refused():
    for wrong in (
        {"channels": ()},
        {"channels": (4, 0)},
        {"channels": (4,), "z_dim": 0},
        {"channels": (4,), "img_channels": 0},
    ):
        with pytest.raises(ValueError, match="dcgan: "):
            dcgan(**wrong)
    with pytest.raises(ValueError, match="has no noise"):
        GENERATOR.synthesize(None, np.zeros((1, 1, 5), np.float32), noise="random")
    with pytest.raises(ValueError, match="unconditional"):
        GENERATOR.map(None, np.zeros((1, 5), np.float32), np.array([0]))
