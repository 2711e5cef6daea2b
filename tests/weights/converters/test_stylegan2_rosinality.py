"""rosinality's StyleGAN2 checkpoints against what that program made of them."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from natra_jax.generators.stylegan2 import stylegan2
from natra_jax.types import UserError
from natra_jax.weights.converters import stylegan2_rosinality
from natra_jax.weights.tensors import Converted, Tensors

GOLDEN = Path(__file__).parents[2] / "golden" / "stylegan2_rosinality_32.npz"
EXACT = {"rtol": 0, "atol": 5e-5}


@pytest.fixture(scope="module")
def golden():
    return dict(np.load(GOLDEN))


@pytest.fixture(scope="module")
def state(golden):
    """As the reader of files gives it, the mean code beside the network."""
    return {key[2:]: array for key, array in golden.items() if key.startswith("p/")} | {
        "latent_avg": golden["in/latent_avg"]
    }


@pytest.fixture(scope="module")
def config(golden):
    return json.loads(str(golden["config"]))


def convert(state, config) -> Converted:
    return stylegan2_rosinality.convert(Tensors(state, "StyleGAN2"), config)


def built(arguments):
    return stylegan2(
        **{
            name: tuple(value) if isinstance(value, list) else value
            for name, value in arguments.items()
        }
    )


def channels_last(images):
    return images.transpose(0, 2, 3, 1)


def test_codes_images_and_activations_are_those_of_rosinalitys_program(golden, state, config):
    arguments, params, notes = convert(state, config)
    generator = built(arguments)
    assert not notes and json.loads(json.dumps(arguments)) == arguments
    shapes = jax.eval_shape(generator.init, jax.random.key(0))
    assert jax.tree.map(np.shape, params) == jax.tree.map(np.shape, shapes)
    noise = [channels_last(golden[f"in/noise_{n}"]) for n in range(generator.num_layers - 1)]

    @jax.jit
    def everything(params, z, mixed, codes, noise):
        drawn, truncated = generator.map(params, z), generator.map(params, z, truncation_psi=0.7)
        const = generator.synthesize(params, jnp.concatenate([drawn, truncated, mixed, codes]))
        names = [
            "out/img_const",
            "out/img_psi0.7_const",
            "out/img_mix3_const",
            "out/img_plus_const",
        ]
        images = dict(zip(names, jnp.split(const, 4), strict=True))
        images["out/img_plus_noise"] = generator.synthesize(params, codes, noise=noise)
        mapped = {"out/w": drawn[:, 0], "out/ws": drawn, "out/ws_psi0.7": truncated}
        features = [generator.head(params, codes, 1)]
        for l in range(1, generator.num_layers - 1):
            features.append(generator.advance(params, features[-1], codes, l, l + 1))
        return mapped, images, [feature.x for feature in features]

    with jax.default_matmul_precision("highest"):
        mapped, images, activations = everything(
            params, golden["in/z"], golden["out/ws_mix3"], golden["in/ws_plus"], noise
        )
    for key, value in mapped.items():
        np.testing.assert_allclose(value, golden[key], err_msg=key, **EXACT)
    for key, value in images.items():
        np.testing.assert_allclose(value, channels_last(golden[key]), err_msg=key, **EXACT)
    for l, value in enumerate(activations):
        name = f"convs.{l - 1}" if l else "conv1"
        np.testing.assert_allclose(
            value, channels_last(golden[f"act_plus/{name}"]), err_msg=name, **EXACT
        )


def test_without_a_mean_code_that_of_many_draws_is_taken_and_said(state, config):
    arguments, params, notes = convert(
        {name: array for name, array in state.items() if name != "latent_avg"}, config
    )
    assert len(notes) == 1 and "mean code" in notes[0]
    generator = built(arguments)
    w = np.asarray(generator.map(params, generator.sample(jax.random.key(5), 4000)))[:, 0]
    error = w.std(0) / np.sqrt(4000) + w.std(0) / np.sqrt(10_000)
    assert np.all(np.abs(w.mean(0) - params["mapping"]["mean"]) < 5 * error)
    again = convert({name: array for name, array in state.items() if name != "latent_avg"}, config)
    np.testing.assert_array_equal(again.params["mapping"]["mean"], params["mapping"]["mean"])


def test_a_mean_code_for_each_layer_is_one_where_all_are_equal(state, config):
    rows = np.repeat(state["latent_avg"].reshape(1, -1), 8, 0)
    found = convert(state | {"latent_avg": rows}, config).params["mapping"]["mean"]
    np.testing.assert_array_equal(found, rows[0])
    with pytest.raises(UserError, match="latent_avg holds"):
        convert(state | {"latent_avg": rows * np.arange(8, dtype=np.float32)[:, None]}, config)


def test_of_files_older_than_noise_maps_they_are_drawn_and_that_is_said(state, config):
    old = {name: array for name, array in state.items() if not name.startswith("noises.")}
    arguments, params, notes = convert(old, config)
    assert len(notes) == 1 and "noise" in notes[0]
    maps = params["buffers"]["noise"]
    assert [m.shape for m in maps] == [(s, s) for s in (4, 8, 8, 16, 16, 32, 32)]
    assert abs(maps[-1].std() - 1) < 0.1 and np.abs(maps[-1] - maps[-2]).max() > 1
    np.testing.assert_array_equal(maps[3], convert(old, config).params["buffers"]["noise"][3])


def test_a_damaged_checkpoint_is_a_users_error_whatever_the_damage(state, config):
    damages = {
        "missing": lambda name, array: {},
        "flattened": lambda name, array: {name: array.reshape(-1, *(1,) * array.ndim)},
        "empty": lambda name, array: {name: array[..., :0]},
        "not finite": lambda name, array: {name: np.full_like(array, np.inf)},
        "doubled": lambda name, array: {name: np.concatenate([array, array])},
    }
    for name, array in state.items():
        for damage, change in damages.items():
            if name == "latent_avg" and damage in ("missing", "flattened"):
                continue  # read all the same
            with pytest.raises(UserError):
                convert(
                    {other: a for other, a in state.items() if other != name} | change(name, array),
                    config,
                )
                pytest.fail(f"{name}, {damage}: taken as it is")
    for name in ("to_rgbs.3.bias", "to_rgbs.9999.bias", "style.9999.weight", "other"):
        with pytest.raises(UserError):
            convert(state | {name: np.zeros((2, 2), np.float32)}, config)
    with pytest.raises(UserError, match="sums to 1, expected 4"):
        convert(state | {"convs.2.conv.blur.kernel": state["convs.2.conv.blur.kernel"] / 4}, config)


@pytest.mark.parametrize(
    "setting",
    [{"size": 64}, {"style_dim": 512}, {"n_mlp": "8"}, {"n_mlp": 3}, {"lr_mlp": 1.0}, {"size": {}}],
)
def test_a_setting_that_contradicts_the_tensors_is_named(state, config, setting):
    with pytest.raises(UserError, match=next(iter(setting))):
        convert(state, config | setting)
