"""Checkpoints of the authors' BigGAN and BigGAN-deep.

Their images against the original's, and against NumPy for what that run left out.
"""

import json
from functools import cache
from pathlib import Path

import jax
import numpy as np
import pytest

from natra_jax.generators.biggan import biggan
from natra_jax.generators.biggan_deep import biggan_deep
from natra_jax.types import UserError
from natra_jax.weights.converters import biggan as base
from natra_jax.weights.converters import biggan_deep as deep
from natra_jax.weights.tensors import Tensors
from tests.weights.biggan_numpy import Network, damaged, random_state

GOLDEN = Path(__file__).parents[2] / "golden" / "biggan_ajbrock_32_hier.npz"


@cache
def golden():
    with np.load(GOLDEN) as file:
        return dict(file)


def golden_state():
    return {name[2:]: array for name, array in golden().items() if name.startswith("p/")}


def golden_config():
    return json.loads(str(golden()["config"]))


def made(module, function, state, config=None):
    """(generator, params)"""
    arguments, params, _ = module.convert(Tensors(state, "biggan"), config or {})
    arguments = json.loads(json.dumps(arguments))
    generator = function(
        **{
            name: tuple(value) if isinstance(value, list) else value
            for name, value in arguments.items()
        }
    )
    shapes = jax.eval_shape(generator.init, jax.random.key(0))
    assert jax.tree.map(lambda leaf: leaf.shape, shapes) == jax.tree.map(
        lambda leaf: leaf.shape, params
    )
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype(np.float32)}
    return generator, params


def images(generator, params, z, label):
    with jax.default_matmul_precision("highest"):
        return np.asarray(
            jax.jit(lambda p, z, y: generator.synthesize(p, generator.map(p, z, y)))(
                params, z, label
            )
        ).transpose(0, 3, 1, 2)


def test_the_images_and_features_are_the_originals():
    generator, params = made(base, biggan, golden_state(), golden_config())

    @jax.jit
    def run(params, z, label):
        codes = generator.map(params, z, label)
        return (
            codes,
            [generator.head(params, codes, l) for l in (1, 2, 3, 4)],
            generator.synthesize(params, codes),
        )

    with jax.default_matmul_precision("highest"):
        codes, features, image = run(params, golden()["in/z"], golden()["in/y"])
    np.testing.assert_allclose(codes[:, 2, 4:], golden()["out/y_embed"], atol=1e-6)
    first, *others = (np.asarray(feature).transpose(0, 3, 1, 2) for feature in features)
    np.testing.assert_allclose(first.reshape(2, -1), golden()["act/linear"], atol=5e-5)
    names = ("act/blocks.0.0", "act/blocks.1.1", "act/blocks.2.0")
    for name, feature in zip(names, others, strict=True):
        np.testing.assert_allclose(feature, golden()[name], atol=5e-5)
    np.testing.assert_allclose(
        np.asarray(image).transpose(0, 3, 1, 2), golden()["out/img"], atol=5e-5
    )


def test_a_weight_is_divided_by_its_norm_after_one_step_of_power_iteration():
    _, params = made(base, biggan, golden_state(), golden_config())
    effective = (
        golden()["out/effective_weight.linear"]
        .reshape(16, 4, 4, 4)
        .transpose(1, 2, 0, 3)
        .reshape(256, 4)
    )
    np.testing.assert_allclose(params["layers"][0]["kernel"].T, effective, atol=1e-6)


def test_what_the_shapes_show_needs_no_configuration():
    with_config, without = (
        base.convert(Tensors(golden_state(), "biggan"), config) for config in (golden_config(), {})
    )
    assert with_config.arguments == {**without.arguments, "eps": 1e-4}
    assert without.arguments["eps"] == 1e-5 and without.notes == ()


def test_files_of_a_tf_hub_module_have_its_epsilon():
    state = {name: array for name, array in golden_state().items() if not name.endswith("sv0")}
    arguments, _, notes = base.convert(Tensors(state, "biggan"), {})
    assert arguments["eps"] == 1e-4 and arguments["output_eps"] == 1e-5 and "TF Hub" in notes[0]
    assert base.convert(Tensors(state, "biggan"), {"BN_eps": 1e-5}).arguments["eps"] == 1e-5


