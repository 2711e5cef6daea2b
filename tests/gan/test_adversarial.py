"""Adversarial training of a linear generator: who moves, by which gradient, when R1 counts."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from natra_jax.gan import adversarial, autoencoder
from natra_jax.gan.fit_state import fit_state
from tests.helpers import linear_generator, linear_images, linear_params

L, D, SIZE, B, RATE = 2, 3, 4, 8, 0.1
RNG = np.random.default_rng(0)
Z = RNG.normal(size=(B, D)).astype(np.float32)
# a prior of a few fixed draws, so that what the step sees is known here
GENERATOR = replace(
    linear_generator(L, D, resolution=SIZE), sample=lambda key, n: jnp.asarray(Z[:n])
)
IMAGES = RNG.normal(size=(B, SIZE, SIZE, 1)).astype(np.float32)
WEIGHTS = RNG.normal(size=(SIZE, SIZE, 1)).astype(np.float32) / SIZE


class Sure(nn.Module):
    """A posterior with hardly any noise, so that the autoencoder's loss does not depend on keys."""

    @nn.compact
    def __call__(self, images):
        mean = nn.Dense(D)(images.reshape(len(images), -1))
        return jnp.concatenate([mean, jnp.full_like(mean, -30.0)], axis=1)


class Linear(nn.Module):
    @nn.compact
    def __call__(self, images):
        return (self.param("w", lambda _: jnp.asarray(WEIGHTS)) * images).sum((1, 2, 3))


NETWORK = Sure()
OPTIMIZER = optax.sgd(RATE)
BOTH = adversarial.Optimizers(OPTIMIZER, OPTIMIZER)
PARAMS = autoencoder.init_params(GENERATOR, NETWORK, IMAGES.shape[1:], jax.random.key(0)) | {
    "generator": linear_params(GENERATOR)
}


def state_at(step=0, discriminator=WEIGHTS):
    state = adversarial.init_state(
        PARAMS, {"w": jnp.asarray(discriminator)}, BOTH, jax.random.key(1)
    )
    return state._replace(step=jnp.asarray(step, jnp.int32))


def step_with(network=NETWORK, **options):
    settings = {
        "kl_weight": 0.2,
        "reconstruction": 0.0,
        "r1": 0.0,
        "r1_every": 1,
        "decay": 0.9,
        "kinds": (),
    }
    return jax.jit(adversarial.make_step(GENERATOR, network, Linear(), BOTH, **settings | options))


PLAIN = step_with()


def difference(new, old):
    return jax.tree.map(lambda a, b: np.asarray(a) - np.asarray(b), new, old)


def assert_close(a, b, atol=1e-6):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=atol), a, b)


def test_the_discriminator_moves_first_and_the_generator_against_it():
    state, metrics = PLAIN(None, state_at(), {"image": IMAGES})
    fake = np.asarray(
        GENERATOR.synthesize(PARAMS["generator"], GENERATOR.map(PARAMS["generator"], Z)), np.float64
    )

    def sigmoid(w, x):
        return 1 / (1 + np.exp(-np.tensordot(x, w, 3)))

    slope = ((sigmoid(WEIGHTS, IMAGES) - 1)[:, None, None, None] * IMAGES).mean(0)
    slope += (sigmoid(WEIGHTS, fake)[:, None, None, None] * fake).mean(0)
    moved = WEIGHTS - RATE * slope
    np.testing.assert_allclose(state.discriminator["w"], moved, rtol=1e-4, atol=1e-6)
    of_images = (
        (sigmoid(moved, fake) - 1)[:, None] * moved.ravel() / B
    )  # of the generator's loss, by the moved discriminator
    constant = PARAMS["generator"]["constant"] - RATE * of_images.sum(0)
    layers = PARAMS["generator"]["layers"] - RATE * np.broadcast_to(
        Z.T @ of_images, (L, D, SIZE * SIZE)
    )
    assert_close(state.params["generator"], {"constant": constant, "layers": layers})
    np.testing.assert_allclose(
        metrics["generator_loss"], -np.log(sigmoid(moved, fake)).mean(), rtol=1e-4
    )
    assert int(state.step) == 1


def test_without_reconstruction_the_autoencoders_network_stays():
    state, metrics = PLAIN(None, state_at(), {"image": IMAGES})
    jax.tree.map(np.testing.assert_array_equal, state.params["network"], PARAMS["network"])
    assert set(metrics) == {"discriminator_loss", "generator_loss"}


@pytest.mark.slow
def test_reconstruction_adds_the_autoencoders_gradient_so_many_times_and_leaves_the_discriminator():
    plain, _ = PLAIN(None, state_at(), {"image": IMAGES})
    once, metrics = step_with(reconstruction=1.0)(None, state_at(), {"image": IMAGES})
    thrice, _ = step_with(reconstruction=3.0)(None, state_at(), {"image": IMAGES})
    np.testing.assert_array_equal(once.discriminator["w"], plain.discriminator["w"])
    np.testing.assert_array_equal(thrice.discriminator["w"], plain.discriminator["w"])
    added = difference(once.params, plain.params)
    assert_close(
        difference(thrice.params, plain.params), jax.tree.map(lambda x: 3 * x, added), atol=1e-4
    )
    assert (
        "reconstruction_error" in metrics
        and np.abs(added["network"]["Dense_0"]["kernel"]).max() > 1e-3
    )
    own_step = jax.jit(autoencoder.make_step(GENERATOR, NETWORK, OPTIMIZER, 0.2))
    own, _ = own_step(None, fit_state(PARAMS, OPTIMIZER, jax.random.key(9)), {"image": IMAGES})
    assert_close(added, difference(own.params, PARAMS), atol=1e-5)


