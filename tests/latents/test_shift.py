"""Shifting on a linear generator: one step is eq. 10's gradient step in closed form, on the
synthesis network alone.
"""

import jax
import numpy as np
import optax
import pytest

from natra_jax.gan.fit_state import fit_state
from natra_jax.generators import style_small
from natra_jax.latents import shift
from natra_jax.latents.expansion import expand, expansion
from natra_jax.latents.reconstruction import Reconstruction
from tests.helpers import linear_generator, linear_params
from tests.latents.linear import linear_encoder, weights

L, D, B, AT, PIXELS, RATE = 3, 2, 5, 2, 4, 0.5
GENERATOR = linear_generator(L, D)
PARAMS = linear_params(GENERATOR) | {"mapping": np.ones(3, np.float32)}
RNG = np.random.default_rng(0)
REAL, MEAN = RNG.normal(size=(B, 2, 2, 1)).astype(np.float32), RNG.normal(size=(L, D))


@pytest.mark.parametrize("num_codes", [1, 2])
def test_a_step_is_the_gradient_step_of_eq_10_and_steps_lower_the_loss(num_codes):
    layout = expansion(GENERATOR, num_codes=num_codes, at=AT)
    encoder, generator, optimizer = (
        linear_encoder(GENERATOR, layout=layout),
        expand(GENERATOR, layout),
        optax.sgd(RATE),
    )
    encoder_params = weights(
        0.3 * np.random.default_rng(1).normal(size=(PIXELS, encoder.network.outputs)), MEAN
    )
    make = shift.make_step(encoder, generator, optimizer, Reconstruction(gamma1=0.7))
    state, step = fit_state(shift.synthesis(PARAMS), optimizer, jax.random.key(0)), jax.jit(make)
    unpacked = jax.jit(lambda images: layout.unpack(encoder.encode(encoder_params, images)))(REAL)
    codes, logits = (np.asarray(x, np.float64) for x in unpacked)
    importance = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    # what each layer's matrix is multiplied by, pixel by pixel
    inputs = np.einsum("bnld,bnp->bldp", codes, importance)
    inputs[:, AT:] = codes.mean(1)[:, AT:, :, None]
    decoded = PARAMS["constant"] + np.einsum("bldp,ldp->bp", inputs, PARAMS["layers"])
    error = REAL.reshape(B, -1) - decoded
    slope = 0.7 * 2 / error.size * error
    errors = []
    for _ in range(10):
        state, metrics = step((encoder_params, PARAMS, None), state, {"image": REAL})
        errors.append(float(metrics["reconstruction_error"]))
        if len(errors) == 1:
            expected = {
                "constant": slope.sum(0),
                "layers": np.einsum("bldp,bp->ldp", inputs, slope),
            }
            for name, change in expected.items():
                np.testing.assert_allclose(
                    state.params[name], PARAMS[name] + RATE * change, rtol=1e-5, atol=1e-5
                )
    assert set(state.params) == {"constant", "layers"} and int(state.step) == 10
    np.testing.assert_allclose(errors[0], np.square(error).mean(), rtol=1e-5)
    assert np.all(np.diff(errors) < 0) and errors[-1] < 0.5 * errors[0]


def test_the_mapping_network_is_no_part_of_what_is_shifted():
    generator = style_small(resolution=8, code_dim=3, base_channels=2, max_channels=2)
    params = jax.eval_shape(generator.init, jax.random.key(0))
    assert set(params) - set(shift.synthesis(params)) == {"mapping"}
    assert jax.tree.leaves(params["mapping"])
