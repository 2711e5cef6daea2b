"""DCGAN checkpoints against the original's values: images, features, running statistics."""

from functools import partial

import jax
import numpy as np
import pytest

from natra_jax.types import UserError
from natra_jax.weights.converters import dcgan as checkpoints
from natra_jax.weights.converters import progan, stylegan1
from natra_jax.weights.tensors import Tensors
from tests.weights import damage, originals
from tests.weights.originals import nhwc

CLOSE = {"rtol": 0, "atol": 5e-5}
golden, converted = partial(originals.golden, "dcgan_64"), partial(originals.converted, "dcgan")


def chain(*widths):
    """A state dict with these widths: z, then behind each convolution."""
    rng, tensors = np.random.default_rng(0), {}
    for layer, (fed, width) in enumerate(zip(widths[:-1], widths[1:], strict=True)):
        tensors[f"main.{3 * layer}.weight"] = rng.normal(size=(fed, width, 4, 4))
        if layer < len(widths) - 2:
            for name in ("weight", "bias", "running_mean", "running_var"):
                tensors[f"main.{3 * layer + 1}.{name}"] = rng.uniform(0.5, 1, width)
    return tensors


def test_images_and_features_are_those_of_the_original():
    data, tensors, config = golden()
    generator, params = converted(tensors, config)
    assert (generator.num_layers, generator.code_dim, generator.resolution, generator.depth) == (
        1,
        12,
        64,
        5,
    )

    @jax.jit
    def everything(params, z):
        codes = generator.map(params, z)
        states = [generator.head(params, codes, 0)]
        for l in range(generator.depth):
            states.append(generator.advance(params, states[-1], codes, l, l + 1))
        return states[1:-1], generator.tail(params, states[-1], codes, 5)

    with jax.default_matmul_precision("highest"):
        states, images = everything(params, data["in/z"][:, :, 0, 0])
    for state, name in zip(states, (1, 4, 7, 10), strict=True):
        np.testing.assert_allclose(state, nhwc(np.maximum(data[f"act/main.{name}"], 0)), **CLOSE)
    np.testing.assert_allclose(images, nhwc(data["out/img"]), **CLOSE)
    # with the statistics of the batch they would be others
    assert np.abs(np.asarray(images) - nhwc(data["out/img_train_mode_bn"])).max() > 0.1


@pytest.mark.parametrize(
    ("widths", "resolution"),
    [
        ((5, 3, 1), 8),
        ((5, 8, 4, 3), 16),
        ((5, 7, 6, 5, 4, 3, 3), 128),
        ((5, 7, 6, 5, 4, 3, 2, 1), 256),
    ],
)
def test_any_number_of_layers_in_grey_or_colour_is_read_off_the_shapes(widths, resolution):
    generator, params = converted(chain(*widths), {})
    assert generator.resolution == resolution
    shapes = jax.eval_shape(generator.init, jax.random.key(0))
    assert jax.tree.map(np.shape, params) == jax.tree.map(np.shape, shapes)
    images = jax.eval_shape(
        generator.synthesize, params, jax.ShapeDtypeStruct((2, 1, 5), np.float32)
    )
    assert images.shape == (2, resolution, resolution, widths[-1])


def test_only_its_own_names_are_recognised():
    names = set(golden()[1])
    assert (
        checkpoints.recognises(names)
        and not stylegan1.recognises(names)
        and not progan.recognises(names)
    )
    assert not checkpoints.recognises(
        {"main.0.weight", "main.2.weight", "main.3.running_mean"}
    )  # the discriminator's
    assert not checkpoints.recognises(names | {"fc.weight"}) and not checkpoints.recognises(set())


def test_damaged_tensors_are_refused_in_one_line():
    _, tensors, config = golden()
    minded_not = damage.taken_all_the_same(checkpoints.convert, tensors, config)
    assert {name for name, _ in minded_not} == {
        f"main.{layer}.num_batches_tracked" for layer in (1, 4, 7, 10)
    }


@pytest.mark.parametrize(
    ("changed", "config", "says"),
    [
        ({"main.0.bias": np.ones(32)}, {}, "has no place for: main.0.bias"),
        ({"main.13.weight": np.ones(3)}, {}, "main.13.weight is the last one"),
        ({"main.9999.weight": np.ones(3)}, {}, "main.9999.weight is the last one"),
        ({"main.15.weight": np.ones((3, 3, 4, 4))}, {}, "main.13.weight is missing"),
        ({"main.12.weight": np.ones((4, 3, 5, 5))}, {}, r"main.12.weight is \[4, 3, 5, 5\]"),
        ({"main.4.running_var": np.full(16, -1.0)}, {}, "main.4.running_var holds negative values"),
        ({}, {"nz": 100}, "setting nz is 100, but its tensors say 12"),
        ({}, {"nc": 1}, "setting nc is 1"),
        ({}, {"ngf": [4]}, "setting ngf is"),
        ({}, {"ngf": object()}, "setting ngf is of type object"),
    ],
)
def test_what_no_such_network_has_is_named(changed, config, says):
    with pytest.raises(UserError, match=says):
        checkpoints.convert(Tensors(golden()[1] | changed, "DCGAN"), config)
