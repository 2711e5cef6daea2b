"""The sliced Wasserstein distance: its value where it is known, and what it can tell apart."""

import numpy as np
import pytest

from natra_jax.gan.distance import sliced_wasserstein

RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(-1, 1, (40, 16, 16, 3)).astype(np.float32)


def test_of_a_set_and_itself_in_any_order_it_is_nothing_or_nearly():
    assert sliced_wasserstein(IMAGES, IMAGES) == 0
    shuffled = sliced_wasserstein(IMAGES, IMAGES[::-1])
    assert 0 < shuffled < 0.1 * sliced_wasserstein(IMAGES, -np.ones_like(IMAGES))


@pytest.mark.parametrize("shift", [0.1, -0.4])
def test_of_an_added_constant_it_is_that_times_the_length_of_directions_along_it(shift):
    moved = sliced_wasserstein(IMAGES, IMAGES + np.float32(shift))
    # every projection moves by shift times the sum of its direction: 1 in the mean square
    assert moved == pytest.approx(abs(shift), rel=0.15)


def test_colours_and_textures_count():
    grey = np.repeat(IMAGES.mean(-1, keepdims=True), 3, -1)
    smooth = np.broadcast_to(IMAGES.mean((1, 2), keepdims=True), IMAGES.shape)
    own = sliced_wasserstein(IMAGES[:20], IMAGES[20:])
    assert min(sliced_wasserstein(IMAGES, grey), sliced_wasserstein(IMAGES, smooth)) > 2 * own


def test_sets_that_do_not_compare_are_refused():
    for other in (IMAGES[:3], IMAGES[:, :8]):
        with pytest.raises(ValueError, match="images of shapes"):
            sliced_wasserstein(IMAGES, other)
    with pytest.raises(ValueError, match="images of shapes"):
        sliced_wasserstein(IMAGES[:, :6, :6], IMAGES[:, :6, :6])
