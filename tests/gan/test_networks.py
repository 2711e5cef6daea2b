"""The networks of gan: the discriminator's logits, alone and in groups."""

import jax
import numpy as np
import pytest

from natra_jax.gan import discriminator as critic
from natra_jax.gan.networks import Discriminator

REAL, FAKE = np.random.default_rng(0).normal(size=(2, 4, 8, 8, 3)).astype(np.float32)
SMALL = Discriminator(widths=(4, 6), hidden=8)
PARAMS = critic.init_params(SMALL, REAL.shape[1:], jax.random.key(1))


def test_one_logit_an_image_which_knows_no_other_unless_they_form_groups():
    logits = jax.jit(critic.logits, static_argnums=0)
    mixed = np.concatenate([REAL[:3], FAKE[:1]])
    alone = logits(SMALL, PARAMS, REAL)
    assert alone.shape == (4,) and np.ptp(alone) > 0
    np.testing.assert_allclose(logits(SMALL, PARAMS, mixed)[:3], alone[:3], rtol=1e-4, atol=1e-5)

    grouped = Discriminator(widths=(4, 6), hidden=8, group=2)
    params = critic.init_params(grouped, REAL.shape[1:], jax.random.key(1))
    together, other = logits(grouped, params, REAL), logits(grouped, params, mixed)
    np.testing.assert_allclose(other[:2], together[:2], rtol=1e-4, atol=1e-5)
    assert abs(float(other[2] - together[2])) > 1e-4
    # two of the same have a gradient too
    slopes = jax.jit(jax.grad(lambda x: critic.logits(grouped, params, x).sum()))(
        np.repeat(REAL[:1], 2, axis=0)
    )
    assert np.isfinite(slopes).all()
    with pytest.raises(ValueError, match="group must divide the batch of 3 images, got 2"):
        critic.logits(grouped, params, REAL[:3])
