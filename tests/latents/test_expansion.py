"""Latent codes expansion: several codes an image against NumPy on a linear generator, and as a
generator that splits like any other.
"""

import dataclasses
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given

from natra_jax import attacks
from natra_jax.generators import style_small
from natra_jax.latents.expansion import Expansion, compose, expand, expansion
from tests.helpers import (
    example_keys,
    few_examples,
    floats32,
    linear_generator,
    linear_params,
    oblique_directions,
)
from tests.latents.linear import linear_encoder, weights

B, N = 3, 2
LINEAR = linear_generator(num_layers=3, code_dim=2, resolution=2)
STYLE = style_small(resolution=8, code_dim=3, base_channels=2, max_channels=2)
LINEAR_PARAMS = linear_params(LINEAR)
# the features are summed at the first layer, at the last, or between
GENERATORS = {
    f"{g.family} {at}": (g, at) for g, places in ((LINEAR, (1, 3)), (STYLE, (2,))) for at in places
}


@cache
def params_of(generator):
    """Weights in every array, also where training starts from zeros."""
    if generator is LINEAR:
        return LINEAR_PARAMS
    shapes = jax.eval_shape(generator.init, jax.random.key(0))
    return jax.tree.map(
        lambda s: (0.5 * np.random.default_rng(0).normal(size=s.shape)).astype(np.float32), shapes
    )


def draw(layout, seed):
    """codes [B, N, L, D] and logits [B, N, C] of standard normal numbers."""
    rng = np.random.default_rng(seed)
    shape = (B, layout.num_codes, layout.num_layers, layout.code_dim)
    return rng.normal(size=shape).astype(np.float32), rng.normal(
        size=(*shape[:2], layout.channels)
    ).astype(np.float32)


def softmax(logits):
    exponential = np.exp(logits.astype(np.float64))
    return exponential / exponential.sum(1, keepdims=True)


def composed(codes, importance, at):
    """The images of the specification's section 4 on the linear generator, in NumPy and float64."""
    heads = LINEAR_PARAMS["constant"] + np.einsum(
        "bnld,ldp->bnp", codes[:, :, :at].astype(np.float64), LINEAR_PARAMS["layers"][:at]
    )
    flat = (heads * importance).sum(1) + np.einsum(
        "bld,ldp->bp", codes.mean(1)[:, at:], LINEAR_PARAMS["layers"][at:]
    )
    return flat.reshape(len(codes), 2, 2, 1)


@partial(jax.jit, static_argnums=(0, 1))
def synthesize(generator, layout, params, codes, logits):
    return expand(generator, layout).synthesize(params, layout.pack(codes, logits))


def assert_close(a, b):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), a, b)


@pytest.mark.parametrize(("num_codes", "at"), [(2, 1), (2, 3), (3, 2)])
def test_images_are_of_weighed_features_and_of_the_mean_code_behind_them(num_codes, at):
    layout = expansion(LINEAR, num_codes=num_codes, at=at)
    codes, logits = draw(layout, 0)
    images = partial(synthesize, LINEAR, layout, LINEAR_PARAMS, codes)
    assert_close(images(logits), composed(codes, softmax(logits), at))
    # equal logits weigh each code 1/N, once
    assert_close(images(0 * logits), LINEAR.synthesize(LINEAR_PARAMS, codes.mean(1)))


def test_importance_weighs_each_codes_own_features_and_not_their_sum():
    layout = expansion(LINEAR, num_codes=2, at=3)
    codes, _ = draw(layout, 0)
    # the first code has two channels to itself, the second the others
    logits = np.broadcast_to(
        np.float32([[100, 100, -100, -100], [-100, -100, 100, 100]]), (B, 2, 4)
    )
    images = np.asarray(synthesize(LINEAR, layout, LINEAR_PARAMS, codes, logits))
    first, second = (np.asarray(LINEAR.synthesize(LINEAR_PARAMS, codes[:, n])) for n in range(2))
    assert_close(images[:, 0], first[:, 0])
    assert_close(images[:, 1], second[:, 1])
    assert np.abs(first - second).min() > 1e-2


