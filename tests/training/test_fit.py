"""What every fit starts from, and its schedules."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from etils import epath

from natra_jax.training import fit
from natra_jax.training.fit import adamw
from natra_jax.types import UserError
from tests.classifiers import own
from tests.methods import made
from tests.training import small


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


def test_every_method_starts_from_the_weights_and_sees_the_order_of_its_seed(monkeypatch, tmp_path):
    seen = {}

    def run(step, method, state, batch_at, steps, **settings):
        seen[settings["name"]] = (
            jax.tree.map(np.asarray, state._replace(key=jax.random.key_data(state.key))),
            batch_at,
        )
        return state, []

    monkeypatch.setattr(fit.loop, "run", run)
    schedule = fit.Schedule(steps=3, batch_size=8, optimizer=optax.sgd(0.1, 0.9))
    settings = {"devices": jax.devices()[:1], "parallel": "auto", "log": print}

    def start(name, seed=0, **options):
        directory = epath.Path(tmp_path / name)
        options |= settings | {"name": f"{name}-{seed}", "directory": directory, "seed": seed}
        fit.fit_classifier(
            small.builder("batch"), made.method(name), small.examples(), schedule, **options
        )
        return seen[f"{name}-{seed}"]

    original, batch_at = start("original")
    for name in ("natra", "mixi"):
        state, other_batch_at = start(name)
        jax.tree.map(np.testing.assert_array_equal, state, original)
        for step in (0, 1, 7):
            for array, values in batch_at(step).items():
                np.testing.assert_array_equal(other_batch_at(step)[array], values)
    state, other_batch_at = start("original", seed=1)
    assert np.any(
        state.params["Conv_0"]["kernel"] != original.params["Conv_0"]["kernel"]
    ) and np.any(state.key != original.key)
    assert np.any(other_batch_at(0)["index"] != batch_at(0)["index"])
    # fine-tuning starts from what is given, with an auxiliary BatchNorm in the head alone, and with
    # a fresh optimizer for all of them
    given = jax.tree.map(
        lambda x: x + 1, {"params": original.params, "batch_stats": original.batch_stats}
    )
    state, _ = start("advbn", initial=given)
    for collection in ("params", "batch_stats"):
        tree = dict(getattr(state, collection))
        auxiliary = tree.pop("adversarial")
        jax.tree.map(np.testing.assert_array_equal, tree, given[collection])
        assert set(auxiliary) == {"BatchNorm_2"}
        jax.tree.map(
            np.testing.assert_array_equal,
            auxiliary["BatchNorm_2"],
            given[collection]["BatchNorm_2"],
        )
    assert jax.tree.structure(state.opt_state[0].trace) == jax.tree.structure(state.params)


@pytest.mark.parametrize(("network", "count"), [(own.Train(3), 0), (own.TwoLayers(3), 2)])
def test_a_classifier_without_one_advbn_layer_is_a_users_mistake(network, count):
    images = np.zeros((1, 6, 6, 3), np.float32)
    variables = jax.eval_shape(lambda: network.init(jax.random.key(0), images, train=False))
    with pytest.raises(
        UserError, match=f"advbn a classifier needs exactly one AdvBN layer .* has {count}"
    ) as error:
        fit.with_auxiliary(network, variables, (6, 6, 3))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("steps", [1, 4, 7])
def test_sgd_has_momentum_and_weight_decay_and_a_tenth_of_the_rate_in_the_second_half(steps):
    optimizer = fit.sgd(0.5, 0.9, 0.1, steps)
    found, state, weight, velocity = jnp.ones(()), optimizer.init(jnp.ones(())), 1.0, 0.0
    for step in range(steps):
        updates, state = optimizer.update(jnp.asarray(2.0), state, found)
        found = optax.apply_updates(found, updates)
        velocity = 0.9 * velocity + 2.0 + 0.1 * weight
        weight -= (0.5 if step < steps // 2 else 0.05) * velocity
        np.testing.assert_allclose(found, weight, rtol=1e-5)
