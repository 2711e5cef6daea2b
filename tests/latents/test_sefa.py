"""Directions from a generator's weights, where the truth is known in closed form, and the weights
of our own generator.
"""

import dataclasses

import jax
import numpy as np
import pytest

from natra_jax.generators.style_small import style_small
from natra_jax.latents.sefa import sefa
from tests.helpers import linear_generator

L, D, FIRST, STOP = 4, 5, 1, 3
GAINS = np.array(
    [[9, 9, 9, 9, 9], [3, 1, 2, 0.5, 0], [1, 4, 0.5, 0.5, 0], [7, 7, 7, 7, 7]]
)  # of each axis in each layer


def made(seed=0):
    """Make a generator whose layers stretch the same axes, its parameters, the axes [D, D]."""
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.normal(size=(D, D)))[0].T
    pixels = np.linalg.qr(rng.normal(size=(25, 25)))[0]
    layers = np.stack(
        [axes.T @ (gains[:, None] * pixels[i * D : (i + 1) * D]) for i, gains in enumerate(GAINS)]
    )
    return (
        linear_generator(L, D, resolution=5),
        {"constant": np.ones(25, np.float32), "layers": layers.astype(np.float32)},
        axes,
    )


def population(count=200, seed=1):
    return np.random.default_rng(seed).normal(2, 3, size=(count, L, D)).astype(np.float32)


def test_the_shared_axes_are_found_by_how_much_the_moved_layers_make_of_them_together():
    generator, params, axes = made()
    codes = population()
    found = sefa(generator, params, codes, num=3, layers=(FIRST, STOP), fingerprint="made-for")
    strongest = axes[[1, 0, 2]]  # 1 + 16, 9 + 1, 4 + 1/4
    for l in range(L):
        expected = np.eye(3) / np.sqrt(2) if FIRST <= l < STOP else np.zeros((3, 3))
        np.testing.assert_allclose(np.abs(found.vectors[:, l] @ strongest.T), expected, atol=1e-5)
    # one vector, not one for each layer: with the same sign
    np.testing.assert_array_equal(found.vectors[:, FIRST], found.vectors[:, STOP - 1])
    np.testing.assert_allclose(np.square(found.vectors).sum((1, 2)), 1, rtol=1e-5)
    np.testing.assert_allclose(
        found.sigma, np.einsum("kld,sld->ks", codes, found.vectors).std(0), rtol=1e-4
    )
    np.testing.assert_allclose(found.mean, codes.mean(0), rtol=1e-5)
    assert (
        found.names == ("sefa0_layers1-2", "sefa1_layers1-2", "sefa2_layers1-2")
        and found.method == "sefa"
    )
    np.testing.assert_array_equal(found.mask, np.tile([False, True, True, False], (3, 1)))
    assert np.isinf(found.useful).all() and found.generator_fingerprint == "made-for"


def test_axes_that_the_generator_or_the_population_does_not_have_are_left_out():
    generator, params, axes = made()
    codes = population()
    assert (
        len(sefa(generator, params, codes, num=9, layers=(FIRST, STOP), fingerprint="").names) == 4
    )  # the last axis has no gain
    still = codes - (codes @ axes[0])[..., None] * axes[0]
    found = sefa(generator, params, still, num=9, layers=(FIRST, STOP), fingerprint="")
    assert len(found.names) == 3 and (found.sigma > 1).all()
    np.testing.assert_allclose(found.vectors[:, FIRST] @ axes[0], 0, atol=1e-5)


def test_what_a_code_says_of_its_class_is_left_alone():
    generator, params, _ = made()
    conditional = dataclasses.replace(generator, class_entries=(1, 4))
    found = sefa(conditional, params, population(), num=9, layers=(FIRST, STOP), fingerprint="")
    assert len(found.names) == 3
    np.testing.assert_allclose(found.vectors[..., [1, 4]], 0, atol=1e-7)
    # the strongest of what is left: no other direction of the free entries makes more of the layers
    free = params["layers"][FIRST:STOP][:, [0, 2, 3]].astype(np.float64)
    strength = np.linalg.eigvalsh(np.einsum("lap,lbp->ab", free, free))[::-1]
    reached = (
        np.square(
            np.einsum("kd,ldp->klp", found.vectors[:, FIRST], params["layers"][FIRST:STOP])
        ).sum((1, 2))
        * 2
    )
    np.testing.assert_allclose(reached, strength, rtol=1e-4)


def test_generators_without_matrices_and_layers_that_are_not_there_are_refused():
    generator, params, _ = made()
    with pytest.raises(
        ValueError, match="needs the matrices by which codes enter layers: linear has none"
    ):
        sefa(
            dataclasses.replace(generator, style=None),
            params,
            population(),
            num=3,
            layers=(0, 1),
            fingerprint="",
        )
    with pytest.raises(ValueError, match="layers must be a range inside 0..4, got 2..5"):
        sefa(generator, params, population(), num=3, layers=(2, 5), fingerprint="")


def test_numbers_codes_and_matrices_without_directions_are_refused():
    generator, params, _ = made()
    still = population() * 0
    zero = jax.tree.map(np.zeros_like, params)
    refused = [
        (params, population(), 0, "num must be at least 1"),
        (params, population(1), 3, "1 codes: there must be two"),
        (params, still + np.nan, 3, "and finite ones"),
        (params, still, 3, "do not vary in these layers"),
        (zero, population(), 3, "matrices of these layers are 0"),
    ]
    for given, codes, num, complaint in refused:
        with pytest.raises(ValueError, match=complaint):
            sefa(generator, given, codes, num=num, layers=(0, 2), fingerprint="")


@pytest.mark.slow
def test_style_small_receives_codes_through_the_matrices_that_it_names():
    # more numbers in a code than a layer takes up: what its matrix does not see changes nothing,
    # and what it sees changes the image
    generator = style_small(resolution=8, code_dim=40, base_channels=2, max_channels=2)
    params = jax.jit(generator.init)(jax.random.key(0))
    codes = np.asarray(jax.random.normal(jax.random.key(1), (1, generator.num_layers, 40)))
    moved = []
    for l in range(generator.num_layers):
        matrix = np.asarray(generator.style(params, l))
        assert matrix.shape == (32 if l == 0 else 4, 40)
        axes = np.linalg.svd(matrix)[2]
        for axis in (axes[-1], axes[0]):
            other = codes.copy()
            other[0, l] += 5 * axis
            moved.append(other)
    images = np.asarray(jax.jit(generator.synthesize)(params, np.concatenate([codes, *moved])))
    changed = np.abs(images[1:] - images[0]).max((1, 2, 3))
    np.testing.assert_array_less(changed[0::2], 1e-4)
    np.testing.assert_array_less(1e-2, changed[1::2])
