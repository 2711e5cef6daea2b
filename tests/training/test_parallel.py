"""One, two and four devices, by pmap and by shard_map, train the same classifier."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from natra_jax.training.parallel import AXIS, compile_step
from tests.methods import made
from tests.training import small

SEVERAL = [(2, "pmap"), (4, "pmap"), (2, "shard_map"), (4, "shard_map"), (4, "auto")]


def beginning(name, optimizer, norm, dtype):
    """(method, state): whose examples have partners, for advmix.

    With groups that fit on each of four devices, for advbn.
    """
    fresh = small.state(optimizer, norm, dtype)
    if name in ("natra", "random"):
        return small.method(dtype, name), fresh
    method = made.method(
        name, dtype=dtype, advmix__source="other", advbn__group_size=small.BATCH_SIZE // 4
    )
    state = made.ready(fresh, method)
    return method, state._replace(
        opt_state=optimizer.init(state.params), epsilon=fresh.epsilon, step=fresh.step
    )


def train(name, optimizer, norm, steps, dtype, devices, mode):
    """The state after so many steps of a method, as NumPy arrays."""
    step = compile_step(small.step_maker(optimizer, norm), jax.devices()[:devices], mode)
    method, state = beginning(name, optimizer, norm, dtype)
    for i in range(steps):
        state, _ = step(
            method, state, made.batch(small.batch_at(i)["index"], method.partners, dtype)
        )
    return jax.tree.map(np.asarray, state._replace(key=jax.random.key_data(state.key)))


SAME = [
    ("natra", "batch", [(2, "pmap"), (4, "shard_map")]),
    ("random", "group", [(4, "pmap")]),
    pytest.param("advmix", "group", [(2, "shard_map")], marks=pytest.mark.slow),
    ("advbn", "batch", [(2, "shard_map"), (4, "pmap")]),
]


@pytest.mark.parametrize(("name", "norm", "ways"), SAME)
def test_five_steps_in_float64_end_in_the_same_numbers_on_any_number_of_devices(name, norm, ways):
    # a bias before BatchNorm has no gradient but rounding's, which Adam divides by eps
    optimizer = optax.adamw(1e-2, eps=1e-6)
    with jax.enable_x64(True):
        alone = train(name, optimizer, norm, 5, np.float64, 1, "auto")
        assert alone.step == 5 and np.any(alone.epsilon > 0) == (name == "natra")
        for devices, mode in ways:
            state = train(name, optimizer, norm, 5, np.float64, devices, mode)
            np.testing.assert_array_equal(state.epsilon, alone.epsilon)
            for tree, expected in (
                (state.params, alone.params),
                (state.batch_stats, alone.batch_stats),
            ):
                jax.tree.map(
                    lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-9), tree, expected
                )
            np.testing.assert_array_equal(state.key, alone.key)


def test_the_gradients_of_one_step_in_float32_agree():
    optimizer = optax.sgd(1.0)  # moves by exactly the gradient

    def gradient(devices, mode):
        before, after = (
            small.state(optimizer, "group").params,
            train("natra", optimizer, "group", 1, np.float32, devices, mode).params,
        )
        return np.concatenate(
            [
                np.ravel(a - b)
                for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
            ]
        )

    alone, shared = gradient(1, "auto"), gradient(4, "pmap")
    assert np.linalg.norm(alone) > 1e-2
    assert np.linalg.norm(shared - alone) < 1e-4 * np.linalg.norm(alone)


class Tally(NamedTuple):
    step: jax.Array
    total: jax.Array


def tally_maker(traced):
    def make(axis_name):
        def step(weight, state, batch):
            traced.append(axis_name)
            share = weight * batch["x"].mean()
            mean = share if axis_name is None else jax.lax.pmean(share, axis_name)
            return Tally(state.step + 1, state.total + mean), {"mean": mean}

        return step

    return make


@pytest.mark.parametrize(("devices", "mode"), [(1, "auto"), (1, "shard_map"), *SEVERAL])
def test_batches_are_split_and_the_rest_is_whole(devices, mode):
    traced = []
    step = compile_step(tally_maker(traced), jax.devices()[:devices], mode)
    x = np.arange(8, dtype=np.float32)
    state, metrics = step(jnp.float32(2), Tally(jnp.zeros((), jnp.int32), jnp.ones(3)), {"x": x})
    assert int(state.step) == 1 and state.total.shape == (3,) and metrics["mean"].shape == ()
    assert float(metrics["mean"]) == 7.0
    np.testing.assert_array_equal(state.total, [8, 8, 8])
    assert set(traced) == {AXIS if devices > 1 else None}


@pytest.mark.parametrize(("devices", "mode"), [(1, "auto"), (2, "pmap"), (2, "shard_map")])
def test_the_second_step_needs_no_second_program(devices, mode):
    traced = []
    step = compile_step(tally_maker(traced), jax.devices()[:devices], mode)
    state = Tally(jnp.zeros((), jnp.int32), jnp.ones(3))
    for _ in range(3):
        state, _ = step(jnp.float32(2), state, {"x": np.arange(8, dtype=np.float32)})
    assert int(state.step) == 3 and len(traced) == 1


def test_on_one_device_the_old_states_memory_is_used_again():
    step = compile_step(tally_maker([]), jax.devices()[:1])
    state = Tally(jnp.zeros((), jnp.int32), jnp.ones(3))
    step(jnp.float32(2), state, {"x": np.arange(8, dtype=np.float32)})
    assert state.total.is_deleted()


def test_an_unknown_mode_is_refused_by_name():
    with pytest.raises(ValueError, match="auto, pmap, shard_map.*'pmpa'"):
        compile_step(tally_maker([]), jax.devices()[:2], "pmpa")


@pytest.mark.parametrize("count", [1, 2])
def test_a_step_is_given_bytes_as_floats_whether_it_or_its_place_converts_them(count):
    images = np.arange(256, dtype=np.uint8).reshape(8, 4, 4, 2)
    step = compile_step(
        lambda axis: lambda frozen, state, batch: (state + 1, {"image": batch["image"].max()}),
        jax.devices()[:count],
    )
    _, metrics = step(np.float32(0), np.zeros(()), {"image": np.full_like(images, 255)})
    assert float(metrics["image"]) == 1.0
    placed = step.to_device({"image": images}).batch["image"]
    np.testing.assert_array_equal(
        np.asarray(placed).ravel(), (images.astype(np.float32) / np.float32(127.5) - 1).ravel()
    )
