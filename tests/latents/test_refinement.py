"""Refinement on a linear generator: its first step in closed form, what it never does, and that it
finds the codes.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from natra_jax.latents.expansion import expand, expansion
from natra_jax.latents.reconstruction import Reconstruction
from natra_jax.latents.refinement import refine
from tests.helpers import linear_generator, linear_images
from tests.latents.linear import linear_encoder, weights

L, D, B, SHAPE, PIXELS = 3, 2, 6, (4, 4, 1), 16
GENERATOR = linear_generator(L, D, resolution=4)
RNG = np.random.default_rng(0)
ROWS = np.linalg.qr(RNG.normal(size=(PIXELS, L * D)))[
    0
].T  # orthonormal: the codes' errors are those of the pixels
PARAMS = {
    "constant": RNG.normal(size=PIXELS).astype(np.float32),
    "layers": ROWS.reshape(L, D, PIXELS).astype(np.float32),
}
MEAN = RNG.normal(size=(L, D)).astype(np.float32)
CODES = RNG.normal(size=(B, L, D))
REAL = linear_images(PARAMS, CODES, resolution=4).astype(np.float32)


def features(x):
    return (jnp.tanh(x),)


def encoder_of(kind="w+", layout=None):
    encoder = linear_encoder(GENERATOR, kind, layout)
    return encoder, weights(
        0.2 * np.random.default_rng(1).normal(size=(PIXELS, encoder.network.outputs)), MEAN
    )


@partial(jax.jit, static_argnames=("encoder", "generator", "terms", "steps"))
def run(
    encoder,
    params,
    images,
    *,
    terms=(1.0, 0.0),
    gamma_domain=0.0,
    steps,
    learning_rate,
    generator=GENERATOR,
):
    settings = {"steps": steps, "learning_rate": learning_rate, "gamma_domain": gamma_domain}
    return refine(
        encoder,
        params,
        generator,
        PARAMS,
        features,
        images,
        reconstruction=Reconstruction(*terms),
        **settings,
    )


def losses(params, codes, images, terms, gamma_domain):
    """Of codes [B, L, D], as the sum is written, in NumPy."""
    decoded, flat = linear_images(PARAMS, codes, resolution=4), images.astype(np.float64)
    again = MEAN + (
        decoded.reshape(len(codes), -1) @ params["network"]["Dense_0"]["kernel"]
    ).reshape(codes.shape)
    pixels = np.square(flat - decoded).mean((1, 2, 3))
    perceptual = np.abs(np.tanh(flat) - np.tanh(decoded)).mean((1, 2, 3))
    return (
        terms[0] * pixels
        + terms[1] * perceptual
        + gamma_domain * np.square(codes - again).mean((1, 2))
    )


@pytest.mark.parametrize(("gamma1", "gamma_domain"), [(1.0, 0.0), (0.0, 1.0), (1.0, 0.3)])
def test_the_first_step_follows_both_terms(gamma1, gamma_domain):
    encoder, params = encoder_of()
    kernel, x = params["network"]["Dense_0"]["kernel"].astype(np.float64), REAL.reshape(B, -1)
    start = x @ kernel
    decoded = (MEAN.ravel() + start) @ ROWS + PARAMS["constant"]
    slope = gamma1 * 2 / PIXELS * (decoded - x) @ ROWS.T
    away = start - decoded @ kernel
    slope += gamma_domain * 2 / (L * D) * away @ (np.eye(L * D) - ROWS @ kernel).T
    # Adam's first step has the learning rate's length along every axis
    expected = MEAN.ravel() + start - 1e-3 * np.sign(slope)
    codes = run(
        encoder,
        params,
        REAL,
        terms=(gamma1, 0.0),
        gamma_domain=gamma_domain,
        steps=1,
        learning_rate=1e-3,
    )
    np.testing.assert_allclose(codes.reshape(B, -1), expected, atol=1e-5)


def test_no_image_ends_worse_than_the_encoders_answer_and_most_end_better():
    encoder, params = encoder_of()
    terms, gamma_domain = (1.0, 0.5), 0.3
    before = losses(params, np.asarray(encoder.encode(params, REAL)), REAL, terms, gamma_domain)
    found = partial(run, encoder, params, REAL, terms=terms, gamma_domain=gamma_domain, steps=8)
    better = {}
    # of steps much too long only the best place on the way is kept, most often where they began
    for rate in (0.03, 1.0, 100.0):
        after = losses(params, np.asarray(found(learning_rate=rate)), REAL, terms, gamma_domain)
        assert np.all(after <= before + 1e-5)
        better[rate] = np.mean(after < before - 1e-4)
    assert better[0.03] == 1 and better[1.0] > 0 and better[100.0] == 0
    np.testing.assert_allclose(found(learning_rate=100.0), encoder.encode(params, REAL), atol=1e-5)


def test_an_images_codes_do_not_depend_on_the_others():
    encoder, params = encoder_of()
    found = partial(
        run, encoder, params, terms=(1.0, 0.5), gamma_domain=0.3, steps=8, learning_rate=0.3
    )
    together, order = np.asarray(found(REAL)), np.array([3, 0, 0, 5, 3, 1])
    np.testing.assert_allclose(found(REAL[order]), together[order], atol=1e-5)
    others = np.concatenate([REAL[:1], 10 * REAL[1:]])
    np.testing.assert_allclose(found(others)[0], together[0], atol=1e-5)


def test_the_codes_of_a_linear_generators_images_are_found():
    encoder, params = encoder_of()
    start = np.asarray(encoder.encode(params, REAL))
    codes = np.asarray(run(encoder, params, REAL, steps=300, learning_rate=0.05))
    assert np.square(start - CODES).mean() > 0.1
    np.testing.assert_allclose(codes, CODES, atol=2e-3)


def test_one_code_for_all_layers_stays_one():
    encoder, params = encoder_of("w")
    offsets = np.asarray(run(encoder, params, REAL, steps=8, learning_rate=0.1)) - MEAN
    np.testing.assert_allclose(offsets, np.broadcast_to(offsets[:, :1], offsets.shape), atol=1e-6)
    assert np.abs(offsets - (encoder.encode(params, REAL) - MEAN)).max() > 0.1


def test_several_codes_and_their_importance_are_refined():
    layout = expansion(GENERATOR, num_codes=2, at=2)
    encoder, params = encoder_of(layout=layout)
    generator = expand(GENERATOR, layout)
    start, found = (
        run(encoder, params, REAL, generator=generator, steps=steps, learning_rate=0.1)
        for steps in (0, 8)
    )

    @jax.jit
    def taken_apart(codes):
        unpacked = layout.unpack(codes)
        return (
            jnp.square(REAL - generator.synthesize(PARAMS, codes)).mean((1, 2, 3)),
            unpacked,
            layout.pack(*unpacked),
        )

    (before, of_start, _), (after, of_found, again) = taken_apart(start), taken_apart(found)
    assert np.all(np.asarray(after) < 0.9 * np.asarray(before))
    for a, b in zip(of_start, of_found, strict=True):
        assert np.abs(np.asarray(a) - b).mean() > 0.05
    # what lies behind the codes and is read by nothing stays zero
    np.testing.assert_array_equal(again, found)


def test_without_a_step_the_answer_is_the_encoders():
    encoder, params = encoder_of()
    np.testing.assert_array_equal(
        run(encoder, params, REAL, steps=0, learning_rate=0.1),
        jax.jit(encoder.encode)(params, REAL),
    )
