"""The schedule of every fit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from natra_jax.training.fit import adamw


@pytest.mark.parametrize("steps", [1, 2, 14, 45])
def test_the_learning_rate_warms_up_and_falls_to_zero_however_few_the_steps(steps):
    optimizer = adamw(0.5, 0.0, steps)

    def update(carry, _):
        params, state = carry
        updates, state = optimizer.update(jnp.ones(()), state, params)
        return (params, state), updates

    params = jnp.zeros(())
    _, updates = jax.lax.scan(update, (params, optimizer.init(params)), None, length=steps)
    # Adam's steps on a constant gradient are as long as the learning rate
    warm = max(1, steps // 15)
    t = np.arange(steps)
    falling = 0.5 * (1 + np.cos(np.pi * np.clip(t - warm, 0, None) / max(1, steps - warm)))
    np.testing.assert_allclose(-updates, 0.5 * np.where(t < warm, t / warm, falling), atol=1e-5)
