"""NVIDIA's StyleGAN2 checkpoints, from PyTorch's and TensorFlow's names.

Against what NVIDIA's program made of them.
"""

import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from natra_jax.generators.stylegan2 import stylegan2
from natra_jax.types import UserError
from natra_jax.weights.converters import resample_filter, stylegan2_nv, stylegan2_rosinality
from natra_jax.weights.formats.detect import read
from natra_jax.weights.tensors import Converted, Tensors
from tests.generators import laws

GOLDEN = Path(__file__).parents[2] / "golden"
EXACT = {"rtol": 0, "atol": 5e-5}


def golden(name):
    arrays = dict(np.load(GOLDEN / f"stylegan2_{name}.npz"))
    return (
        arrays,
        {key[2:]: array for key, array in arrays.items() if key.startswith("p/")},
        json.loads(str(arrays["config"])),
    )


def convert(state, config) -> Converted:
    return stylegan2_nv.convert(Tensors(state, "StyleGAN2"), config)


def built(arguments, **others):
    return stylegan2(
        **{
            name: tuple(value) if isinstance(value, list) else value
            for name, value in (arguments | others).items()
        }
    )


def channels_last(images):
    return images.transpose(0, 2, 3, 1)


def in_tensorflow(state):
    """The names and layouts of NVIDIA's TensorFlow program."""
    renamed = {"lod": np.zeros((), np.float32), "dlatent_avg": state["mapping.w_avg"]}
    for name, array in state.items():
        if match := re.fullmatch(r"mapping\.(fc(\d+)|embed)\.(weight|bias)", name):
            layer = f"Dense{match[2]}" if match[2] else "LabelEmbed"
            renamed[f"mapping/{layer}/{match[3]}"] = array.T
        elif name == "synthesis.b4.const":
            renamed["synthesis/4x4/Const/const"] = array[None]
        elif match := re.fullmatch(r"synthesis\.b(\d+)\.(conv0|conv1|torgb|skip)\.(.*)", name):
            pixels, part, what = int(match[1]), match[2], match[3]
            kind = {
                "conv0": "Conv0_up",
                "conv1": "Conv" if pixels == 4 else "Conv1",
                "torgb": "ToRGB",
                "skip": "Skip",
            }[part]
            prefix = f"synthesis/{pixels}x{pixels}/{kind}/"
            if what == "weight":
                kernel = array.transpose(2, 3, 1, 0)
                renamed[prefix + what] = kernel[::-1, ::-1] if part in ("conv0", "skip") else kernel
            elif what == "noise_const":
                layer = 2 * (pixels.bit_length() - 1) - (5 if part == "conv0" else 4)
                renamed[f"synthesis/noise{layer}"] = array[None, None]
            elif what == "affine.weight":
                renamed[prefix + "mod_weight"] = array.T
            elif what == "affine.bias":
                renamed[prefix + "mod_bias"] = array - 1
            elif what != "resample_filter":
                renamed[prefix + what] = array
    return renamed


def in_pytorch(params, arguments):
    """Return the state dict of arguments and params under PyTorch's names, without filters."""
    mapping, synthesis = params["mapping"], params["synthesis"]
    dense = {f"mapping.fc{i}": layer for i, layer in enumerate(mapping["layers"])}
    if "embed" in mapping:
        dense["mapping.embed"] = mapping["embed"]
    state = {
        "mapping.w_avg": mapping["mean"],
        "synthesis.b4.const": synthesis["constant"].transpose(2, 0, 1),
    }
    for n, conv in enumerate(synthesis["convs"]):
        prefix = f"synthesis.b{4 * 2 ** ((n + 1) // 2)}.conv{1 - n % 2}"
        state |= {
            f"{prefix}.weight": conv["kernel"].transpose(3, 2, 0, 1),
            f"{prefix}.bias": conv["bias"],
        }
        state |= {
            f"{prefix}.noise_strength": conv["noise_strength"],
            f"{prefix}.noise_const": params["buffers"]["noise"][n],
        }
        dense[f"{prefix}.affine"] = conv["affine"]
    for rgb in synthesis["rgbs"]:
        prefix = f"synthesis.b{arguments['resolution']}.torgb"
        state |= {
            f"{prefix}.weight": rgb["kernel"].T[:, :, None, None],
            f"{prefix}.bias": rgb["bias"],
        }
        dense[f"{prefix}.affine"] = rgb["affine"]
    for n, shortcut in enumerate(synthesis["shortcuts"]):
        state[f"synthesis.b{8 * 2**n}.skip.weight"] = shortcut["kernel"].T[:, :, None, None]
    for name, layer in dense.items():
        state |= {f"{name}.weight": layer["kernel"].T, f"{name}.bias": layer["bias"]}
    return state


