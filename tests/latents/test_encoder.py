"""Batch inverse encoding on a linear generator: where the encoder starts, each update against its
closed form, and that it learns.
"""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from hypothesis import given
from hypothesis import strategies as st

from natra_jax.gan.fit_state import Opponent, fit_state
from natra_jax.latents import encoder as inverse
from natra_jax.latents.expansion import expand, expansion
from natra_jax.latents.reconstruction import Reconstruction
from natra_jax.training.fit import adamw
from tests.helpers import few_examples, floats32, linear_generator, linear_images, linear_params
from tests.latents.linear import Linear, linear_encoder, weights

L, D, B, SHAPE, PIXELS = 3, 2, 4, (4, 4, 1), 16
GENERATOR = linear_generator(L, D, resolution=4)
PARAMS = linear_params(GENERATOR)
FLAT = (
    PARAMS["layers"].reshape(L * D, PIXELS).astype(np.float64)
)  # codes @ FLAT + constant are the pixels
RNG = np.random.default_rng(0)
MEAN = RNG.normal(size=(L, D)).astype(np.float32)
REAL = RNG.normal(size=(B, *SHAPE)).astype(np.float32)
KEY = jax.random.key(1)


def test_codes_start_at_the_mean():
    encoder = inverse.inverse_encoder(GENERATOR, codes="w+", widths=(4,), hidden=8)
    params = encoder.init(jax.random.key(0), SHAPE, MEAN)
    codes = np.asarray(jax.jit(encoder.encode)(params, REAL))
    assert codes.shape == (B, L, D)
    offsets = codes - MEAN
    assert np.ptp(offsets, axis=0).max() > 0 and np.abs(offsets).max() < 0.3 < 0.5 < REAL.std()