def test_r1_counts_every_so_many_steps_that_many_times():
    step, batch = step_with(r1=0.5, r1_every=3), {"image": IMAGES}
    for at in range(5):
        penalised, plain = (
            one(None, state_at(at), batch)[0].discriminator["w"] for one in (step, PLAIN)
        )
        # the gradient of 3 * 0.5 / 2 * |w|^2
        expected = -RATE * 3 * 0.5 * WEIGHTS if at % 3 == 0 else np.zeros_like(WEIGHTS)
        np.testing.assert_allclose(penalised - plain, expected, rtol=1e-3, atol=1e-6)


def test_both_networks_see_real_and_generated_images_augmented(monkeypatch):
    """Augmented to black, all images look alike: nobody has anything to learn."""
    seen = []

    def black(key, images, kinds):
        seen.append(kinds)
        return 0 * images

    monkeypatch.setattr(adversarial, "augment", black)
    state, _ = step_with(kinds=("color",), r1=0.0)(None, state_at(), {"image": IMAGES})
    # real and generated ones for the discriminator, generated ones for the generator
    assert seen == [("color",)] * 3
    np.testing.assert_array_equal(state.discriminator["w"], WEIGHTS)
    jax.tree.map(np.testing.assert_array_equal, state.params, PARAMS)


def test_what_is_frozen_stays_and_takes_part():
    """A layer that is frozen moves nothing, but images are made with it."""
    frozen = {"layers": PARAMS["generator"]["layers"]}
    trained = {"generator": {"constant": PARAMS["generator"]["constant"]}}
    state = adversarial.init_state(trained, {"w": jnp.asarray(WEIGHTS)}, BOTH, jax.random.key(1))
    moved, _ = step_with(network=None)(frozen, state, {"image": IMAGES})
    whole, _ = PLAIN(None, state_at(), {"image": IMAGES})
    assert moved.params["generator"].keys() == {"constant"}
    assert_close(moved.params["generator"]["constant"], whole.params["generator"]["constant"])
    np.testing.assert_allclose(moved.discriminator["w"], whole.discriminator["w"], rtol=1e-5)


def test_a_reconstruction_without_its_network_is_refused():
    with pytest.raises(ValueError, match="needs its network"):
        step_with(network=None, reconstruction=1.0)


def test_the_average_follows_the_weights():
    state, expected = state_at(), PARAMS
    for _ in range(3):
        state, _ = PLAIN(None, state, {"image": IMAGES})
        expected = jax.tree.map(
            lambda a, p: 0.9 * np.asarray(a) + 0.1 * np.asarray(p), expected, state.params
        )
    assert_close(state.average, expected)
    assert np.abs(difference(state.average, state.params)["generator"]["constant"]).max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("kinds", [(), ("translation",)])
def test_a_generator_of_one_number_moves_towards_the_real_images(kinds):
    only = replace(
        GENERATOR,
        map=lambda params, z, label=None, truncation_psi=1.0: z[:, None],
        synthesize=lambda params, codes: jnp.broadcast_to(
            params["level"], (len(codes), SIZE, SIZE, 1)
        ),
    )
    params = {"generator": {"level": jnp.asarray(-1.0)}, "network": {}}
    settings = {
        "kl_weight": 0.0,
        "reconstruction": 0.0,
        "r1": 1.0,
        "r1_every": 2,
        "decay": 0.0,
        "kinds": kinds,
    }
    step = jax.jit(adversarial.make_step(only, NETWORK, Linear(), BOTH, **settings))
    state = adversarial.init_state(
        params, {"w": jnp.zeros((SIZE, SIZE, 1))}, BOTH, jax.random.key(0)
    )
    levels = []
    for _ in range(10):
        state, _ = step(None, state, {"image": np.full((B, SIZE, SIZE, 1), 2.0, np.float32)})
        levels.append(float(state.average["generator"]["level"]))
    assert -1 < levels[0] < levels[4] < levels[-1]


def test_the_loss_of_the_autoencoder_is_squared_error_and_divergence():
    total, metrics = autoencoder.loss(GENERATOR, NETWORK, PARAMS, jax.random.key(0), IMAGES, 0.5)
    dense = PARAMS["network"]["Dense_0"]
    mean = IMAGES.reshape(B, -1) @ np.asarray(dense["kernel"]) + np.asarray(dense["bias"])
    decoded = linear_images(PARAMS["generator"], np.repeat(mean[:, None], L, axis=1), SIZE)
    squared = np.square(IMAGES.astype(np.float64) - decoded)
    divergence = 0.5 * (np.square(mean).sum(1).mean() + D * (np.exp(-30.0) - 1 + 30))
    np.testing.assert_allclose(metrics["reconstruction_error"], squared.mean(), rtol=1e-4)
    np.testing.assert_allclose(metrics["divergence"], divergence, rtol=1e-5)
    np.testing.assert_allclose(total, squared.sum((1, 2, 3)).mean() + 0.5 * divergence, rtol=1e-4)
