"""Losses of a discriminator, R1 and a warm start, against NumPy and plain convolutions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax

from natra_jax.gan import discriminator as critic
from natra_jax.gan.networks import Discriminator, Encoder

RNG = np.random.default_rng(0)
REAL, FAKE = RNG.normal(size=(2, 4, 8, 8, 3)).astype(np.float32)
WEIGHTS = RNG.normal(size=(8, 8, 3)).astype(np.float32) / 8


class Linear(nn.Module):
    """<w, x> + curvature |x|^2 / 2"""

    curvature: float = 0.0

    @nn.compact
    def __call__(self, images):
        w = self.param("w", lambda _: jnp.asarray(WEIGHTS))
        return (w * images).sum((1, 2, 3)) + 0.5 * self.curvature * jnp.square(images).sum(
            (1, 2, 3)
        )


def test_losses_are_the_non_saturating_ones():
    params = critic.init_params(Linear(), REAL.shape[1:], jax.random.key(0))
    real, fake = (np.tensordot(x.astype(np.float64), WEIGHTS, 3) for x in (REAL, FAKE))
    probability = lambda logits: 1 / (1 + np.exp(-logits))  # noqa: E731
    expected = -np.log(probability(real)).mean() - np.log(1 - probability(fake)).mean()
    np.testing.assert_allclose(
        critic.discriminator_loss(Linear(), params, REAL, FAKE), expected, rtol=1e-5
    )
    np.testing.assert_allclose(
        critic.generator_loss(Linear(), params, FAKE), -np.log(probability(fake)).mean(), rtol=1e-5
    )
    # where it is sure of itself, the generator's loss still has a slope of one
    slope = jax.grad(
        lambda scale: critic.generator_loss(Linear(), {"w": scale * WEIGHTS}, -100 * WEIGHTS[None])
    )(1.0)
    np.testing.assert_allclose(slope, 100 * np.square(WEIGHTS).sum(), rtol=1e-5)


def test_the_penalty_of_a_linear_discriminator_is_the_norm_of_its_weights():
    params = {"w": jnp.asarray(WEIGHTS)}
    value, gradients = jax.value_and_grad(lambda p: critic.gradient_penalty(Linear(), p, REAL))(
        params
    )
    np.testing.assert_allclose(value, np.square(WEIGHTS).sum(), rtol=1e-5)
    np.testing.assert_allclose(gradients["w"], 2 * WEIGHTS, rtol=1e-5, atol=1e-7)


def test_the_penalty_is_a_mean_over_images_of_each_ones_gradient():
    params = {"w": jnp.asarray(WEIGHTS)}
    expected = np.square(WEIGHTS + 3 * REAL).sum((1, 2, 3)).mean()
    np.testing.assert_allclose(
        critic.gradient_penalty(Linear(3.0), params, REAL), expected, rtol=1e-5
    )


SMALL = Discriminator(widths=(4, 6), hidden=8)
PARAMS = critic.init_params(SMALL, REAL.shape[1:], jax.random.key(1))


@pytest.mark.slow
def test_the_penalty_can_be_trained_on_through_convolutions(monkeypatch):
    gradients = jax.jit(jax.grad(lambda p: critic.gradient_penalty(SMALL, p, REAL)))(PARAMS)
    monkeypatch.setattr(
        "natra_jax.convolution.conv2d",
        lambda x, kernel: lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        ),
    )
    expected = jax.jit(jax.grad(lambda p: critic.gradient_penalty(SMALL, p, REAL)))(PARAMS)
    assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(expected)) > 0.01
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6), gradients, expected
    )


@pytest.mark.slow
def test_a_warm_start_takes_what_an_encoder_of_the_same_sizes_has():
    encoder = Encoder(outputs=5, widths=(4, 6), hidden=8)
    trained = encoder.init(jax.random.key(2), REAL[:1])["params"]
    started = critic.warm_started(PARAMS, trained)
    for layer in ("Conv_0", "Conv_1", "Dense_0"):
        jax.tree.map(np.testing.assert_array_equal, started[layer], trained[layer])
    jax.tree.map(np.testing.assert_array_equal, started["Dense_1"], PARAMS["Dense_1"])
