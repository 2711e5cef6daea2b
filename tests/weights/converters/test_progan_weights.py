"""ProGAN checkpoints under PyTorch's and TensorFlow's names.

Against the original's values, and against NumPy on TensorFlow's variables.
"""

from functools import partial

import jax
import numpy as np
import pytest

from natra_jax.generators import ops
from natra_jax.types import UserError
from natra_jax.weights.converters import dcgan, stylegan1
from natra_jax.weights.converters import progan as checkpoints
from natra_jax.weights.tensors import Tensors
from tests.weights import damage, originals, tensorflow_networks
from tests.weights.originals import nhwc

CLOSE = {"rtol": 0, "atol": 5e-5}
golden, converted = (
    partial(originals.golden, "progan_genforce_32"),
    partial(originals.converted, "progan"),
)
tensorflow = partial(originals.tensorflow, "tfpkl_progan_16")


def in_tensorflow(tensors, names):
    """PyTorch's tensors, none of them fused, under TensorFlow's names and in its layouts."""
    renamed = {}
    for name, array in tensors.items():
        if name == "layer0.weight":
            array = array[:, :, ::-1, ::-1].transpose(1, 0, 2, 3).reshape(array.shape[1], -1)
        elif array.ndim == 4:
            array = array.transpose(2, 3, 1, 0)
        renamed[names[name]] = array
    return renamed


def in_pytorch(variables):
    """TensorFlow's variables, all doubling fused, under PyTorch's names and in its layouts."""
    names = {
        "4x4/Dense": "layer0",
        "4x4/Conv": "layer1",
        "8x8/Conv0_up": "layer2",
        "8x8/Conv1": "layer3",
    }
    names |= {"16x16/Conv0_up": "layer4", "16x16/Conv1": "layer5"} | {
        f"ToRGB_lod{2 - block}": f"output{block}" for block in range(3)
    }
    renamed = {"lod": variables["lod"]}
    for theirs, ours in names.items():
        weight = variables[f"{theirs}/weight"]
        if theirs == "4x4/Dense":
            weight = weight.reshape(len(weight), -1, 4, 4)[:, :, ::-1, ::-1].transpose(1, 0, 2, 3)
        else:
            weight = weight.transpose(3, 2, 0, 1)  # of a fused one: [k, k, O, I] to [I, O, k, k]
        renamed[f"{ours}.weight"], renamed[f"{ours}.bias"] = weight, variables[f"{theirs}/bias"]
    return renamed


def test_images_and_features_are_those_of_the_original():
    data, tensors, config = golden()
    generator, params = converted(tensors, config)
    assert (generator.num_layers, generator.code_dim, generator.resolution, generator.depth) == (
        1,
        24,
        32,
        8,
    )

    @jax.jit
    def everything(params, z):
        codes = generator.map(params, z)
        states = [generator.head(params, codes, 0)]
        for l in range(generator.depth):
            states.append(generator.advance(params, states[-1], codes, l, l + 1))
        return states[1:], generator.tail(params, states[-1], codes, 8), ops.pixel_norm(codes[:, 0])

    with jax.default_matmul_precision("highest"):
        states, images, normalised = everything(params, data["in/z"])
    np.testing.assert_allclose(normalised, data["out/z_normed"], **CLOSE)
    for layer, state in enumerate(states):
        np.testing.assert_allclose(
            state, nhwc(data[f"act/layer{layer}"]), err_msg=f"layer {layer}", **CLOSE
        )
    np.testing.assert_allclose(images, nhwc(data["out/img"]), **CLOSE)


@pytest.mark.parametrize(("lod", "layers"), [(1.0, 6), (0.4, 8)])
def test_a_checkpoint_of_unfinished_training_shows_what_it_had_grown_to(lod, layers):
    data, tensors, config = golden()
    generator, params = converted(tensors | {"lod": np.float32(lod)}, config)
    assert len(params["synthesis"]["layers"]) == layers
    with jax.default_matmul_precision("highest"):
        images = jax.jit(generator.synthesize)(params, data["in/z"][:, None])
    np.testing.assert_allclose(images, nhwc(data[f"out/img_lod{lod:g}"]), **CLOSE)


def test_tensorflows_names_and_layouts_give_the_same():
    _, tensors, config = golden()
    generator, params = converted(tensors, config)
    renamed = in_tensorflow(tensors, config["tf_names"])
    assert checkpoints.recognises(set(renamed))
    other, same = converted(renamed, {})
    assert other is generator
    jax.tree.map(np.testing.assert_array_equal, same, params)


def test_a_tensorflow_pickle_with_classes_and_fused_doubling_agrees_with_numpy_on_its_variables():
    tensors, config, _ = tensorflow()
    generator, params = converted(tensors, config)
    assert (
        generator.label_dim,
        len(generator.class_entries),
        generator.code_dim,
        generator.depth,
    ) == (5, 5, 25, 6)
    rng = np.random.default_rng(0)
    z, direction, weights = (
        rng.normal(size=shape).astype(np.float32) for shape in [(2, 20), (2, 20), (2, 16, 16, 3)]
    )
    label = np.array([[0, 0, 1, 0, 0], [0.3, 0, 0, 0, 0.7]], np.float32)

    def images_and_slope(params, z):
        def synthesize(z):
            return generator.synthesize(params, generator.map(params, z, label))

        return synthesize(z), jax.grad(lambda z: (weights * synthesize(z)).sum())(z)

    with jax.default_matmul_precision("highest"):
        images, gradient = jax.jit(images_and_slope)(params, z)

    def in_numpy(z):
        return tensorflow_networks.progan(tensors, z, label)

    np.testing.assert_allclose(images, in_numpy(z), **CLOSE)
    along = [
        (weights * in_numpy(z + step * direction.astype(np.float64))).sum()
        for step in (1e-5, -1e-5)
    ]
    np.testing.assert_allclose(
        (np.asarray(gradient) * direction).sum(), (along[0] - along[1]) / 2e-5, rtol=2e-3
    )


