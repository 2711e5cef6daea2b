"""The decoder of features: a closed form where all is linear, its shapes, and colours changed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from natra_jax.evaluation.feature_decoder import (
    FeatureDecoder,
    decode,
    make_step,
    recoloured_share,
)
from natra_jax.gan.fit_state import fit_state
from natra_jax.training.fit import adamw

RNG = np.random.default_rng(0)


def test_of_a_linear_trunk_it_becomes_the_regression_of_images_on_features():
    images = RNG.normal(size=(40, 2, 2, 1)).astype(np.float32)
    matrix = RNG.normal(size=(4, 3)).astype(np.float32)  # loses one of four dimensions

    def trunk(variables, x):
        return x.reshape(len(x), -1) @ variables

    decoder, steps = FeatureDecoder((2, 2, 1)), 400
    optimizer = adamw(0.05, 0.0, steps)
    features = images.reshape(40, 4) @ matrix
    params = decoder.init(jax.random.key(0), features)["params"]
    step = make_step(decoder, trunk, optimizer)

    @jax.jit
    def fit(state):
        return jax.lax.fori_loop(
            0, steps, lambda i, s: step(matrix, s, {"image": jnp.asarray(images)})[0], state
        )

    fitted = fit(fit_state(params, optimizer, jax.random.key(1)))
    design = np.column_stack([features, np.ones(40)])
    best = design @ np.linalg.lstsq(design, images.reshape(40, 4), rcond=None)[0]
    decoded = np.asarray(decode(decoder, fitted.params, features)).reshape(40, 4)
    np.testing.assert_allclose(decoded, best, atol=1e-3)
    assert int(fitted.step) == steps


@pytest.mark.parametrize("features", [(4, 4, 5), (12, 10, 5), (32, 32, 2), (7,)])
def test_features_of_any_size_become_images_of_one(features):
    def made():
        return FeatureDecoder((16, 12, 3), 4).init_with_output(
            jax.random.key(0), jnp.zeros((2, *features))
        )[0]

    assert jax.eval_shape(made).shape == (2, 16, 12, 3)


def test_the_share_of_a_change_that_is_one_of_colours():
    images = RNG.uniform(-1, 1, (3, 6, 6, 3))
    tinted = images @ RNG.normal(size=(3, 3)) + 0.2
    assert recoloured_share(images, tinted) == pytest.approx(1)
    assert recoloured_share(images, images) == 1
    mixed = images + 0.1 * RNG.normal(size=images.shape)
    assert recoloured_share(images, mixed) < 0.3
