"""LPIPS against its authors' own answers, on VGG-16 under torchvision's names."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from natra_jax.classifiers import Vgg16
from natra_jax.latents import lpips
from natra_jax.types import UserError
from natra_jax.weights.converters import lpips as heads_of
from natra_jax.weights.converters import vgg16
from natra_jax.weights.tensors import Tensors
from tests.classifiers import torchvision_nets as theirs

GOLDEN = theirs.golden()
ARGUMENTS, VARIABLES, _ = vgg16.convert(Tensors(theirs.of_golden(), "VGG-16"), {})
STATE = theirs.of_golden("p_lpips/")
HEADS = heads_of.convert(Tensors(STATE, "LPIPS"), {}).params
FEATURES_FN = partial(Vgg16(**ARGUMENTS).apply, VARIABLES, method="features")


@jax.jit
def distances(a, b):
    with jax.default_matmul_precision("highest"):
        return lpips.distance(FEATURES_FN, HEADS, a, b)


def test_distances_are_those_of_the_authors():
    a, b = (theirs.nhwc(GOLDEN[f"in/lpips_{which}"]) for which in "ab")
    np.testing.assert_allclose(distances(a, b), GOLDEN["out/lpips"].reshape(-1), atol=5e-5)
    np.testing.assert_array_equal(distances(a, a), 0)


def test_where_no_feature_answers_the_gradient_is_finite():
    def features_fn(images):
        return (jax.nn.relu(images),)

    @jax.jit
    @jax.value_and_grad
    def far(images):
        return lpips.distance(
            features_fn, [np.ones(3, np.float32)], images, -jnp.ones((1, 2, 2, 3))
        )[0]

    dark, bright = jnp.full((1, 2, 2, 3), -1.0), jnp.full((1, 2, 2, 3), 0.5)
    distance, gradient = far(dark)
    assert distance == 0 and np.isfinite(gradient).all()
    np.testing.assert_allclose(far(bright)[0], 1, rtol=1e-5)


def test_heads_have_to_be_as_many_as_the_layers():
    with pytest.raises(ValueError, match="argument 3 is shorter"):
        lpips.distance(
            lambda images: (images, images),
            [np.ones(3)],
            np.ones((1, 2, 2, 3)),
            np.ones((1, 2, 2, 3)),
        )


DAMAGED = {
    "missing": ({"lin3.model.1.weight": None}, "lin3.model.1.weight is missing"),
    "left over": ({"lin5.model.1.weight": np.ones((1, 2, 1, 1))}, "lin5.model.1.weight"),
    "of another rank": ({"lin0.model.1.weight": np.ones(6)}, r"lin0.model.1.weight is \[6\]"),
    "empty": ({"lin0.model.1.weight": np.ones((1, 0, 1, 1))}, "lin0.model.1.weight is empty"),
}


@pytest.mark.parametrize("what", DAMAGED)
def test_other_tensors_are_named(what):
    changes, line = DAMAGED[what]
    state = {name: array for name, array in (STATE | changes).items() if array is not None}
    assert heads_of.recognises(set(state)) == (what != "missing")
    with pytest.raises(UserError, match=line):
        heads_of.convert(Tensors(state, "LPIPS"), {})


def test_heads_of_another_network_are_refused():
    def state(*widths):
        names = (f"lin{layer}.model.1.weight" for layer in range(len(widths)))
        return {
            name: np.ones((1, width, 1, 1), np.float32)
            for name, width in zip(names, widths, strict=True)
        }

    squeezenet = state(64, 128, 256, 384, 384, 512, 512)
    for found, network in ((state(64, 192, 384, 256, 256), "AlexNet"), (squeezenet, "SqueezeNet")):
        with pytest.raises(UserError, match=f"heads of {network}, but VGG-16's are needed"):
            heads_of.convert(Tensors(found, "LPIPS"), {})
    assert len(heads_of.convert(Tensors(state(64, 128, 256, 512, 512), "LPIPS"), {}).params) == 5
    images = np.ones((1, 2, 2, 3), np.float32)
    with pytest.raises(ValueError, match="head 1 has .4. weights, but its features 3 channels"):
        lpips.distance(lambda x: (x, x), [np.ones(3), np.ones(4)], images, images)