def test_a_ports_fused_kernels_are_read_with_inputs_first():
    variables, config, _ = tensorflow()
    _, params = converted(variables, config)
    # z alone is normalised first with a class beside it, in the port: nothing else differs
    generator, same = converted(in_pytorch(variables), {"label_size": 5})
    jax.tree.map(np.testing.assert_array_equal, same, params)
    z = np.random.default_rng(0).normal(size=(2, 20)).astype(np.float32)
    codes = np.asarray(generator.map(same, z, np.array([1, 4])))[:, 0]
    np.testing.assert_allclose(codes[:, :20], z / np.sqrt((z**2).mean(1, keepdims=True)), rtol=1e-5)
    np.testing.assert_array_equal(codes[:, 20:], np.eye(5)[[1, 4]])


def test_where_shapes_do_not_tell_what_is_fused_the_setting_does_or_a_note_says_what_was_taken():
    _, tensors, _ = golden()
    square = {
        name: array
        for name, array in tensors.items()
        if not name.startswith(("layer6.", "layer7.", "output3."))
    }
    arguments, _, notes = checkpoints.convert(Tensors(square, ""), {})
    assert (
        arguments["fused_from"] is None
        and "taken as not" in notes[0]
        and arguments["resolution"] == 16
    )
    arguments, _, notes = checkpoints.convert(Tensors(square, ""), {"fused_scale": True})
    assert arguments["fused_from"] == 8 and not notes
    with pytest.raises(UserError, match="setting fused_scale is True, but its tensors say False"):
        checkpoints.convert(Tensors(tensors, ""), {"fused_scale": True})


def test_only_its_own_names_are_recognised():
    _, tensors, _ = golden()
    assert checkpoints.recognises(set(tensors)) and checkpoints.recognises(
        set(tensorflow().tensors)
    )
    for other in (stylegan1, dcgan):
        assert not other.recognises(set(tensors)) and not other.recognises(
            set(tensorflow().tensors)
        )
    assert not checkpoints.recognises({"layer0.weight", "layer1.weight"})  # a classifier's
    assert not checkpoints.recognises(
        {"4x4/Dense/weight", "ToRGB_lod0/weight", "4x4/Dense/StyleMod/weight"}
    )  # StyleGAN without a constant
    assert not checkpoints.recognises(set())


def test_damaged_tensors_are_refused_in_one_line():
    _, tensors, config = golden()
    optional = {f"output{block}.{what}" for block in range(3) for what in ("weight", "bias")}
    minded_not = damage.taken_all_the_same(checkpoints.convert, tensors, config)
    assert {(name, how) for name, how in minded_not if name not in optional} == {
        ("lod", "missing"),
        ("lod", "of another rank"),
    }
    checkpoint = tensorflow()
    minded_not = damage.taken_all_the_same(
        checkpoints.convert, checkpoint.tensors, checkpoint.config
    )
    optional = {f"ToRGB_lod{block}/{what}" for block in (1, 2) for what in ("weight", "bias")} | {
        "lod"
    }
    assert {name for name, _ in minded_not} <= optional


@pytest.mark.parametrize(
    ("added", "config", "says"),
    [
        ({"layer9999.bias": np.ones(2)}, {}, "5000 resolutions"),
        ({"layer8.bias": np.ones(2)}, {}, "layer8.weight is missing|layer8.bias"),
        ({"extra": np.ones(2)}, {}, "has no place for: extra"),
        ({"lod": np.float32(4)}, {}, "lod must be a number in 0..3"),
        ({}, {"resolution": 64}, "setting resolution is 64, but its tensors say 32"),
        ({}, {"latent_size": 12}, "setting latent_size is 12, but its tensors say 24"),
        ({}, {"label_size": 24}, "too few for label_size 24"),
        ({}, {"normalize_latents": False}, "normalize_latents is False"),
        ({}, {"pixelnorm_epsilon": 1e-5}, "pixelnorm_epsilon is 1e-05"),
        ({}, {"tanh_output": True}, "tanh_output is True"),
    ],
)
def test_what_no_such_network_has_is_named(added, config, says):
    _, tensors, _ = golden()
    with pytest.raises(UserError, match=says):
        checkpoints.convert(Tensors(tensors | added, "ProGAN"), config)


def test_settings_of_any_type_do_no_harm():
    _, tensors, _ = golden()
    taken = damage.try_odd_settings(
        checkpoints.convert, tensors, {}, ["resolution", "label_size", "fused_scale", "use_wscale"]
    )
    assert taken == {
        ("label_size", "1"),
        ("label_size", "0"),
        ("use_wscale", "True"),
        ("use_wscale", "1"),
    }