@pytest.mark.parametrize(("generator", "at"), GENERATORS.values(), ids=GENERATORS)
def test_head_advance_and_tail_split_an_expanded_generator_at_every_layer(generator, at):
    layout, params = expansion(generator, num_codes=N, at=at), params_of(generator)
    expanded, layers = expand(generator, layout), range(generator.num_layers + 1)
    pairs = [(0, 0), (0, layers[-1]), *zip(layers, layers[1:], strict=False)]

    @jax.jit
    def split(params, codes, others):
        def foreign_but(l, m):
            """Codes before layer l and from m on come from elsewhere: they must not be read."""
            return jnp.concatenate([others[:, :l], codes[:, l:m], others[:, m:]], axis=1)

        heads = [expanded.head(params, foreign_but(0, l), l) for l in layers]
        tails = [expanded.tail(params, heads[l], foreign_but(l, layers[-1]), l) for l in layers]
        advanced = {
            (l, m): expanded.advance(params, heads[l], foreign_but(l, m), l, m) for l, m in pairs
        }
        # the definition, code by code
        several, logits = layout.unpack(codes)
        of_each = jnp.stack([generator.head(params, several[:, n], at) for n in range(N)], axis=1)
        by_hand = generator.tail(params, compose(of_each, logits), several.mean(1), at)
        return expanded.synthesize(params, codes), by_hand, heads, tails, advanced

    codes, others = (layout.pack(*draw(layout, seed)) for seed in (0, 1))
    images, by_hand, heads, tails, advanced = split(params, codes, others)
    assert np.std(images) > 1e-2
    for other in (by_hand, *tails):
        assert_close(other, images)
    for (_, m), features in advanced.items():
        assert_close(features, heads[m])
    # several feature maps up to the layer where they are summed, one from there on
    assert [head.ndim - heads[-1].ndim for head in heads] == [1] * at + [0] * (len(heads) - at)


def test_one_code_is_no_expansion():
    layout, params = expansion(STYLE, num_codes=1, at=3), params_of(STYLE)
    expanded, layers = expand(STYLE, layout), range(STYLE.num_layers + 1)

    @jax.jit
    def both(params, codes, logits):
        packed, single = layout.pack(codes, logits), codes[:, 0]
        heads = [expanded.head(params, packed, l) for l in layers]
        heads = [head[:, 0] if l < layout.at else head for l, head in enumerate(heads)]
        of_tails = [
            expanded.tail(params, head[:, None] if l < layout.at else head, packed, l)
            for l, head in enumerate(heads)
        ]
        images, expected = expanded.synthesize(params, packed), STYLE.synthesize(params, single)
        return heads, [STYLE.head(params, single, l) for l in layers], [images, *of_tails], expected

    heads, plain, images, expected = both(params, *draw(layout, 0))
    assert_close(heads, plain)
    assert_close(images, [expected] * len(images))


def test_the_prior_makes_the_same_images():
    layout = expansion(LINEAR, num_codes=N, at=2)
    expanded = expand(LINEAR, layout)
    assert expanded.sample is LINEAR.sample and expanded.init is LINEAR.init

    @jax.jit
    def both(z):
        codes, single = (
            generator.map(LINEAR_PARAMS, z, truncation_psi=0.5) for generator in (expanded, LINEAR)
        )
        images = expanded.synthesize(LINEAR_PARAMS, codes), LINEAR.synthesize(LINEAR_PARAMS, single)
        return codes, layout.mean(codes), single, *images

    codes, mean, single, several, expected = both(
        np.random.default_rng(0).normal(size=(B, 2)).astype(np.float32)
    )
    assert codes.shape == (B, 3, expanded.code_dim)
    assert_close(mean, single)
    assert_close(several, expected)


