"""StyleGAN checkpoints under PyTorch's and TensorFlow's names.

Against the original's values, and against NumPy on TensorFlow's variables.
"""

from functools import partial

import jax
import numpy as np
import pytest

from natra_jax.types import UserError
from natra_jax.weights.converters import dcgan, progan, stylegan1
from natra_jax.weights.tensors import Tensors
from tests.weights import damage, originals, tensorflow_networks
from tests.weights.originals import nhwc

CLOSE = {"rtol": 0, "atol": 5e-5}
golden, converted = (
    partial(originals.golden, "stylegan1_genforce_32"),
    partial(originals.converted, "stylegan1"),
)
tensorflow = partial(originals.tensorflow, "tfpkl_stylegan1_16")


def in_tensorflow(tensors, names, prefixes=("", "")):
    """Return PyTorch's tensors under TensorFlow's names, in its layouts.

    prefixes: of the synthesis and the mapping network.
    """
    renamed = {}
    for name, array in tensors.items():
        if name not in names:
            continue
        if name.endswith(".weight") and array.ndim in (2, 4):
            array = array.T if array.ndim == 2 else array.transpose(2, 3, 1, 0)
        renamed[
            prefixes[0] * name.startswith("synthesis.")
            + prefixes[1] * name.startswith("mapping.")
            + names[name]
        ] = array
    return renamed


def test_images_features_and_codes_are_those_of_the_original():
    data, tensors, config = golden()
    generator, params = converted(tensors, config)
    assert (
        generator.num_layers,
        generator.code_dim,
        generator.resolution,
        generator.label_dim,
    ) == (8, 20, 32, 0)

    @jax.jit
    def everything(params, z, codes):
        states = [generator.head(params, codes, 0)]
        for l in range(generator.depth):
            states.append(generator.advance(params, states[-1], codes, l, l + 1))
        ws = [
            generator.map(params, z),
            generator.map(params, z, None, 0.7),
            generator.map(params, z, None, 0.7, 4),
        ]
        return (
            states[1:],
            generator.tail(params, states[-1], codes, 8),
            generator.synthesize(params, codes, noise="none"),
            ws,
        )

    with jax.default_matmul_precision("highest"):
        states, images, without_noise, (ws, all_truncated, half_truncated) = everything(
            params, data["in/z"], data["in/ws_plus"]
        )
        truncated_images = jax.jit(generator.synthesize)(params, half_truncated)
        prior_images = jax.jit(generator.synthesize)(params, ws)
    for layer, state in enumerate(states):
        np.testing.assert_allclose(
            state, nhwc(data[f"act_plus/synthesis.layer{layer}"]), err_msg=f"layer {layer}", **CLOSE
        )
    np.testing.assert_allclose(images, nhwc(data["out/img_plus_const"]), **CLOSE)
    np.testing.assert_allclose(without_noise, nhwc(data["out/img_plus_none"]), **CLOSE)
    np.testing.assert_allclose(ws, data["out/ws"], **CLOSE)
    np.testing.assert_allclose(ws[:, 3], data["out/w"], **CLOSE)
    np.testing.assert_allclose(all_truncated, data["out/ws_psi0.7_all"], **CLOSE)
    np.testing.assert_allclose(half_truncated, data["out/ws_psi0.7_half"], **CLOSE)
    np.testing.assert_allclose(prior_images, nhwc(data["out/img_const"]), **CLOSE)
    np.testing.assert_allclose(truncated_images, nhwc(data["out/img_psi0.7_half"]), **CLOSE)


@pytest.mark.parametrize(("lod", "layers"), [(1.0, 6), (0.4, 8)])
def test_a_checkpoint_of_unfinished_training_shows_what_it_had_grown_to(lod, layers):
    data, tensors, config = golden()
    generator, params = converted(tensors | {"synthesis.lod": np.float32(lod)}, config)
    assert len(params["synthesis"]["layers"]) == len(params["buffers"]["noise"]) == layers
    with jax.default_matmul_precision("highest"):
        images = jax.jit(generator.synthesize)(params, data["in/ws_plus"])
    np.testing.assert_allclose(images, nhwc(data[f"out/img_plus_lod{lod:g}"]), **CLOSE)


