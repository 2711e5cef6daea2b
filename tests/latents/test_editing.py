"""Codes moved by hand."""

import jax
import numpy as np
import pytest

from natra_jax.latents.editing import edit
from tests.helpers import linear_generator, oblique_directions

ALONG = oblique_directions(linear_generator(4, 5))


def by_hand(codes, r, layers):
    moved = codes.astype(np.float64)
    for b in range(len(codes)):
        for s, multiple in enumerate(r[b]):
            for l in layers:
                moved[b, l] += multiple * ALONG.sigma[s] * ALONG.vectors[s, l]
    return moved


@pytest.mark.parametrize("layers", [None, (1, 3)])
def test_codes_move_by_multiples_of_sigma_in_the_layers_that_are_named(layers):
    rng = np.random.default_rng(0)
    codes, r = (
        rng.normal(size=(3, 4, 5)).astype(np.float32),
        rng.normal(size=(3, 3)).astype(np.float32),
    )
    indices = range(4) if layers is None else range(*layers)
    moved = jax.jit(lambda codes, r: edit(codes, ALONG, r, layers))(codes, r)
    np.testing.assert_allclose(moved, by_hand(codes, r, indices), atol=1e-5)
    # the same for all images
    np.testing.assert_allclose(
        edit(codes, ALONG, r[0], layers), by_hand(codes, r[[0, 0, 0]], indices), atol=1e-5
    )


def test_multiples_and_layers_that_do_not_fit_are_refused():
    codes = np.zeros((2, 4, 5), np.float32)
    for r in (np.zeros(2), np.zeros((2, 4)), 1.0):
        with pytest.raises(
            ValueError, match="r needs 3 multiples, one for each direction, got the shape"
        ):
            edit(codes, ALONG, r)
    for layers in ((0, 5), (2, 2)):
        with pytest.raises(
            ValueError, match=rf"layers must be a range inside 0..4, got {layers[0]}\.\.{layers[1]}"
        ):
            edit(codes, ALONG, np.zeros(3), layers)
