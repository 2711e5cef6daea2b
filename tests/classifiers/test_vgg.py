"""VGG-16 against torchvision's own answers, and with BatchNorm against NumPy's: every tap of its
features, logits, any image size.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from natra_jax.classifiers import Vgg16
from natra_jax.classifiers.imagenet import standardise
from natra_jax.weights.converters import vgg16
from natra_jax.weights.tensors import Tensors
from tests.classifiers import torchvision_nets as theirs

GOLDEN = theirs.golden()
ARGUMENTS, VARIABLES, _ = vgg16.convert(Tensors(theirs.of_golden(), "VGG-16"), {})
NETWORK = Vgg16(**ARGUMENTS)
IMAGES = 2 * theirs.nhwc(GOLDEN["in/image01"]) - 1
TAPS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")


def test_logits_and_every_tap_of_the_features_are_torchvisions():
    @jax.jit
    def both(variables, images):
        with jax.default_matmul_precision("highest"):
            return NETWORK.apply(variables, images, method="features"), NETWORK.apply(
                variables, images
            )

    features, logits = both(VARIABLES, IMAGES)
    for name, found in zip(TAPS, features, strict=True):
        np.testing.assert_allclose(
            found, theirs.nhwc(GOLDEN[f"out/{name}"]), atol=5e-5, err_msg=name
        )
    np.testing.assert_allclose(logits, GOLDEN["out/logits"], atol=5e-5)


def test_logits_are_torchvisions_where_dense_inputs_overlap_and_images_are_standardised_already():
    standardised = Vgg16(**ARGUMENTS, standardised=True)
    found = jax.jit(standardised.apply)(VARIABLES, theirs.nhwc(GOLDEN["in/x_70x37"]))
    np.testing.assert_allclose(found, GOLDEN["out/logits_70x37"], atol=5e-5)


def test_with_batchnorm_logits_and_every_tap_are_those_of_torchvisions_layers():
    state = theirs.vgg_state()
    arguments, variables, _ = vgg16.convert(Tensors(state, "VGG-16"), {})
    network = Vgg16(**arguments)

    @jax.jit
    def both(variables, images):
        with jax.default_matmul_precision("highest"):
            return network.apply(variables, images, method="features"), network.apply(
                variables, images
            )

    images = np.random.default_rng(1).uniform(-1, 1, (2, 36, 51, 3)).astype(np.float32)
    features, logits = both(variables, images)
    expected, expected_logits = theirs.vgg(state, images)
    assert [f.shape[1:3] for f in features] == [(36, 51), (18, 25), (9, 12), (4, 6), (2, 3)]
    for found, tap in zip(features, expected, strict=True):
        np.testing.assert_allclose(found, tap, atol=5e-5 * np.abs(tap).max())
    np.testing.assert_allclose(logits, expected_logits, atol=5e-5 * np.abs(expected_logits).max())


@pytest.mark.parametrize(("norm", "weights"), [("none", 138_357_544), ("batch", 138_365_992)])
def test_vgg16_has_torchvisions_number_of_weights_whatever_the_size_of_the_images(norm, weights):
    for size in [(8, 8), (16, 16), (32, 48), (256, 256), (97, 224)]:
        network, images = Vgg16(1000, norm=norm), jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)
        shapes = jax.eval_shape(network.init, jax.eval_shape(lambda: jax.random.key(0)), images)
        assert sum(leaf.size for leaf in jax.tree.leaves(shapes["params"])) == weights, (
            "as torchvision says of its own"
        )


@pytest.mark.parametrize("size", [(16, 16), (64, 40)])
def test_without_dense_layers_the_last_sees_the_mean_of_the_features(size):
    network, rng = Vgg16(3, ARGUMENTS["widths"], dense=()), np.random.default_rng(3)
    head = {
        "kernel": rng.normal(size=(12, 3)).astype(np.float32),
        "bias": rng.normal(size=3).astype(np.float32),
    }
    params = {
        name: layer for name, layer in VARIABLES["params"].items() if name.startswith("conv")
    } | {"head": head}
    images = rng.uniform(-1, 1, (2, *size, 3)).astype(np.float32)
    logits = jax.jit(network.apply)({"params": params}, images)
    last = np.asarray(
        jax.jit(lambda v, x: NETWORK.apply(v, x, method="features")[-1])(VARIABLES, images)
    )
    halves = last.reshape(
        2, max(1, last.shape[1] // 2), -1, max(1, last.shape[2] // 2), min(2, last.shape[2]), 12
    )
    np.testing.assert_allclose(
        logits,
        halves.max((2, 4)).mean((1, 2)) @ head["kernel"] + head["bias"],
        rtol=1e-4,
        atol=1e-5,
    )


def test_images_are_standardised_as_torchvision_does_and_grey_ones_count_as_coloured():
    images = np.random.default_rng(2).uniform(-1, 1, (2, 3, 4, 3)).astype(np.float32)
    np.testing.assert_allclose(
        standardise(images), ((images + 1) / 2 - theirs.MEAN) / theirs.STD, atol=1e-5
    )
    np.testing.assert_array_equal(
        standardise(images[..., :1]), standardise(np.repeat(images[..., :1], 3, -1))
    )
    with pytest.raises(ValueError, match="got 2 channels"):
        standardise(images[..., :2])


def test_images_of_a_few_pixels_train_with_dropout():
    images = np.random.default_rng(2).uniform(-1, 1, (4, 8, 8, 3)).astype(np.float32)

    @jax.jit
    def update(params, key):
        def loss(params):
            return NETWORK.apply(
                {"params": params}, images, train=True, rngs={"dropout": key}
            ).sum()

        return jax.value_and_grad(loss)(params)

    found = [update(VARIABLES["params"], jax.random.key(seed)) for seed in (0, 0, 1)]
    assert found[0][0] == found[1][0] != found[2][0]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found[0][1]))
    assert np.abs(found[0][1]["conv1_1"]["kernel"]).max() > 0