VARIANTS = {
    "one z, standing statistics": {"hierarchical": False, "kind": "standing"},
    "no shared embedding": {"hierarchical": False, "shared": False, "attention": (0,)},
    "chunks of z, cross-replica statistics, attention last": {
        "kind": "running",
        "attention": (1,),
        "channels": (8, 8, 8),
    },
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_makes_the_images_that_numpy_does(variant):
    options = VARIANTS[variant]
    state = random_state(**options)
    hierarchical = options.get("hierarchical", True)
    generator, params = made(base, biggan, state, {"BN_eps": 1e-3})
    rng = np.random.default_rng(1)
    z = rng.normal(size=(2, 6 if hierarchical else 2)).astype(np.float32)
    soft = rng.dirichlet(np.ones(3), size=2).astype(np.float32)
    expected = Network(state, eps=1e-3).images(
        z.astype(np.float64), soft.astype(np.float64), hierarchical=hierarchical
    )
    assert expected.shape == (2, 3, 16, 16) and expected.std() > 0.05
    np.testing.assert_allclose(images(generator, params, z, soft), expected, atol=5e-5)


DEEP = {
    "two blocks a resolution": ({"attention": (1,), "channels": (16, 16, 8, 8, 4)}, {}, 16),
    "one block a resolution, standing statistics": (
        {"kind": "standing", "channels": (8, 8)},
        {"G_depth": 1},
        8,
    ),
}


@pytest.mark.parametrize("variant", DEEP)
def test_every_deep_variant_makes_the_images_that_numpy_does(variant):
    options, config, resolution = DEEP[variant]
    state = random_state(deep=True, **options)
    generator, params = made(deep, biggan_deep, state, config)
    rng = np.random.default_rng(1)
    z = rng.normal(size=(2, 2)).astype(np.float32)
    soft = rng.dirichlet(np.ones(3), size=2).astype(np.float32)
    network = Network(state, eps=1e-5)
    expected = network.deep_images(
        z.astype(np.float64), soft.astype(np.float64), depth=config.get("G_depth", 2)
    )
    assert expected.shape == (2, 3, resolution, resolution) and expected.std() > 0.05
    np.testing.assert_allclose(images(generator, params, z, soft), expected, atol=5e-5)


def test_the_numpy_network_makes_the_originals_images():
    network = Network(golden_state(), eps=1e-4, sn_eps=1e-6)
    made = network.images(golden()["in/z"].astype(np.float64), np.eye(7)[golden()["in/y"]])
    np.testing.assert_allclose(made, golden()["out/img"], atol=1e-5)


def test_statistics_that_were_not_summed_up_are_taken_as_they_are():
    state = random_state(kind="standing")
    state = {
        name: 0 * array if name.endswith("counter") else array for name, array in state.items()
    }
    params = base.convert(Tensors(state, "biggan"), {}).params
    np.testing.assert_array_equal(
        params["buffers"]["output"]["mean"], state["output_layer.0.bn.stored_mean"]
    )


def test_weights_without_spectral_normalisation_are_taken_as_they_are():
    state = {
        name: array for name, array in random_state().items() if not name.endswith(("u0", "sv0"))
    }
    params = base.convert(Tensors(state, "biggan"), {}).params
    np.testing.assert_array_equal(
        params["output"]["kernel"], state["output_layer.2.weight"].transpose(2, 3, 1, 0)
    )


def test_each_recognises_its_own_names_alone():
    shallow, deeper = set(random_state()), set(random_state(deep=True, channels=(8, 8, 8)))
    assert base.recognises(shallow) and not base.recognises(deeper)
    assert deep.recognises(deeper) and not deep.recognises(shallow)
    for names in (
        set(),
        {"main.0.weight"},
        {"mapping.fc0.weight"},
        {"linear.weight", "shared.weight"},
    ):
        assert not base.recognises(names) and not deep.recognises(names)


@pytest.mark.parametrize(
    "config",
    [
        {"resolution": 32},
        {"resolution": "16"},
        {"n_classes": 4},
        {"shared_dim": 5},
        {"hier": False},
        {"G_shared": False},
        {"dim_z": 9},
        {"dim_z": 6.0},
        {"G_attn": "16"},
        {"G_attn": 64},
        {"G_attn": "64_"},
        {"G_attn": ["8"]},
        {"BN_eps": 0},
        {"BN_eps": "1e-5"},
        {"BN_eps": float("nan")},
        {"SN_eps": -1.0},
        {"norm_style": "gn"},
        {"G_nl": "elu"},
        {"G_nl": None},
        {"bottom_width": 8},
        {"n_classes": True},
    ],
)
def test_a_configuration_that_contradicts_the_tensors_is_a_users_error(config):
    with pytest.raises(
        UserError, match=f"^(config:|the checkpoint.s setting) {next(iter(config))} "
    ):
        base.convert(Tensors(random_state(), "biggan"), config)


@pytest.mark.parametrize(
    "config",
    [
        {"G_depth": 3},
        {"G_depth": 0},
        {"G_depth": 10**400},
        {"G_depth": "2"},
        {"hier": False},
        {"dim_z": 3},
    ],
)
def test_a_configuration_that_contradicts_a_deep_networks_tensors_is_a_users_error(config):
    with pytest.raises(UserError, match=next(iter(config))):
        deep.convert(Tensors(random_state(deep=True, channels=(8, 8, 8)), "biggan_deep"), config)


def test_a_configuration_that_agrees_is_taken():
    agreeing = {
        "resolution": 16,
        "n_classes": 3,
        "shared_dim": 4,
        "hier": True,
        "G_shared": True,
        "dim_z": 8,
        "G_attn": "8_64",
    }
    others = {
        "SN_eps": 1e-8,
        "G_nl": "inplace_relu",
        "norm_style": "bn",
        "G_lr": 1e-4,
        "bottom_width": 4,
        "unknown": object(),
    }
    assert (
        base.convert(Tensors(random_state(attention=(0,)), "biggan"), agreeing | others).arguments[
            "z_dim"
        ]
        == 6
    )
    assert (
        base.convert(Tensors(random_state(), "biggan"), {"shared_dim": 0, "G_attn": "0"}).arguments[
            "attention"
        ]
        == []
    )


@pytest.mark.parametrize(
    ("module", "function", "options"),
    [(base, biggan, {}), (deep, biggan_deep, {"deep": True, "channels": (8, 8, 8)})],
)
def test_a_state_dict_that_is_not_whole_is_a_users_error(module, function, options):
    count = 0
    for name, state in damaged(random_state(attention=(1,), **options)):
        try:
            made(module, function, state)
        except UserError:
            count += 1
        except (
            AssertionError,
            ValueError,
        ) as error:  # what `natra_jax.weights.convert` turns into a UserError
            raise AssertionError(f"{name}: {error!r}") from error
        else:
            raise AssertionError(f"a changed {name} was taken")
    assert count > 100