def test_tensorflows_names_and_layouts_give_the_same():
    _, tensors, config = golden()
    generator, params = converted(tensors, config)
    for prefixes in (("", ""), ("synthesis/", "mapping/"), ("G_synthesis/", "G_mapping/")):
        renamed = in_tensorflow(tensors, config["tf_names"], prefixes) | {"lod": np.float32(0)}
        assert stylegan1.recognises(set(renamed))
        other, same = converted(renamed, {})
        assert other is generator
        jax.tree.map(np.testing.assert_array_equal, same, params)


def test_a_tensorflow_pickle_with_classes_and_fused_doubling_agrees_with_numpy_on_its_variables():
    tensors, config, _ = tensorflow()
    generator, params = converted(tensors, config)
    assert (generator.label_dim, len(generator.class_entries), generator.num_layers) == (5, 0, 6)
    z = np.random.default_rng(0).normal(size=(2, 24)).astype(np.float32)
    label = np.array([[0, 0, 1, 0, 0], [0.3, 0, 0, 0, 0.7]], np.float32)
    codes = np.random.default_rng(1).normal(size=(2, 6, 20)).astype(np.float32)
    w = tensorflow_networks.stylegan_mapping(tensors, z, label)
    mean = np.asarray(tensors["dlatent_avg"], np.float64)
    with jax.default_matmul_precision("highest"):
        np.testing.assert_allclose(
            generator.map(params, z, label, 0.7)[:, 5], mean + 0.7 * (w - mean), **CLOSE
        )
        images = jax.jit(generator.synthesize)(params, codes)
    np.testing.assert_allclose(
        images, tensorflow_networks.stylegan_synthesis(tensors, codes.astype(np.float64)), **CLOSE
    )


def test_the_gradient_is_the_slope_of_numpys_images():
    tensors, config, _ = tensorflow()
    generator, params = converted(tensors, config)
    rng = np.random.default_rng(2)
    codes, direction, weights = (
        rng.normal(size=shape) for shape in [(1, 6, 20), (1, 6, 20), (1, 16, 16, 3)]
    )

    def along(step):
        return (
            weights * tensorflow_networks.stylegan_synthesis(tensors, codes + step * direction)
        ).sum()

    with jax.default_matmul_precision("highest"):
        gradient = jax.jit(
            jax.grad(lambda c: (weights.astype(np.float32) * generator.synthesize(params, c)).sum())
        )(codes.astype(np.float32))
    slope = (along(1e-5) - along(-1e-5)) / 2e-5
    np.testing.assert_allclose((np.asarray(gradient) * direction).sum(), slope, rtol=2e-3)


def test_fused_doubling_follows_the_setting_and_is_nvidias_choice_without_one():
    tensors, config, _ = tensorflow()
    for setting, expected in ((True, 8), (False, None), ("auto", 128), (None, 128)):
        arguments = stylegan1.convert(
            Tensors(tensors, ""), {**config, "fused_scale": setting}
        ).arguments
        assert arguments["fused_from"] == expected


def test_a_ports_label_is_embedded_or_put_beside_z_as_it_is():
    _, tensors, config = golden()
    config = {name: value for name, value in config.items() if name != "z_space_dim"}
    beside = stylegan1.convert(Tensors(tensors, ""), config | {"label_size": 4}).arguments
    assert (beside["z_dim"], beside["label_dim"], beside["label_features"]) == (20, 4, None)
    embedding = {"mapping.label_weight": np.ones((7, 12), np.float32)}
    embedded = stylegan1.convert(Tensors(tensors | embedding, ""), config).arguments
    assert (embedded["z_dim"], embedded["label_dim"], embedded["label_features"]) == (12, 7, 12)


def test_only_its_own_names_are_recognised():
    _, tensors, config = golden()
    assert stylegan1.recognises(set(tensors)) and stylegan1.recognises(set(tensorflow().tensors))
    assert not progan.recognises(set(tensors)) and not dcgan.recognises(set(tensors))
    assert not progan.recognises(set(in_tensorflow(tensors, config["tf_names"])))
    assert not stylegan1.recognises({"synthesis.b4.const", "mapping.fc0.weight"})  # StyleGAN2
    assert not stylegan1.recognises(
        {"synthesis/4x4/Const/const", "synthesis/4x4/Conv/mod_weight"}
    )  # of TensorFlow
    assert not stylegan1.recognises(set())


