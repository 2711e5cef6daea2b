"""Encoding a data set in batches: the codes are those of the whole, in the order asked for."""

import jax
import numpy as np
import pytest
from jax.tree_util import Partial

from natra_jax.latents.encoding import encode, encode_fn, in_batches
from tests.helpers import linear_generator
from tests.latents.linear import linear_encoder, weights

N, SHAPE = 10, (2, 2, 1)
RNG = np.random.default_rng(0)
ENCODER = linear_encoder(linear_generator())
PARAMS = weights(RNG.normal(size=(4, ENCODER.network.outputs)), RNG.normal(size=(3, 4)))
IMAGES = RNG.normal(size=(N, *SHAPE)).astype(np.float32)
CODES = PARAMS["mean"] + (
    IMAGES.reshape(N, -1).astype(np.float64) @ PARAMS["network"]["Dense_0"]["kernel"]
).reshape(N, 3, 4)


@pytest.mark.parametrize("batch_size", [4, 5, 10, 500])
def test_batches_make_the_whole(batch_size):
    codes = encode(ENCODER, PARAMS, IMAGES, batch_size=batch_size)
    assert isinstance(codes, np.ndarray) and codes.dtype == np.float32
    np.testing.assert_allclose(codes, CODES, atol=1e-5)


def test_an_index_says_which_images_and_in_what_order():
    index = np.array([7, 0, 3, 3, 9, 1, 2])
    batches = list(in_batches(encode_fn(ENCODER, PARAMS), IMAGES, 4, index))
    assert [len(batch) for batch in batches] == [4, 3]
    np.testing.assert_allclose(np.concatenate(batches), CODES[index], atol=1e-5)
    assert list(in_batches(encode_fn(ENCODER, PARAMS), IMAGES, 4, index[:0])) == []


def test_memory_mapped_images_are_read_batch_by_batch(tmp_path):
    np.save(tmp_path / "images.npy", IMAGES)
    images = np.load(tmp_path / "images.npy", mmap_mode="r")
    for index, expected in ((None, CODES), (np.arange(N)[::-1], CODES[::-1])):
        np.testing.assert_allclose(
            np.concatenate(list(in_batches(encode_fn(ENCODER, PARAMS), images, 5, index))),
            expected,
            atol=1e-5,
        )


def test_images_reach_the_encoder_as_they_are_and_it_is_compiled_once_for_a_shape():
    seen = []

    def shape(params, images):
        seen.append((images.shape, images.dtype))
        return jax.numpy.zeros((len(images), 1, 1)) + params

    bytes_ = np.zeros((7, *SHAPE), np.uint8)
    for params in (1.0, 2.0):
        codes = np.concatenate(list(in_batches(Partial(shape, params), bytes_, 3)))
        np.testing.assert_array_equal(codes, np.full((7, 1, 1), params))
    assert seen == [((3, *SHAPE), np.uint8), ((1, *SHAPE), np.uint8)]
