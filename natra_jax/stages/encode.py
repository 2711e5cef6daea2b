"""Stage encode: the codes of the training images, by index, and of a sample of the generator's domain, in memory-mapped arrays."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial

import jax
import numpy as np
from etils import epath

from natra_jax.data import to_float
from natra_jax.latents import InverseEncoder
from natra_jax.stages import data, encoder
from natra_jax.stages.context import Context, open_array, save_array
from natra_jax.types import Params
from natra_jax.workdir import local

_BATCH = 500  # images


def run(context: Context, directory: epath.Path) -> None:
    wild = data.wild(context)
    count = min(len(wild), context.config.directions.num_codes)
    train = data.split(context, "train").image
    sample = np.sort(np.random.default_rng(context.config.directions.seed).choice(len(wild), count, replace=False))
    _encode(context, train, np.arange(len(train)), directory / "train.npy")
    _encode(context, wild, sample, directory / "wild.npy")


def train_codes(context: Context) -> np.ndarray:
    """[N_examples, L, D], by the index of the training example."""
    return open_array(context, "encode/train.npy")


def wild_codes(context: Context) -> np.ndarray:
    """[K, L, D], a sample of the generator's domain."""
    return open_array(context, "encode/wild.npy")


def encode_images(context: Context, images: np.ndarray) -> np.ndarray:
    """images [N, H, W, C] uint8 -> codes [N, L, D]."""
    return np.concatenate(list(_batches(context, images, np.arange(len(images)))))


def _encode(context: Context, images: np.ndarray, indices: np.ndarray, path: epath.Path) -> None:
    model, _ = encoder.load(context)
    shape = (len(indices), model.num_layers, model.code_dim)
    # a bucket cannot be mapped: there the codes of the data set are gathered in memory first
    on_disk = local(path)
    codes = np.empty(shape, np.float32) if on_disk is None else np.lib.format.open_memmap(on_disk, "w+", np.float32, shape)
    start, done = time.perf_counter(), 0
    for batch in _batches(context, images, indices):
        codes[done : done + len(batch)] = batch
        done += len(batch)
    if on_disk is None:
        save_array(path, codes)
    else:
        codes.flush()
    rate = len(indices) / (time.perf_counter() - start)
    context.say(f"encode: {len(indices)} images to {path.name}, {rate:,.0f} a second")


def _batches(context: Context, images: np.ndarray, indices: np.ndarray) -> Iterator[np.ndarray]:
    """The codes of images[indices], batch by batch."""
    model, params = encoder.load(context)
    for i in range(0, len(indices), _BATCH):
        yield np.asarray(_run(model, params, to_float(images[indices[i : i + _BATCH]])))


@partial(jax.jit, static_argnums=0)
def _run(model: InverseEncoder, params: Params, images: jax.Array) -> jax.Array:
    return model.encode(params, images)