def assert_same(ours, theirs, **tolerance):
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, **({"rtol": 0, "atol": 0} | tolerance)),
        ours,
        theirs,
    )


@pytest.mark.parametrize("name", ["nv_32", "nv_16_orig"])
def test_codes_images_activations_and_gradients_are_those_of_nvidias_program(name):
    arrays, state, config = golden(name)
    arguments, params, notes = convert(state, config)
    generator = built(arguments)
    assert not notes and json.loads(json.dumps(arguments)) == arguments
    shapes = jax.eval_shape(generator.init, jax.random.key(0))
    assert jax.tree.map(np.shape, params) == jax.tree.map(np.shape, shapes)
    layers, cutoff = generator.num_layers, int(arrays["const/cutoff"])

    @jax.jit
    def everything(params, z, codes):
        drawn = generator.map(params, z)
        truncated = generator.map(params, z, truncation_psi=0.7)
        const = generator.synthesize(params, jnp.concatenate([drawn, truncated, codes]))
        none = generator.synthesize(params, jnp.concatenate([drawn, codes]), noise="none")
        images = dict(
            zip(
                ["out/img_const", "out/img_psi0.7_const", "out/img_plus_const"],
                jnp.split(const, 3),
                strict=True,
            )
        )
        images |= dict(zip(["out/img_none", "out/img_plus_none"], jnp.split(none, 2), strict=True))
        cut = generator.map(params, z, truncation_psi=0.7, truncation_cutoff=cutoff)
        mapped = {
            "out/w": drawn[:, 0],
            "out/ws": drawn,
            "out/ws_psi0.7": truncated,
            "out/ws_psi0.7_cut": cut,
        }
        features = [generator.head(params, codes, 1)]
        for l in range(1, layers):
            features.append(generator.advance(params, features[-1], codes, l, l + 1))
        return mapped, images, features

    with jax.default_matmul_precision("highest"):
        mapped, images, features = everything(params, arrays["in/z"], arrays["in/ws_plus"])
        if "in/cotangent" in arrays:
            cotangent = channels_last(arrays["in/cotangent"])
            gradient = jax.jit(
                jax.grad(lambda codes: (generator.synthesize(params, codes) * cotangent).sum())
            )(arrays["in/ws_plus"])
            np.testing.assert_allclose(gradient, arrays["grad/ws_plus"], **EXACT)
    for key, value in mapped.items():
        np.testing.assert_allclose(value, arrays[key], err_msg=key, **EXACT)
    for key, value in images.items():
        np.testing.assert_allclose(value, channels_last(arrays[key]), err_msg=key, **EXACT)
    for l, (x, rgb) in enumerate(features):
        pixels, conv = 4 * 2 ** ((l + 1) // 2), f"conv{1 - l % 2}"
        if l < layers - 1:
            np.testing.assert_allclose(
                x,
                channels_last(arrays[f"act_plus/b{pixels}.{conv}"]),
                err_msg=f"layer {l}",
                **EXACT,
            )
        if f"act_plus/b{pixels // 2}.img" in arrays and l % 2:
            np.testing.assert_allclose(
                rgb,
                channels_last(arrays[f"act_plus/b{pixels // 2}.img"]),
                err_msg=f"layer {l}",
                **EXACT,
            )


def test_in_float16_images_are_those_of_nvidias_float16_blocks():
    arrays, state, config = golden("nv_16_fp16")
    arguments, params, notes = convert(state, config)
    assert (
        arguments["low_precision_resolutions"] == 2
        and arguments["conv_clamp"] == 256
        and "2 highest" in notes[0]
    )
    for dtype, key, tolerance in [
        ("float32", "out/img_fp32", 5e-5),
        ("float16", "out/img_fp16", 0.05),
    ]:
        with jax.default_matmul_precision("highest"):
            images = jax.jit(built(arguments, dtype=dtype).synthesize)(params, arrays["in/ws_plus"])
        np.testing.assert_allclose(images, channels_last(arrays[key]), rtol=0, atol=tolerance)


def test_tensorflows_names_and_layouts_give_the_same_network():
    _, state, config = golden("nv_32")
    expected = convert(state, config)
    for static in (
        {
            "resolution": 32,
            "num_channels": 3,
            "latent_size": 24,
            "mapping_fmaps": 28,
            "fmap_base": 160,
            "fmap_max": 16,
            "label_size": 0,
        },
        {},
    ):
        found = convert(in_tensorflow(state), static)
        assert found.arguments == expected.arguments
        assert_same(found.params, expected.params, atol=2e-7)


def test_a_conditional_resnet_is_read_from_both_programs_names():
    arguments = {
        "resolution": 8,
        "channels": [4, 3],
        "z_dim": 5,
        "code_dim": 6,
        "label_dim": 2,
        "embed_features": 3,
        "mapping_layers": 1,
    }
    arguments |= {
        "architecture": "resnet",
        "img_channels": 1,
        "conv_clamp": 0.5,
        "resample_filter": [1, 2, 1],
    }
    params = laws.random_params(built(arguments))
    state = in_pytorch(params, arguments)
    synthesis = {"conv_clamp": 0.5, "architecture": "resnet", "resample_filter": [1, 2, 1]}
    pytorch = convert(
        state, {"c_dim": 2, "mapping_kwargs": {"embed_features": 3}, "synthesis_kwargs": synthesis}
    )
    tensorflow = convert(
        in_tensorflow(state),
        {"label_size": 2, "label_fmaps": 3, "conv_clamp": 0.5, "resample_kernel": [1, 2, 1]},
    )
    for found in (pytorch, tensorflow):
        assert found.arguments | arguments == found.arguments
        assert_same(found.params, params, atol=2e-7)


def test_the_label_of_nvidias_first_program_is_normalised_together_with_z():
    arguments = {
        "resolution": 8,
        "channels": [4, 3],
        "z_dim": 5,
        "code_dim": 6,
        "label_dim": 2,
        "embed_features": 5,
        "joint_norm": True,
    }
    params = laws.random_params(built(arguments, architecture="resnet"))
    embed = params["mapping"].pop("embed")
    state = in_tensorflow(in_pytorch(params, arguments)) | {
        "mapping/LabelConcat/weight": embed["kernel"]
    }
    found = convert(state, {"label_size": 2})
    assert found.arguments | arguments == found.arguments
    params["mapping"]["embed"] = embed
    assert_same(found.params, params, atol=2e-7)


def test_a_tensorflow_pickle_gives_the_conditional_network_that_its_variables_describe():
    tensors, config, _ = read(GOLDEN / "tfpkl_stylegan2_16.pkl")
    arguments, params, _ = convert(tensors, config)
    sizes = {
        "resolution": 16,
        "channels": [12, 12, 10],
        "img_channels": 1,
        "z_dim": 24,
        "code_dim": 20,
        "label_dim": 5,
    }
    mapping = {
        "mapping_layers": 2,
        "mapping_features": 20,
        "embed_features": 12,
        "joint_norm": False,
        "lr_mul": 0.01,
    }
    others = {
        "architecture": "skip",
        "use_noise": True,
        "conv_clamp": 0.75,
        "resample_filter": [1, 2, 4, 3],
    }
    assert arguments == sizes | mapping | others
    generator = built(arguments)
    z, label = np.random.default_rng(0).normal(size=(3, 24)).astype(np.float32), np.array([4, 0, 2])
    norm = lambda x: x / np.sqrt(np.square(x).mean(1, keepdims=True) + 1e-8)  # noqa: E731
    embedded = (
        tensors["mapping/LabelEmbed/weight"][label] / np.sqrt(5)
        + tensors["mapping/LabelEmbed/bias"]
    )
    x = np.concatenate([norm(z), norm(embedded)], 1)
    for layer in (0, 1):
        x = (
            x @ tensors[f"mapping/Dense{layer}/weight"] * (0.01 / np.sqrt(x.shape[1]))
            + 0.01 * tensors[f"mapping/Dense{layer}/bias"]
        )
        x = np.sqrt(2) * np.maximum(x, 0.2 * x)
    np.testing.assert_allclose(generator.map(params, z, label)[:, 3], x, rtol=1e-4, atol=1e-5)
    shapes = jax.eval_shape(generator.init, jax.random.key(0))
    assert jax.tree.map(np.shape, params) == jax.tree.map(np.shape, shapes)


def test_other_families_names_are_not_taken_for_this_one():
    nvidia, rosinality = set(golden("nv_32")[1]), set(golden("rosinality_32")[1])
    assert stylegan2_nv.recognises(nvidia) and stylegan2_nv.recognises(
        set(in_tensorflow(golden("nv_32")[1]))
    )
    assert not stylegan2_nv.recognises(rosinality) and not stylegan2_rosinality.recognises(nvidia)
    stylegan1 = {
        "synthesis/4x4/Const/const",
        "synthesis/4x4/Const/StyleMod/weight",
        "synthesis/4x4/Conv/weight",
        "mapping/Dense0/weight",
    }
    assert not stylegan2_nv.recognises(stylegan1) and not stylegan2_nv.recognises(
        {"synthesis.input.weight", "synthesis.b4.const"}
    )


@pytest.mark.parametrize("tensorflow", [False, True])
def test_a_damaged_checkpoint_is_a_users_error_whatever_the_damage(tensorflow):
    _, state, config = golden("nv_16_orig")
    state, config = (in_tensorflow(state), {"latent_size": 20}) if tensorflow else (state, config)
    convert(state, config)
    damages = {
        "missing": lambda name, array: {},
        "flattened": lambda name, array: {name: array.reshape(-1, *(1,) * array.ndim)},
        "empty": lambda name, array: {name: array[..., :0] if array.ndim else np.zeros(0)},
        "not finite": lambda name, array: {name: np.full_like(array, np.nan)},
        "text": lambda name, array: {name: np.full(array.shape, "a")},
        "longer": lambda name, array: {
            name: np.concatenate([array, array]) if array.ndim else np.zeros(2)
        },
    }
    for name, array in state.items():
        for damage, change in damages.items():
            if (
                name == "lod"
                or name.endswith("conv1.resample_filter")
                or (name.endswith("resample_filter") and damage == "missing")
            ):
                continue  # nothing depends on it
            with pytest.raises(UserError):
                convert(
                    {other: a for other, a in state.items() if other != name} | change(name, array),
                    config,
                )
                pytest.fail(f"{name}, {damage}: taken as it is")
    for name in (
        "synthesis.b12.conv0.weight",
        "synthesis/9999x9999/Conv/weight",
        "mapping.fc9999.weight",
        "other",
    ):
        with pytest.raises(UserError):
            convert(state | {name: np.zeros((2, 2), np.float32)}, config)
    with pytest.raises(UserError, match="missing"):
        convert({"synthesis.b16.conv1.bias": np.zeros(1)}, {})


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"img_resolution": 64}, "img_resolution"),
        ({"z_dim": 512}, "z_dim"),
        ({"c_dim": 10}, "c_dim"),
        ({"w_dim": "20"}, "w_dim"),
        ({"mapping_kwargs": {"num_layers": 8}}, "num_layers"),
        ({"mapping_kwargs": {"layer_features": 8}}, "layer_features"),
        ({"mapping_kwargs": {"activation": "relu"}}, "activation"),
        ({"mapping_kwargs": {"lr_multiplier": -1}}, "lr_multiplier"),
        ({"mapping_kwargs": {"lr_multiplier": float("nan")}}, "lr_multiplier"),
        ({"mapping_kwargs": [1, 2]}, "mapping_kwargs"),
        ({"synthesis_kwargs": {"architecture": "skip"}}, "architecture"),
        ({"synthesis_kwargs": {"use_noise": True}}, "use_noise"),
        ({"synthesis_kwargs": {"channel_base": 320}}, "channel_base"),
        ({"synthesis_kwargs": {"channel_base": {}}}, "channel_base"),
        ({"synthesis_kwargs": {"conv_clamp": "256"}}, "conv_clamp"),
        ({"synthesis_kwargs": {"conv_clamp": True}}, "conv_clamp"),
        ({"synthesis_kwargs": {"num_fp16_res": -1}}, "num_fp16_res"),
        ({"synthesis_kwargs": {"resample_filter": [1, 2, 4, 3]}}, "resample_filter"),
        ({"synthesis_kwargs": {"resample_filter": "none"}}, "filter"),
        ({"synthesis_kwargs": {"resample_filter": [1, -1]}}, "filter"),
        ({"synthesis_kwargs": {"resample_filter": [10**400, 1]}}, "filter"),
        ({"synthesis_kwargs": {"conv_clamp": 10**400}}, "conv_clamp"),
    ],
)
def test_a_setting_that_contradicts_the_tensors_or_makes_no_sense_is_named(config, named):
    _, state, _ = golden("nv_16_orig")
    with pytest.raises(UserError, match=named) as caught:
        convert(state, config)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kernel", "taps"),
    [
        (np.outer([1, 2, 4, 3], [1, 2, 4, 3]) / 100, [1, 2, 4, 3]),
        (np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 16, [1, 3, 3, 1]),
        (np.array([1, 2, 1, 0, -1, 0, 1, 2, 1]) / 7, [1, 2, 1, 0, -1, 0, 1, 2, 1]),
        (np.outer([1, 1.37], [1, 1.37]), [1 / 2.37, 1.37 / 2.37]),
    ],
)
def test_a_filter_is_factored_into_its_taps(kernel, taps):
    assert np.allclose(resample_filter.factor(kernel.astype(np.float32), "f"), taps, atol=1e-6)


