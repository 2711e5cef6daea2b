"""BigGAN-deep checkpoints of Hugging Face.

The original's images for every truncation, soft labels, and what config.json may say.
"""

import json
from functools import cache
from pathlib import Path

import jax
import numpy as np
import pytest

from natra_jax.generators.biggan_deep import biggan_deep
from natra_jax.types import UserError
from natra_jax.weights.converters import biggan as base
from natra_jax.weights.converters import biggan_deep as authors_deep
from natra_jax.weights.converters import biggan_deep_hf
from natra_jax.weights.tensors import Tensors
from tests.weights.biggan_numpy import damaged, random_state

GOLDEN = Path(__file__).parents[2] / "golden" / "biggan_deep_hf_32.npz"


@cache
def golden():
    with np.load(GOLDEN) as file:
        return dict(file)


@cache
def state():
    return {name[2:]: array for name, array in golden().items() if name.startswith("p/")}


def config(**changed):
    return json.loads(str(golden()["config"])) | changed


def made(state, config, **changed):
    """(generator, params)"""
    arguments, params, _ = biggan_deep_hf.convert(Tensors(state, "biggan_deep_hf"), config)
    arguments = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in json.loads(json.dumps(arguments)).items()
    }
    generator = biggan_deep(**(arguments | changed))
    shapes = jax.eval_shape(generator.init, jax.random.key(0))
    assert jax.tree.map(lambda leaf: leaf.shape, shapes) == jax.tree.map(
        lambda leaf: leaf.shape, params
    )
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype(np.float32)}
    return generator, params


def channels_first(images):
    return np.asarray(images).transpose(0, 3, 1, 2)


def test_the_images_and_features_are_the_originals():
    generator, params = made(state(), config(), truncation=0.4)

    @jax.jit
    def run(params, z, label, soft):
        codes = generator.map(params, z, label)
        # layer l is the original's l-th, counted from the linear one; its fifth is attention, which
        # is a part of the fourth here
        heads = [generator.head(params, codes, l) for l in (1, 2, 4, 5, 6)]
        return (
            codes,
            heads,
            generator.synthesize(params, codes),
            generator.synthesize(params, generator.map(params, z, soft)),
        )

    with jax.default_matmul_precision("highest"):
        inputs = (golden()[name] for name in ("in/z", "in/class_onehot", "in/class_soft"))
        codes, heads, image, of_soft = run(params, *inputs)
    assert generator.num_layers == 7 and generator.resolution == 32
    for layer in (0, 6):
        np.testing.assert_allclose(codes[:, layer], golden()["out/cond_vector"], atol=1e-6)
    np.testing.assert_allclose(
        np.asarray(heads[0]).reshape(2, -1), golden()["act/generator.gen_z"], atol=5e-5
    )
    for head, name in zip(heads[1:], ("0", "2", "4", "5"), strict=True):
        np.testing.assert_allclose(
            channels_first(head), golden()[f"act/generator.layers.{name}"], atol=5e-5
        )
    np.testing.assert_allclose(channels_first(image), golden()["out/img_trunc0.4"], atol=5e-5)
    np.testing.assert_allclose(
        channels_first(of_soft), golden()["out/img_soft_trunc0.4"], atol=5e-5
    )


@pytest.mark.parametrize("truncation", [0.3, 0.43, pytest.param(0.7, marks=pytest.mark.slow), 1.0])
def test_the_images_of_other_truncations_are_the_originals(truncation):
    generator, params = made(state(), config(), truncation=truncation)
    codes = generator.map(params, golden()["in/z"], golden()["in/class_onehot"])
    with jax.default_matmul_precision("highest"):
        image = jax.jit(generator.synthesize)(params, codes)
    np.testing.assert_allclose(
        channels_first(image), golden()[f"out/img_trunc{truncation}"], atol=5e-5
    )


def test_a_weight_is_divided_by_the_norm_of_the_stored_vectors():
    _, params = made(state(), config())
    weight = state()["generator.layers.0.conv_0.weight_orig"][:, :, 0, 0]
    sigma = golden()["out/sigma.generator.layers.0.conv_0"]
    np.testing.assert_allclose(params["layers"][1]["conv0"]["kernel"], weight.T / sigma, rtol=1e-5)
    assert abs(np.linalg.norm(weight, 2) - sigma) > 0.1  # it is not the largest singular value


