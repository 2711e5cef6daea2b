"""Stage encode: the codes of the training images, by index, and of a sample of the generator's domain, in memory-mapped arrays."""

from __future__ import annotations

import time

import jax
import numpy as np
from etils import epath

from natra_jax.data import to_float
from natra_jax.stages import data, encoder
from natra_jax.stages.context import Context, open_array, save_array
from natra_jax.workdir import local


def run(context: Context, directory: epath.Path) -> None:
    wild = data.wild(context)
    count = min(len(wild), context.config.directions.num_codes)
    sample = np.sort(np.random.default_rng(context.config.directions.seed).choice(len(wild), count, replace=False))
    _encode(context, data.split(context, "train").image, np.arange(len(data.split(context, "train").label)), directory / "train.npy")
    _encode(context, wild, sample, directory / "wild.npy")


def train_codes(context: Context) -> np.ndarray:
    """[N_examples, L, D], by the index of the training example."""
    return open_array(context, "encode/train.npy")


def wild_codes(context: Context) -> np.ndarray:
    """[K, L, D], a sample of the generator's domain."""
    return open_array(context, "encode/wild.npy")


def encode_images(context: Context, images: np.ndarray) -> np.ndarray:
    """images [N, H, W, C] uint8 -> codes [N, L, D], in batches."""
    model, params = encoder.load(context)
    run_encoder, size = jax.jit(model.encode), context.config.eval.batch_size
    return np.concatenate([np.asarray(run_encoder(params, to_float(images[i : i + size]))) for i in range(0, len(images), size)])


def _encode(context: Context, images: np.ndarray, indices: np.ndarray, path: epath.Path) -> None:
    model, params = encoder.load(context)
    run_encoder, size = jax.jit(model.encode), context.config.eval.batch_size
    shape = (len(indices), model.num_layers, model.code_dim)
    # a bucket cannot be mapped: there the codes of the data set are gathered in memory first
    on_disk = local(path)
    codes = np.empty(shape, np.float32) if on_disk is None else np.lib.format.open_memmap(on_disk, "w+", np.float32, shape)
    start = time.perf_counter()
    for i in range(0, len(indices), size):
        codes[i : i + size] = run_encoder(params, to_float(images[indices[i : i + size]]))
    if on_disk is None:
        save_array(path, codes)
    else:
        codes.flush()
    rate = len(indices) / (time.perf_counter() - start)
    context.say(f"encode: {len(indices)} images to {path.name}, {rate:,.0f} a second")