@pytest.mark.parametrize(
    "kernel",
    [
        np.outer([1, 2], [2, 1]),
        np.eye(3),
        np.ones((2, 3)),
        np.zeros((2, 2)),
        np.ones(33),
        np.zeros((0, 0)),
        np.ones((1, 1, 1)),
        np.array(1.0),
    ],
)
def test_a_filter_that_is_not_separable_is_refused_by_name(kernel):
    with pytest.raises(UserError, match="blur"):
        resample_filter.factor(kernel.astype(np.float32), "blur")


def test_features_are_clamped_where_the_program_that_wrote_them_clamps_them():
    _, state, config = golden("nv_16_fp16")
    synthesis = {k: v for k, v in config["synthesis_kwargs"].items() if k != "conv_clamp"}
    said = {k: v for k, v in config.items() if k != "synthesis_kwargs"}
    stylegan3s = said | synthesis | {"fused_modconv_default": "inference_only"}
    for expected, given in [
        (None, said | {"synthesis_kwargs": synthesis}),
        (0.5, said | {"synthesis_kwargs": synthesis | {"conv_clamp": 0.5}}),
        (256, stylegan3s),
        (0.5, stylegan3s | {"conv_clamp": 0.5}),
        (None, stylegan3s | {"conv_clamp": None}),
        (0.25, stylegan3s | {"layers": {"conv_clamp": [0.25]}}),
        (None, stylegan3s | {"layers": {"conv_clamp": [None]}}),
    ]:
        found = convert(state, given)
        assert found.arguments["conv_clamp"] == expected
        assert found.arguments["low_precision_resolutions"] == 2
        assert not any("conv_clamp" in note for note in found.notes)
    unknown = convert(state, {})
    assert unknown.arguments["conv_clamp"] is None and "conv_clamp" in unknown.notes[0]
    with pytest.raises(UserError, match="one conv_clamp alone"):
        convert(state, stylegan3s | {"layers": {"conv_clamp": [0.25, None]}})