def test_an_expanded_generator_is_equal_to_another_of_the_same():
    first, again, other = (expand(STYLE, expansion(STYLE, num_codes=N, at=at)) for at in (2, 2, 3))
    assert first == again and hash(first) == hash(again) and first != other


def test_features_of_several_leaves_have_an_importance_for_each_channel_of_each():
    # the linear generator's features side by side, and once more as an image of one channel
    def apart(flat):
        return {"a": flat[:, :3], "b": (flat[:, 3:], flat.reshape(-1, 2, 2, 1))}

    def tail(params, features, codes, l):
        flat = jnp.concatenate([features["a"], features["b"][0]], axis=1) + features["b"][
            1
        ].reshape(-1, 4)
        return LINEAR.tail(params, flat, codes, l)

    generator = dataclasses.replace(
        LINEAR,
        head=lambda params, codes, l: apart(LINEAR.head(params, codes, l)),
        advance=lambda params, features, codes, l, m: jax.tree.map(
            jnp.add, features, apart(LINEAR.advance(params, 0.0, codes, l, m))
        ),
        tail=tail,
    )
    layout = expansion(generator, num_codes=N, at=3)
    assert layout.channels == 3 + 1 + 1 and layout.extra == N * 5
    codes, logits = draw(layout, 0)
    images = synthesize(generator, layout, LINEAR_PARAMS, codes, logits)
    importance = softmax(logits)
    assert_close(
        images, composed(codes, importance[:, :, :4], 3) + composed(codes, importance[:, :, 4:], 3)
    )


def test_compose_is_a_sum_over_codes_leaf_by_leaf():
    rng = np.random.default_rng(0)
    features = {
        "a": rng.normal(size=(B, N, 2, 2, 3)).astype(np.float32),
        "b": rng.normal(size=(B, N, 2)).astype(np.float32),
    }
    logits = rng.normal(size=(B, N, 5)).astype(np.float32)
    summed, importance = jax.jit(compose)(features, logits), softmax(logits)
    assert_close(summed["a"], np.einsum("bnhwc,bnc->bhwc", features["a"], importance[:, :, :3]))
    assert_close(summed["b"], np.einsum("bnc,bnc->bc", features["b"], importance[:, :, 3:]))


@few_examples
@given(codes=floats32((2, 3, 4, 2), -1, 1), logits=floats32((2, 3, 5), -1, 1))
def test_unpack_is_the_inverse_of_pack_and_every_layer_holds_its_own(codes, logits):
    layout = Expansion(num_codes=3, at=2, num_layers=4, code_dim=2, channels=5)
    packed = np.asarray(layout.pack(codes, logits))
    assert packed.shape == (2, 4, 3 * 2 + layout.extra)
    again, of_importance = layout.unpack(packed)
    np.testing.assert_array_equal(again, codes)
    np.testing.assert_array_equal(of_importance, logits)
    np.testing.assert_allclose(layout.mean(packed), codes.mean(1), atol=1e-6)
    for layer in range(4):
        np.testing.assert_array_equal(packed[:, layer, :6].reshape(2, 3, 2), codes[:, :, layer])
        np.testing.assert_array_equal(
            packed[:, layer, 6:], logits.reshape(2, -1) if layer == 1 else np.zeros((2, 15))
        )


ALONG = oblique_directions(LINEAR, count=3)


def test_a_lifted_direction_moves_all_codes_as_the_direction_moves_one():
    layout = expansion(LINEAR, num_codes=3, at=2)
    lifted, (codes, logits) = layout.lift(ALONG), draw(layout, 0)
    r = np.array([0.5, -1.0, 2.0])
    several, single = (
        np.einsum("s,sld->ld", r * d.sigma, d.vectors).astype(np.float32) for d in (lifted, ALONG)
    )
    assert_close(layout.pack(codes, logits) + several, layout.pack(codes + single, logits))
    # and is a direction as any other
    np.testing.assert_allclose(np.square(lifted.vectors).sum((1, 2)), 1, rtol=1e-5)
    np.testing.assert_array_equal(lifted.vectors.any(2), ALONG.mask)
    assert lifted.vectors.dtype == lifted.sigma.dtype == lifted.mean.dtype == np.float32
    for name in ("mask", "names", "useful", "generator_fingerprint"):
        assert getattr(lifted, name) is getattr(ALONG, name)
    # the population's mean code, N times
    again, of_importance = layout.unpack(lifted.mean[None])
    assert_close(again[0], np.broadcast_to(ALONG.mean, (3, 3, 2)))
    np.testing.assert_array_equal(of_importance, 0)


