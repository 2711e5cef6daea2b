"""Batch inverse encoding on a linear generator: what the encoder starts from, what it is trained on, and that it learns."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from natra_jax.latents import encoder as inverse
from natra_jax.training.fit import adamw
from tests.helpers import few_examples, floats32, linear_generator, linear_images, linear_params

L, D, SHAPE = 3, 2, (4, 4, 1)
GENERATOR = linear_generator(L, D, resolution=4)
PARAMS = linear_params(GENERATOR)
MEAN = np.random.default_rng(0).normal(size=(L, D)).astype(np.float32)


def build(codes="w+"):
    return inverse.inverse_encoder(GENERATOR, codes=codes, widths=(8,), hidden=16)


def images(count=16, seed=1):
    codes = MEAN + np.random.default_rng(seed).normal(size=(count, L, D))
    return linear_images(PARAMS, codes, resolution=4).astype(np.float32)


@pytest.mark.parametrize("kind", ["w", "w+"])
def test_codes_start_at_the_mean_and_have_one_vector_for_each_layer(kind):
    encoder = build(kind)
    params = encoder.init(jax.random.key(0), SHAPE, MEAN)
    codes = np.asarray(jax.jit(encoder.encode)(params, images()))
    assert codes.shape == (16, L, D)
    offsets = codes - MEAN
    assert np.abs(offsets).max() < 0.3 < 0.5 < np.abs(images()).std()
    assert np.ptp(offsets, axis=0).max() > 0
    # w is one code for all layers, w+ one for each
    assert (np.ptp(offsets, axis=1).max() < 1e-6) == (kind == "w")
    assert encoder.network.outputs == D * (1 if kind == "w" else L)


def test_an_unknown_kind_of_codes_is_refused():
    with pytest.raises(ValueError, match="'w' or 'w\\+', got 'z'"):
        build("z")


def features(x):
    return x[:, ::2], jnp.tanh(x)


def step_of(encoder, optimizer, **options):
    settings = {"gamma1": 1.0, "gamma2": 0.0, "gamma_codes": 1.0, "pixel_loss": "l2"}
    return jax.jit(inverse.make_step(encoder, GENERATOR, optimizer, **settings | options))


def fit(steps, optimizer):
    encoder = build()
    state = inverse.fit_state(encoder.init(jax.random.key(0), SHAPE, MEAN), optimizer, jax.random.key(1))
    step, history = step_of(encoder, optimizer), []
    for i in range(steps):
        state, metrics = step((PARAMS, None), state, {"image": images(seed=i)})
        history.append({name: float(value) for name, value in metrics.items()})
    return state, history


def test_training_lowers_both_losses():
    state, history = fit(150, adamw(1e-2, 0.0, 300))
    assert int(state.step) == 150
    for name in ("codes_error", "reconstruction_error"):
        first, last = (np.mean([entry[name] for entry in part]) for part in (history[:5], history[-5:]))
        assert last < 0.6 * first


def test_each_loss_is_followed_by_itself_when_the_other_has_no_weight():
    encoder, optimizer = build(), optax.sgd(0.1)
    fresh = inverse.fit_state(encoder.init(jax.random.key(0), SHAPE, MEAN), optimizer, jax.random.key(1))

    def moved(**weights):
        frozen = (PARAMS, jax.tree_util.Partial(features))
        state, _ = step_of(encoder, optimizer, **weights)(frozen, fresh, {"image": images()})
        return jax.tree.map(lambda a, b: np.asarray(a - b), state.params["network"], fresh.params["network"])

    def expected(loss):
        return jax.tree.map(lambda g: -0.1 * np.asarray(g), jax.jit(jax.grad(loss))(fresh.params["network"]))

    def codes_loss(network):  # eq. 8 on samples by (key, step)
        z = GENERATOR.sample(jax.random.fold_in(jax.random.key(1), 0), 16)
        codes = GENERATOR.map(PARAMS, z)
        answered = encoder.encode({"network": network, "mean": MEAN}, GENERATOR.synthesize(PARAMS, codes))
        return 0.5 * jnp.square(codes - answered).mean()

    def image_loss(network):  # both terms of eq. 9
        decoded = GENERATOR.synthesize(PARAMS, encoder.encode({"network": network, "mean": MEAN}, images()))
        seen = zip(features(images()), features(decoded), strict=True)
        return 2.0 * jnp.square(images() - decoded).mean() + 0.7 * sum(jnp.abs(a - b).mean() for a, b in seen)

    weighed = (({"gamma1": 0.0, "gamma_codes": 0.5}, codes_loss), ({"gamma1": 2.0, "gamma2": 0.7, "gamma_codes": 0.0}, image_loss))
    for weights, loss in weighed:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6), moved(**weights), expected(loss))


def test_the_mean_code_stays_where_it_is():
    state, _ = fit(20, adamw(1e-2, 0.1, 40))
    np.testing.assert_array_equal(state.params["mean"], MEAN)


@few_examples
@given(
    real=floats32((2, 4, 4, 1), -1, 1),
    decoded=floats32((2, 4, 4, 1), -1, 1),
    gamma1=st.floats(0, 2),
    gamma2=st.floats(0, 2),
    pixel_loss=st.sampled_from(["l1", "l2"]),
    perceptual=st.booleans(),
)
def test_the_reconstruction_loss_is_eq_9(real, decoded, gamma1, gamma2, pixel_loss, perceptual):
    error = real.astype(np.float64) - decoded
    expected = gamma1 * (np.square(error) if pixel_loss == "l2" else np.abs(error)).mean()
    if perceptual:
        expected += gamma2 * sum(
            np.abs(np.asarray(a) - np.asarray(b)).mean() for a, b in zip(features(real), features(decoded), strict=True)
        )
    loss = inverse.reconstruction_loss(real, decoded, features if perceptual else None, gamma1=gamma1, gamma2=gamma2, pixel_loss=pixel_loss)
    np.testing.assert_allclose(loss, expected, rtol=1e-5, atol=1e-6)