def test_the_other_stylegan_of_pytorch_is_refused_by_name():
    names = {
        "style.1.linear.weight_orig",
        "generator.progression.0.conv1.input",
        "generator.to_rgb.0.conv.weight_orig",
    }
    assert stylegan1.recognises(names), "so that it is not called unknown"
    with pytest.raises(UserError, match="other gains, norms and noise than NVIDIA's"):
        stylegan1.convert(Tensors(dict.fromkeys(names, np.ones(1, np.float32)), ""), {})


def test_a_checkpoint_without_a_level_of_detail_is_taken_as_finished_and_says_so():
    _, tensors, config = golden()
    without = {name: array for name, array in tensors.items() if name != "synthesis.lod"}
    arguments, _, notes = stylegan1.convert(Tensors(without, ""), config)
    assert arguments["lod"] == 0 and "trained to the end" in notes[0]


def test_damaged_tensors_are_refused_in_one_line():
    _, tensors, config = golden()
    minded_not = damage.taken_all_the_same(stylegan1.convert, tensors, config)
    # what the network does not need, or that is there in full all the same
    optional = {
        f"synthesis.output{block}.{what}" for block in range(3) for what in ("weight", "bias")
    }
    blurs = {(f"synthesis.layer{layer}.blur.kernel", "missing") for layer in (2, 4, 6)}
    assert {(name, how) for name, how in minded_not if name not in optional} == blurs | {
        ("synthesis.lod", "missing"),
        ("synthesis.lod", "of another rank"),
    }
    checkpoint = tensorflow()
    minded_not = damage.taken_all_the_same(stylegan1.convert, checkpoint.tensors, checkpoint.config)
    unused = {
        f"synthesis/ToRGB_lod{block}/{what}" for block in (1, 2) for what in ("weight", "bias")
    } | {"lod", "synthesis/lod"}
    assert {name for name, _ in minded_not} <= unused


@pytest.mark.parametrize(
    ("added", "says"),
    [
        ({"synthesis.extra": np.ones(2)}, "synthesis.extra"),
        ({"synthesis.layer9999.bias": np.ones(2)}, "5000 resolutions"),
        ({"synthesis.layer12.bias": np.ones(2)}, "synthesis.layer8.bias is missing"),
        ({"mapping.dense9999.weight": np.ones(2)}, "mapping.dense8.bias is missing"),
        ({"synthesis.lod": np.float32(3.5)}, "synthesis.lod must be a number in 0..3"),
        ({"synthesis.layer2.blur.kernel": np.full((16, 1, 3, 3), 1 / 9)}, "another filter"),
    ],
)
def test_tensors_that_no_such_network_has_are_named(added, says):
    _, tensors, config = golden()
    with pytest.raises(UserError, match=says):
        stylegan1.convert(Tensors(tensors | added, "StyleGAN"), config)


@pytest.mark.parametrize(
    "wrong",
    [
        {"resolution": 64},
        {"z_space_dim": 25},
        {"w_space_dim": 24},
        {"mapping_fmaps": 20},
        {"image_channels": 1},
        {"label_size": 24},
        {"label_size": 1},
        {"mapping_lr_mul": 1.0},
        {"final_tanh": True},
        {"nonlinearity": "relu"},
        {"blur_filter": [1, 3, 3, 1]},
        {"normalize_latents": False},
        {"fused_scale": "sometimes"},
    ],
)
def test_a_setting_that_contradicts_the_tensors_or_is_of_another_network_is_refused(wrong):
    _, tensors, config = golden()
    with pytest.raises(
        UserError, match=f"setting {next(iter(wrong))} |too few for a code|tensors say 23"
    ):
        stylegan1.convert(Tensors(tensors, "StyleGAN"), config | wrong)


def test_settings_of_any_type_do_no_harm():
    _, tensors, config = golden()
    taken = damage.try_odd_settings(
        stylegan1.convert,
        tensors,
        config,
        ["resolution", "label_size", "fused_scale", "blur_filter"],
    )
    assert taken == {("label_size", "0"), ("fused_scale", "True"), ("fused_scale", "'auto'")}
