"""Refine an encoder's codes image by image, for those who can pay for it.

NaTra section 3.3; in-domain inversion (Zhu et al. 2020, arXiv 2004.00049, eq. 4):

    minimise over codes: NaTra eq. 9's loss of g(codes) + gamma_domain |codes - enc(g(codes))|^2

It starts from the encoder's answer and stays among its possible answers: a code that it gives all
layers alike stays one. The last term keeps the codes where the encoder, and so the generator's own
images, are at home; it is a mean over the entries of the answer.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

from natra_jax.latents.encoder import InverseEncoder
from natra_jax.latents.reconstruction import FeaturesFn, Reconstruction
from natra_jax.types import Generator, Params


def refine(
    encoder: InverseEncoder,
    encoder_params: Params,
    generator: Generator,
    generator_params: Params,
    features_fn: FeaturesFn | None,
    images: jax.Array,
    *,
    steps: int,
    learning_rate: float,
    reconstruction: Reconstruction,
    gamma_domain: float,
) -> jax.Array:
    """Return codes [B, L, D] (or expanded) after Adam steps, each image's of least loss on the way.

    No image's codes depend on the others'. The encoder's own answer is among the candidates: no
    loss is above its.

    Args:
      encoder: of the codes.
      encoder_params: its parameters.
      generator: of expanded codes where the encoder's are.
      generator_params: its parameters.
      features_fn: perceptual features; None: none.
      images: [B, H, W, C] in [-1, 1].
      steps: of Adam.
      learning_rate: of Adam.
      reconstruction: the terms of eq. 9.
      gamma_domain: weight of the last term.
    """

    def losses(answers: jax.Array) -> jax.Array:
        """Compute each image's loss, [B]."""
        decoded = generator.synthesize(generator_params, encoder.read(encoder_params, answers))
        away = jnp.square(answers - encoder.answer(encoder_params, decoded)).mean(1)
        return reconstruction.loss(features_fn, images, decoded) + gamma_domain * away

    def value_and_grad(answers: jax.Array) -> tuple[jax.Array, jax.Array]:
        loss, pull_back = jax.vjp(losses, answers)
        return loss, pull_back(jnp.ones_like(loss))[0]

    optimizer = optax.adam(learning_rate)

    def step(carry: Any, _: None) -> tuple[Any, None]:
        answers, opt_state, best, least = carry
        loss, gradient = value_and_grad(answers)
        best = jnp.where((loss < least)[:, None], answers, best)
        updates, opt_state = optimizer.update(gradient, opt_state)
        return (answers + updates, opt_state, best, jnp.minimum(loss, least)), None

    start = encoder.answer(encoder_params, images)
    carry = (start, optimizer.init(start), start, jnp.full(len(images), jnp.inf))
    (answers, _, best, least), _ = jax.lax.scan(step, carry, None, length=steps)
    return encoder.read(
        encoder_params, jnp.where((losses(answers) < least)[:, None], answers, best)
    )