def test_sigma_of_a_lifted_direction_is_the_spread_of_expanded_codes_along_it():
    layout = expansion(LINEAR, num_codes=N, at=2)
    codes, logits = draw(layout, 0)
    along = ALONG._replace(sigma=np.einsum("bld,sld->bs", codes.mean(1), ALONG.vectors).std(0))
    lifted = layout.lift(along)
    spread = np.einsum("bld,sld->bs", np.asarray(layout.pack(codes, logits)), lifted.vectors).std(0)
    np.testing.assert_allclose(lifted.sigma, spread, rtol=1e-5)


def test_the_space_of_lifted_directions_is_for_equal_codes_that_of_the_directions_for_one():
    layout = expansion(LINEAR, num_codes=N, at=2)
    codes, logits = draw(layout, 0)

    @jax.jit
    def moved(space, origin):
        keys, epsilon = example_keys(B), jnp.float32([0.5, 1.5, 4.0])
        center = space.anchor(keys, origin)
        r = space.init(keys, center, epsilon)
        projected = space.project(3 * r, center, epsilon)
        return center.coordinates, r, projected, space.decode(center, projected)

    equal = np.repeat(codes[:, :1], N, axis=1)
    several = attacks.directions(expand(LINEAR, layout), LINEAR_PARAMS, layout.lift(ALONG))
    expected = moved(attacks.directions(LINEAR, LINEAR_PARAMS, ALONG), codes[:, 0])
    assert_close(moved(several, layout.pack(equal, logits)), expected)
    # unequal codes lie where their mean does
    of_mean = moved(attacks.directions(LINEAR, LINEAR_PARAMS, ALONG), codes.mean(1))
    assert_close(moved(several, layout.pack(codes, logits))[:3], of_mean[:3])
    assert np.abs(expected[2]).max() > 0.1


@pytest.mark.parametrize("kind", ["w", "w+"])
def test_an_encoder_of_one_expanded_code_answers_as_one_of_a_single_code(kind):
    layout, rng = expansion(LINEAR, num_codes=1, at=2), np.random.default_rng(0)
    plain, single = linear_encoder(LINEAR, kind), linear_encoder(LINEAR, kind, layout)
    images, mean = rng.normal(size=(B, 2, 2, 1)).astype(np.float32), rng.normal(size=(3, 2))
    kernel = rng.normal(size=(4, single.network.outputs))

    @jax.jit
    def both(narrow, wide, images):
        codes, packed = plain.encode(narrow, images), single.encode(wide, images)
        decoded = [
            LINEAR.synthesize(LINEAR_PARAMS, codes),
            expand(LINEAR, layout).synthesize(LINEAR_PARAMS, packed),
        ]
        return [plain.single(codes), single.single(packed)], decoded, codes

    answers, decoded, codes = both(
        weights(kernel[:, : plain.network.outputs], mean), weights(kernel, mean), images
    )
    assert_close(answers, [codes, codes])
    assert_close(*decoded)
    assert np.std(decoded[0]) > 0.1


@pytest.mark.parametrize(("num_codes", "at"), [(0, 1), (-1, 1), (2, 0), (2, 4)])
def test_no_codes_and_layers_that_are_not_there_are_refused(num_codes, at):
    with pytest.raises(
        ValueError, match=f"num_codes of at least 1 and at in 1..3, got {num_codes} and {at}"
    ):
        expansion(LINEAR, num_codes=num_codes, at=at)
