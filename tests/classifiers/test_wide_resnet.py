"""The WideResNet of Madry et al.: unit by unit as NumPy computes it from their description, its
size, and the images that it sees.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from natra_jax.classifiers import WideResNet
from natra_jax.classifiers.wide_resnet import standardise_each

CLASSES = 4
NETWORK = WideResNet(
    CLASSES, depth=14, width=2
)  # two units in each stage, so that there is one behind that which widens
IMAGES = np.random.default_rng(0).uniform(-1, 1, (2, 12, 7, 3)).astype(np.float32)


def drawn(network, channels=3):
    """Variables drawn by NumPy, statistics away from where they start."""
    rng = np.random.default_rng(1)
    shapes = jax.eval_shape(lambda: network.init(jax.random.key(0), jnp.zeros((1, 8, 8, channels))))

    def draw(path, leaf):
        around = {"scale": 1, "var": 1}.get(path[-1].key, 0)
        spread = 1 / np.sqrt(np.prod(leaf.shape[:-1])) if path[-1].key == "kernel" else 0.3
        return (around + spread * rng.uniform(-1, 1, leaf.shape)).astype(np.float32)

    return jax.tree.map_with_path(draw, dict(shapes))


def reference(variables, images, units, width):
    """(what leaves each stage, logits), in NumPy and float64, layer by layer."""
    x = images.astype(np.float64) * 127.5 + 127.5
    deviation = np.maximum(x.std((1, 2, 3), keepdims=True), 1 / np.sqrt(x[0].size))
    x = conv((x - x.mean((1, 2, 3), keepdims=True)) / deviation, weights(variables, "stem"))
    stages = []
    for stage in (1, 2, 3):
        channels = 16 * 2 ** (stage - 1) * width
        for i in range(units):
            name = f"stage{stage}_{i}"
            stride = 2 if stage > 1 and i == 0 else 1
            y = leaky(norm(variables, x, name, "first_norm"))
            shortcut = y if (stage, i) == (1, 0) else x
            y = conv(y, weights(variables, name, "first"), stride)
            y = conv(
                leaky(norm(variables, y, name, "second_norm")), weights(variables, name, "second")
            )
            x = y + widened(shortcut, channels, stride)
        stages.append(x)
    head = variables["params"]["head"]
    return stages, leaky(norm(variables, x, "last_norm")).mean((1, 2)) @ head["kernel"].astype(
        np.float64
    ) + head["bias"]


def weights(variables, *path):
    layer = variables["params"]
    for name in path:
        layer = layer[name]
    return layer["kernel"].astype(np.float64)


def norm(variables, x, *path):
    params, stats = variables["params"], variables["batch_stats"]
    for name in path:
        params, stats = params[name], stats[name]
    return (x - stats["mean"]) / np.sqrt(stats["var"].astype(np.float64) + 0.001) * params[
        "scale"
    ] + params["bias"]


def leaky(x):
    return np.where(x < 0, 0.1 * x, x)


def conv(x, kernel, stride=1):
    """TensorFlow's SAME: what has to be padded is halved, the odd zero at the end."""
    height, width = (-(-n // stride) for n in x.shape[1:3])
    missing = [
        max((out - 1) * stride + 3 - n, 0)
        for out, n in zip((height, width), x.shape[1:3], strict=True)
    ]
    x = np.pad(x, ((0, 0), *((m // 2, m - m // 2) for m in missing), (0, 0)))
    y = 0
    for i in range(3):
        for j in range(3):
            y = (
                y
                + x[:, i : i + stride * height : stride, j : j + stride * width : stride][
                    :, :height, :width
                ]
                @ kernel[i, j]
            )
    return y


def widened(x, channels, stride):
    height, width = (-(-n // stride) for n in x.shape[1:3])
    seen = [
        [
            x[:, stride * i : stride * (i + 1), stride * j : stride * (j + 1)].mean((1, 2))
            for j in range(width)
        ]
        for i in range(height)
    ]
    seen, missing = np.array(seen).transpose(2, 0, 1, 3), channels - x.shape[-1]
    return np.pad(seen, ((0, 0), (0, 0), (0, 0), (missing // 2, missing // 2)))


def test_logits_and_the_output_of_every_stage_are_madrys_also_of_odd_sizes():
    variables = drawn(NETWORK)

    @jax.jit
    def both(variables, images):
        with jax.default_matmul_precision("highest"):
            return NETWORK.apply(variables, images, method="features"), NETWORK.apply(
                variables, images
            )

    features, logits = both(variables, IMAGES)
    expected, expected_logits = reference(variables, IMAGES, units=2, width=2)
    assert [f.shape[1:] for f in features] == [(12, 7, 32), (6, 4, 64), (3, 2, 128)]
    for found, stage in zip(features, expected, strict=True):
        np.testing.assert_allclose(found, stage, atol=5e-5 * np.abs(stage).max())
    np.testing.assert_allclose(logits, expected_logits, atol=5e-5 * np.abs(expected_logits).max())


def test_depth_32_and_width_10_have_madrys_number_of_weights():
    def convolutions(before, after):
        return 9 * before * after

    def unit(before, after):
        return 2 * before + convolutions(before, after) + 2 * after + convolutions(after, after)

    by_hand = convolutions(3, 16) + 2 * 640 + 640 * 10 + 10
    for before, after in [(16, 160), (160, 320), (320, 640)]:
        by_hand += unit(before, after) + 4 * unit(after, after)
    shapes = jax.eval_shape(
        lambda: WideResNet(10).init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    )
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes["params"])) == by_hand == 45_901_914


@pytest.mark.parametrize("depth", [2, 7, 16, 31])
def test_other_depths_are_refused(depth):
    with pytest.raises(ValueError, match=rf"6 n \+ 2 for n units in each stage, got {depth}"):
        jax.eval_shape(lambda: WideResNet(CLASSES, depth=depth).init(jax.random.key(0), IMAGES))


def test_group_normalisation_has_no_statistics_and_grey_images_need_no_colour():
    network = WideResNet(CLASSES, depth=8, width=1, norm="group")
    variables = drawn(network, channels=1)
    assert set(variables) == {"params"} and variables["params"]["stem"]["kernel"].shape == (
        3,
        3,
        1,
        16,
    )
    alone, together = (
        jax.jit(network.apply)(variables, IMAGES[:count, ..., :1]) for count in (1, 2)
    )
    np.testing.assert_allclose(alone, together[:1], rtol=1e-4, atol=1e-5)
    assert np.abs(together[0] - together[1]).max() > 1e-3


def test_images_are_standardised_each_by_itself_and_flat_ones_have_a_gradient():
    seen = np.asarray(
        standardise_each(IMAGES * np.array([0.1, 1.0], np.float32)[:, None, None, None])
    )
    np.testing.assert_allclose(seen.mean((1, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(seen.std((1, 2, 3)), 1, rtol=1e-4)
    flat = jnp.full((1, 5, 4, 3), 0.25)
    gradient = jax.grad(lambda x: jnp.sum(standardise_each(x) * IMAGES[:1, :5, :4]))(flat)
    np.testing.assert_allclose(standardise_each(flat), 0, atol=1e-3)
    # a deviation below 1 / sqrt(60) of 255 values counts as that
    weights = IMAGES[:1, :5, :4] - IMAGES[:1, :5, :4].mean()
    np.testing.assert_allclose(gradient, weights * 127.5 * np.sqrt(60), rtol=1e-3, atol=1e-2)