@pytest.mark.parametrize(("kind", "vectors"), [("w", 1), ("w+", L)])
def test_w_is_one_code_for_all_layers_and_w_plus_one_for_each(kind, vectors):
    encoder = linear_encoder(GENERATOR, kind)
    assert encoder.network.outputs == vectors * D
    offsets = np.asarray(encoder.encode(weights(kernel_of(encoder), MEAN), REAL)) - MEAN
    expected = (REAL.reshape(B, -1) @ kernel_of(encoder)).reshape(B, vectors, D)
    np.testing.assert_allclose(offsets, np.broadcast_to(expected, (B, L, D)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("kind", "vectors"), [("w", 1), ("w+", L)])
def test_of_several_codes_each_has_an_answer_of_its_own_and_they_have_logits(kind, vectors):
    layout = expansion(GENERATOR, num_codes=3, at=2)
    encoder = linear_encoder(GENERATOR, kind, layout)
    assert encoder.network.outputs == 3 * (vectors * D + PIXELS)
    kernel = np.random.default_rng(0).normal(size=(PIXELS, encoder.network.outputs))
    codes, logits = layout.unpack(jax.jit(encoder.encode)(weights(kernel, MEAN), REAL))
    answer = REAL.reshape(B, -1) @ kernel
    offsets = answer[:, : 3 * vectors * D].reshape(B, 3, vectors, D)
    np.testing.assert_allclose(
        codes, np.broadcast_to(MEAN + offsets, (B, 3, L, D)), rtol=1e-4, atol=1e-4
    )
    np.testing.assert_allclose(
        logits, answer[:, 3 * vectors * D :].reshape(B, 3, PIXELS), rtol=1e-4, atol=1e-4
    )


def test_an_unknown_kind_of_codes_is_refused():
    with pytest.raises(ValueError, match="'w' or 'w\\+', got 'z'"):
        linear_encoder(GENERATOR, "z")


def features(x):
    return x[:, ::2], jnp.tanh(x)


@few_examples
@given(
    real=floats32((2, 2, 2, 1), -1, 1),
    decoded=floats32((2, 2, 2, 1), -1, 1),
    gamma1=st.floats(0, 2),
    gamma2=st.floats(0, 2),
    pixel_loss=st.sampled_from(["l1", "l2"]),
    perceptual=st.booleans(),
)
def test_reconstruction_is_eq_9_image_by_image(
    real, decoded, gamma1, gamma2, pixel_loss, perceptual
):
    error = real.astype(np.float64) - decoded
    pixels = (np.square(error) if pixel_loss == "l2" else np.abs(error)).mean((1, 2, 3))
    seen = zip((real[:, ::2], np.tanh(real)), (decoded[:, ::2], np.tanh(decoded)), strict=True)
    layers = sum(np.abs(a - b).mean((1, 2, 3)) for a, b in seen) if perceptual else np.zeros(2)
    terms, features_fn = (
        Reconstruction(gamma1, gamma2, pixel_loss),
        features if perceptual else None,
    )
    np.testing.assert_allclose(
        terms.errors(features_fn, real, decoded), [pixels, layers], rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose(
        terms.loss(features_fn, real, decoded),
        gamma1 * pixels + gamma2 * layers,
        rtol=1e-4,
        atol=1e-6,
    )


def kernel_of(encoder, seed=2):
    return (
        0.1 * np.random.default_rng(seed).normal(size=(PIXELS, encoder.network.outputs))
    ).astype(np.float32)


def step(
    encoder,
    kernel,
    *,
    generator=GENERATOR,
    optimizer=None,
    gammas=(1.0, 0.0),
    opponent=None,
    **settings,
):
    """(state, metrics) after one step from kernel, by default of plain gradient descent with a
    learning rate of 1.
    """
    optimizer = optimizer or optax.sgd(1.0)
    make = inverse.make_step(
        encoder, generator, optimizer, Reconstruction(*gammas), **{"gamma_codes": 0.0} | settings
    )
    state = fit_state(weights(kernel, MEAN), optimizer, KEY)
    if opponent is not None:
        state = state._replace(
            opponent=Opponent(opponent, settings["discriminator_optimizer"].init(opponent))
        )
    return jax.jit(make)((PARAMS, jax.tree_util.Partial(features)), state, {"image": REAL})


def moved(state, kernel):
    return np.asarray(state.params["network"]["Dense_0"]["kernel"]) - kernel


@cache
def sampled():
    """The codes [B, L * D] that step 0 draws, and the pixels they make."""
    z = GENERATOR.sample(jax.random.fold_in(KEY, 0), B)
    codes = np.asarray(GENERATOR.map(PARAMS, z)).reshape(B, -1).astype(np.float64)
    return codes, codes @ FLAT + PARAMS["constant"]


def test_an_iteration_follows_eq_8_then_both_terms_of_eq_9_and_leaves_the_mean_where_it_is():
    encoder = linear_encoder(GENERATOR)
    kernel, (codes, pixels), x = (
        kernel_of(encoder),
        sampled(),
        REAL.reshape(B, -1).astype(np.float64),
    )
    error = codes - MEAN.ravel() - pixels @ kernel
    # either update lets the weights decay by a tenth
    between = 0.9 * kernel + 0.5 * 2 / error.size * pixels.T @ error
    decoded = (MEAN.ravel() + x @ between) @ FLAT + PARAMS["constant"]
    # d/d decoded of both terms: of the squares, of the rows 0 and 2, and of tanh
    rows = np.tile(np.repeat([1.0, 0.0, 1.0, 0.0], 4), (B, 1))
    away = np.sign(decoded - x)
    slope = 2.0 * 2 / x.size * (decoded - x) + 0.7 * away * (
        rows / (x.size / 2) + (1 - np.square(np.tanh(decoded))) / x.size
    )
    after = 0.9 * between - x.T @ (slope @ FLAT.T)
    decay = optax.chain(optax.add_decayed_weights(0.1), optax.sgd(1.0))
    state, metrics = step(encoder, kernel, gammas=(2.0, 0.7), gamma_codes=0.5, optimizer=decay)
    np.testing.assert_allclose(moved(state, kernel), after - kernel, rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(state.params["mean"], MEAN)
    np.testing.assert_allclose(metrics["codes_error"], np.square(error).mean(), rtol=1e-5)
    np.testing.assert_allclose(
        metrics["reconstruction_error"], np.square(x - decoded).mean(), rtol=1e-4
    )
    assert (
        int(state.step) == 1
        and state.opponent is None
        and set(metrics) == {"codes_error", "reconstruction_error"}
    )


def test_of_several_codes_eq_8_regresses_the_mean_and_leaves_importance_alone():
    layout = expansion(GENERATOR, num_codes=2, at=2)
    encoder = linear_encoder(GENERATOR, layout=layout)
    kernel, (codes, pixels) = kernel_of(encoder), sampled()
    answers = (pixels @ kernel[:, : 2 * L * D]).reshape(B, 2, L * D)
    error = codes - MEAN.ravel() - answers.mean(1)
    state, metrics = step(
        encoder, kernel, generator=expand(GENERATOR, layout), gammas=(0.0, 0.0), gamma_codes=1.0
    )
    change = moved(state, kernel)
    expected = 2 / error.size * pixels.T @ error / 2
    np.testing.assert_allclose(change[:, : 2 * L * D], np.tile(expected, 2), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(change[:, 2 * L * D :], 0)
    np.testing.assert_allclose(metrics["codes_error"], np.square(error).mean(), rtol=1e-5)


class Judge(nn.Module):
    """A discriminator that is linear in the images."""

    @nn.compact
    def __call__(self, images):
        return Linear(1)(images)[:, 0]


def test_a_discriminator_joins_eq_9_and_learns_from_real_and_decoded_images():
    encoder, gamma, r1 = linear_encoder(GENERATOR), 0.3, 2.0
    kernel, x = kernel_of(encoder), REAL.reshape(B, -1).astype(np.float64)
    verdict = (0.2 * np.random.default_rng(3).normal(size=(PIXELS, 1))).astype(np.float32)
    decoded = (MEAN.ravel() + x @ kernel) @ FLAT + PARAMS["constant"]

    def sigmoid(v):
        return 1 / (1 + np.exp(-v))

    opponent = {"Linear_0": {"Dense_0": {"kernel": verdict}}}
    settings = {
        "discriminator": Judge(),
        "discriminator_optimizer": optax.sgd(0.5),
        "opponent": opponent,
        "r1": r1,
    }
    state, metrics = step(encoder, kernel, gammas=(0.0, 0.0), gamma_adversarial=gamma, **settings)
    slope = (
        -gamma / B * sigmoid(-decoded @ verdict) * verdict.T
    )  # of the encoder's -log sigmoid D(x')
    np.testing.assert_allclose(moved(state, kernel), -x.T @ (slope @ FLAT.T), rtol=1e-3, atol=1e-5)
    gradient = (
        -x.T @ sigmoid(-x @ verdict) + decoded.T @ sigmoid(decoded @ verdict)
    ) / B + r1 * verdict
    after = np.asarray(state.opponent.params["Linear_0"]["Dense_0"]["kernel"])
    np.testing.assert_allclose(after, verdict - 0.5 * gradient, rtol=1e-3, atol=1e-4)
    loss = (
        np.logaddexp(0, -x @ verdict).mean()
        + np.logaddexp(0, decoded @ verdict).mean()
        + 0.5 * r1 * np.square(verdict).sum()
    )
    np.testing.assert_allclose(metrics["discriminator_loss"], loss, rtol=1e-4)


@pytest.mark.parametrize("term", ["eq. 8", "eq. 9"])
def test_either_loss_recovers_the_codes_of_a_linear_generator(term):
    """From images of codes per layer by eq. 9, and by eq. 8 from the prior's, where all layers
    have the same.
    """
    rows = np.linalg.qr(np.random.default_rng(4).normal(size=(PIXELS, L * D)))[0].T
    params = {
        "constant": -(MEAN.ravel() @ rows).astype(np.float32),
        "layers": rows.reshape(L, D, PIXELS).astype(np.float32),
    }
    encoder, optimizer, rng = (
        linear_encoder(GENERATOR),
        adamw(0.02, 0.0, 400),
        np.random.default_rng(5),
    )
    gammas = {"eq. 8": (0.0, 1.0), "eq. 9": (1.0, 0.0)}[term]
    make = inverse.make_step(
        encoder, GENERATOR, optimizer, Reconstruction(gammas[0]), gamma_codes=gammas[1]
    )
    state, run = fit_state(encoder.init(KEY, SHAPE, MEAN), optimizer, KEY), jax.jit(make)

    def draw(count=32):
        codes = rng.normal(size=(count, L, D))
        return codes, linear_images(params, codes, resolution=4).astype(np.float32)

    for _ in range(200):
        state, _ = run((params, None), state, {"image": draw()[1]})
    codes, images = draw(count=64)
    if term == "eq. 8":
        codes = np.repeat(codes[:, :1], L, axis=1)
        images = linear_images(params, codes, resolution=4).astype(np.float32)
    error = np.square(np.asarray(encoder.encode(state.params, images)) - codes).mean()
    assert error < 1e-3 * codes.var()