def test_weights_without_spectral_normalisation_are_taken_as_they_are():
    plain = {
        name.replace("weight_orig", "weight"): array
        for name, array in state().items()
        if not name.endswith(("_u", "_v"))
    }
    _, params = made(plain, config())
    np.testing.assert_array_equal(
        params["layers"][0]["kernel"], state()["generator.gen_z.weight_orig"].T
    )


def test_what_the_shapes_show_needs_no_configuration():
    given = biggan_deep_hf.convert(Tensors(state(), "biggan_deep_hf"), config())
    alone = biggan_deep_hf.convert(
        Tensors(state(), "biggan_deep_hf"), {"layers": config()["layers"]}
    )
    assert (
        given.arguments == alone.arguments
        and given.arguments["truncation"] == 1.0
        and "11 truncations" in given.notes[0]
    )


def test_names_of_other_families_are_not_recognised():
    names = set(state())
    assert (
        biggan_deep_hf.recognises(names)
        and not base.recognises(names)
        and not authors_deep.recognises(names)
    )
    for deep in (False, True):
        assert not biggan_deep_hf.recognises(set(random_state(deep=deep, channels=(8, 8, 8))))


def layers(**changed):
    """The configuration's, with other entries at these places."""
    return [changed.get(f"at{i}", layer) for i, layer in enumerate(config()["layers"])]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"layers": None}, "config.json is needed beside the weights"),
        ({"layers": []}, "layers must be a list of the 6 blocks"),
        ({"layers": "abc"}, "layers must be a list"),
        ({"layers": layers()[:5]}, "layers must be a list of the 6 blocks"),
        ({"layers": layers(at0=[0, 16, 16])}, "each of layers must be"),
        ({"layers": layers(at0=[False, 16])}, "each of layers must be"),
        ({"layers": layers(at0=7)}, "each of layers must be"),
        ({"layers": layers(at0=[False, 16, 8])}, "layers do not agree with the tensors"),
        ({"layers": layers(at0=[False, 10**400, 16])}, "layers do not agree with the tensors"),
        ({"layers": [[False, *layer[1:]] for layer in layers()]}, "must upsample, not 0"),
        ({"layers": layers(at0=[True, 16, 16])}, "setting output_dim is .*, but its tensors say"),
        ({"truncation": 0}, "setting truncation is 0"),
        ({"truncation": True}, "setting truncation is True"),
        ({"truncation": 10**400}, "setting truncation is 1000"),
        ({"z_dim": 13}, "setting z_dim is .*, but its tensors say"),
        ({"class_embed_dim": 128}, "setting class_embed_dim is .*, but its tensors say"),
        ({"num_classes": True}, "setting num_classes is .*, but its tensors say"),
        ({"channel_width": 4.5}, "setting channel_width is .*, but its tensors say"),
        ({"n_stats": 51}, "setting n_stats is .*, but its tensors say"),
        (
            {"attention_layer_position": 3},
            "setting attention_layer_position is .*, but its tensors say",
        ),
        ({"eps": 1}, "eps must be a number between 0 and 1"),
        ({"eps": [1e-4]}, "eps must be a number between 0 and 1"),
    ],
)
def test_a_configuration_that_contradicts_the_tensors_is_a_users_error(changed, message):
    with pytest.raises(UserError, match=message):
        biggan_deep_hf.convert(Tensors(state(), "biggan_deep_hf"), config(**changed))


def test_a_state_dict_that_is_not_whole_is_a_users_error():
    count = 0
    for name, broken in damaged(state()):
        try:
            made(broken, config())
        except UserError:
            count += 1
        except (AssertionError, ValueError) as error:
            raise AssertionError(f"{name}: {error!r}") from error
        else:
            raise AssertionError(f"a changed {name} was taken")
    assert count > 300


def test_a_truncation_beside_the_config_is_the_generators():
    generator, _ = made(state(), config(truncation=0.4))
    assert generator is made(state(), config(), truncation=0.4)[0]
