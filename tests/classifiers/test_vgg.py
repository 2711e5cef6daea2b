"""VGG-16 against torchvision's own answers: every tap of its features, and logits also of odd image sizes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from natra_jax.classifiers import Cut, Vgg16
from natra_jax.classifiers.imagenet import standardise
from natra_jax.classifiers.vgg import adaptive_average_pool
from natra_jax.weights import vgg16
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
            return NETWORK.apply(variables, images, method="features"), NETWORK.apply(variables, images)

    features, logits = both(VARIABLES, IMAGES)
    for name, found in zip(TAPS, features, strict=True):
        np.testing.assert_allclose(found, theirs.nhwc(GOLDEN[f"out/{name}"]), atol=5e-5, err_msg=name)
    np.testing.assert_allclose(logits, GOLDEN["out/logits"], atol=5e-5)


def test_logits_are_torchvisions_where_the_dense_layers_inputs_overlap_and_images_are_standardised_already():
    standardised = Vgg16(**ARGUMENTS, standardised=True)
    found = jax.jit(standardised.apply)(VARIABLES, theirs.nhwc(GOLDEN["in/x_70x37"]))
    np.testing.assert_allclose(found, GOLDEN["out/logits_70x37"], atol=5e-5)


@pytest.mark.parametrize(("height", "width"), [(1, 7), (2, 1), (10, 13), (14, 9)])
def test_adaptive_pooling_averages_overlapping_bins(height, width):
    x = np.random.default_rng(0).normal(size=(2, height, width, 3)).astype(np.float32)
    found = adaptive_average_pool(x, 7)
    for i in range(7):
        for j in range(7):
            rows = slice(int(np.floor(i * height / 7)), int(np.ceil((i + 1) * height / 7)))
            columns = slice(int(np.floor(j * width / 7)), int(np.ceil((j + 1) * width / 7)))
            np.testing.assert_allclose(found[:, i, j], x[:, rows, columns].mean((1, 2)), atol=1e-6)


def test_vgg16_has_torchvisions_number_of_weights():
    shapes = jax.eval_shape(lambda: Vgg16(1000).init(jax.random.key(0), jnp.zeros((1, 8, 8, 3))))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 138_357_544, "as torchvision says of its VGG-16"


def test_images_are_standardised_as_torchvision_does_and_grey_ones_count_as_coloured():
    images = np.random.default_rng(2).uniform(-1, 1, (2, 3, 4, 3)).astype(np.float32)
    np.testing.assert_allclose(standardise(images), ((images + 1) / 2 - theirs.MEAN) / theirs.STD, atol=1e-5)
    np.testing.assert_array_equal(standardise(images[..., :1]), standardise(np.repeat(images[..., :1], 3, -1)))
    with pytest.raises(ValueError, match="got 2 channels"):
        standardise(images[..., :2])


def test_images_of_a_few_pixels_train_with_dropout():
    images = np.random.default_rng(2).uniform(-1, 1, (4, 8, 8, 3)).astype(np.float32)

    @jax.jit
    def update(params, key):
        def loss(params):
            return NETWORK.apply({"params": params}, images, train=True, rngs={"dropout": key}).sum()

        return jax.value_and_grad(loss)(params)

    found = [update(VARIABLES["params"], jax.random.key(seed)) for seed in (0, 0, 1)]
    assert found[0][0] == found[1][0] != found[2][0]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found[0][1]))
    assert np.abs(found[0][1]["conv1_1"]["kernel"]).max() > 0


def test_the_place_to_perturb_features_is_behind_relu2_2():
    cut = Cut.of(NETWORK, VARIABLES, IMAGES.shape)
    assert cut.relu
    features = jax.jit(cut.trunk)(VARIABLES, IMAGES)
    np.testing.assert_allclose(features, theirs.nhwc(GOLDEN["out/relu2_2"]), atol=5e-5)
    np.testing.assert_allclose(jax.jit(cut.head)(VARIABLES, features), GOLDEN["out/logits"], atol=5e-5)
