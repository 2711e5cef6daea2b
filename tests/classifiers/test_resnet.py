"""ResNet-50's and ResNet-18's layouts, small: stage by stage as NumPy computes them from
torchvision's names, and in training.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from natra_jax.classifiers import ResNet, build
from natra_jax.weights.converters import resnet18, resnet50
from natra_jax.weights.tensors import Tensors
from tests.classifiers import torchvision_nets as theirs

STATE = theirs.resnet_state()
ARGUMENTS, VARIABLES, _ = resnet50.convert(Tensors(STATE, "ResNet-50"), {})
IMAGES = np.random.default_rng(1).uniform(-1, 1, (2, 37, 30, 3)).astype(np.float32)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_logits_and_the_output_of_every_stage_are_torchvisions(name):
    state = theirs.resnet_state(basic=True) if name == "resnet18" else STATE
    arguments, variables, _ = {"resnet18": resnet18, "resnet50": resnet50}[name].convert(
        Tensors(state, name), {}
    )
    network = build(name, **arguments)

    @jax.jit
    def both(variables, images):
        with jax.default_matmul_precision("highest"):
            return network.apply(variables, images, method="features"), network.apply(
                variables, images
            )

    features, logits = both(variables, IMAGES)
    expected, expected_logits = theirs.resnet(state, IMAGES)
    assert [f.shape[1:3] for f in features] == [(10, 8), (5, 4), (3, 2), (2, 1)]
    for found, stage in zip(features, expected, strict=True):
        np.testing.assert_allclose(found, stage, atol=5e-5 * np.abs(stage).max())
    np.testing.assert_allclose(logits, expected_logits, atol=5e-5 * np.abs(expected_logits).max())


@pytest.mark.parametrize(
    ("name", "weights", "kernels"), [("resnet18", 11_689_512, 21), ("resnet50", 25_557_032, 54)]
)
def test_they_have_torchvisions_numbers_of_layers_and_weights(name, weights, kernels):
    network = build(name, 1000)
    shapes = jax.eval_shape(lambda: network.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3))))
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))
    assert count == weights, "as torchvision says of its own"
    assert sum(path[-1] == "kernel" for path in flatten_dict(shapes["params"])) == kernels


def test_training_goes_down_to_a_pixel_and_updates_running_statistics_by_a_tenth():
    images = np.random.default_rng(2).uniform(-1, 1, (4, 8, 8, 3)).astype(np.float32)
    network = ResNet(2, widths=(2, 3), blocks=(1, 1))  # the first two stages' first blocks
    variables = {
        name: {layer: tree[layer] for layer in ("stem", "stage1_0", "stage2_0")}
        for name, tree in VARIABLES.items()
    }
    variables["params"]["head"] = {
        "kernel": np.eye(12, 2, dtype=np.float32),
        "bias": np.zeros(2, np.float32),
    }

    @jax.jit
    def update(variables, images):
        def loss(params):
            logits, updated = network.apply(
                variables | {"params": params}, images, train=True, mutable=["batch_stats"]
            )
            return jnp.square(logits).sum(), updated["batch_stats"]

        return jax.grad(loss, has_aux=True)(variables["params"])

    gradient, updated = update(variables, images)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    assert np.abs(gradient["stem"]["kernel"]).max() > 0
    x = ((images.astype(np.float64) + 1) / 2 - theirs.MEAN) / theirs.STD
    x, w = np.pad(x, ((0, 0), (3, 3), (3, 3), (0, 0))), STATE["conv1.weight"].transpose(2, 3, 1, 0)
    seen = [
        np.tensordot(x[:, i : i + 7, j : j + 7], w, 3) for i in (0, 2, 4, 6) for j in (0, 2, 4, 6)
    ]
    mean = np.mean(seen, axis=(0, 1))
    np.testing.assert_allclose(
        updated["stem"]["BatchNorm_0"]["mean"],
        0.9 * STATE["bn1.running_mean"] + 0.1 * mean,
        rtol=1e-4,
        atol=1e-5,
    )
