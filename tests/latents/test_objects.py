"""Within objects: what tells objects apart is gone, and what an encoder takes for it."""

import jaxtyping
import numpy as np
import pytest

from natra_jax.latents.objects import within_objects

LAYERS, DIM = 2, 6
OBJECT, GROUND, ERROR = np.eye(LAYERS * DIM)[:3].reshape(3, LAYERS, DIM)


def population(count=400, times=6, seed=0):
    """Codes of objects that differ along OBJECT and are seen along GROUND.

    Half of an encoder's error about the object lies along OBJECT, too.
    """
    rng = np.random.default_rng(seed)
    objects = rng.permutation(np.repeat(np.arange(count), times))
    what = rng.normal(size=count)[objects]
    ground, error = rng.normal(size=(2, len(objects)))
    codes = np.multiply.outer(3 * what + 0.7 * error, OBJECT) + np.multiply.outer(
        2 * ground, GROUND
    )
    codes += np.multiply.outer(0.5 * error, ERROR) + 1.0
    return codes.astype(np.float32), objects


def test_objects_differ_no_more_and_what_varies_at_one_object_is_left():
    codes, objects = population()
    within = within_objects(codes, objects)
    assert within.shape == codes.shape and within.dtype == codes.dtype
    np.testing.assert_allclose(within.mean(0), codes.mean(0), atol=1e-5)
    spread = within.std(0)
    assert spread[0, 0] < 0.1, "neither the object nor the error that looks like it"
    # the spread around the object's true mean, though that of six codes is what is subtracted
    np.testing.assert_allclose(spread[0, 1:3], [2.0, 0.5], rtol=0.05)


def test_an_object_that_is_shown_once_is_left_out():
    codes, objects = population(count=100)
    once = np.arange(100, 110)
    more = within_objects(np.concatenate([codes, 9 + codes[:10]]), np.concatenate([objects, once]))
    assert len(more) == len(codes)


def test_objects_that_do_not_differ_hold_nothing_still():
    rng = np.random.default_rng(1)
    codes = rng.normal(size=(40, 1, 1)).repeat(2, axis=0).astype(np.float32)
    codes[::2] *= -1  # each object's codes are opposite
    within = within_objects(codes, np.arange(40).repeat(2))
    np.testing.assert_allclose(within - within.mean(0), np.sqrt(2) * (codes - 0), atol=1e-5)


def test_what_cannot_be_is_refused():
    codes, objects = population(count=3)
    with pytest.raises(ValueError, match="no object has two images"):
        within_objects(codes, np.arange(len(codes)))
    unequal = (ValueError, jaxtyping.TypeCheckError)
    with pytest.raises(unequal, match="must be one for one|Type-check error"):
        within_objects(codes, objects[1:])
