"""Speeds of reading: images from JPEG files, and the time that a training waits for its data."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from natra_jax import classifiers
from natra_jax.data.decoding import Preprocess
from natra_jax.data.encoded_images import Decoded, Files
from natra_jax.data.loader import PrefetchOptions, batches, prefetch
from natra_jax.methods import original
from natra_jax.speed.timing import Seconds
from natra_jax.training.fit import adamw
from natra_jax.training.parallel import compile_step
from natra_jax.training.state import init_state
from natra_jax.training.step import make_step
from natra_jax.types import Batch

_FILES, _RESOLUTION, _BATCH, _STEPS = 512, 256, 64, 100
# each file stands for many: the order of a small data set costs more time for each example
_EXAMPLES = 65_536


def decoding() -> dict[str, Callable[[], object]]:
    """Return candidates that decode 512 JPEGs of 256 px.

    Pillow alone, one after the other, against shuffled batches of as many: as bytes, and on the
    device, ready for training.
    """
    directory = tempfile.TemporaryDirectory(prefix="natra_jax_speed_")
    names = [f"{i}.jpg" for i in range(_FILES)]
    _write_photos(Path(directory.name), names)
    images = Decoded(
        Files(directory.name, [names[i % _FILES] for i in range(_EXAMPLES)]),
        Preprocess(_RESOLUTION),
    )
    batch_at = batches({"image": images}, _BATCH, 0)
    to_device = compile_step(
        lambda axis: lambda frozen, state, batch: (state, {}), jax.devices()[:1]
    ).to_device

    def bare() -> None:
        from PIL import Image

        for name in names:
            with Image.open(Path(directory.name, name)) as image:
                np.asarray(image)

    def read(threads: int, to_device: Callable[[Batch], Any] | None = None) -> None:
        with prefetch(
            batch_at, 0, _FILES // _BATCH, threads=threads, to_device=to_device
        ) as reader:
            for batch in reader:
                jax.block_until_ready(batch)

    by_default = PrefetchOptions().threads
    return {
        "Pillow, on one core": bare,
        "batches, read ahead by 1 thread": partial(read, 1),
        f"batches, read ahead by {by_default} threads": partial(read, by_default),
        f"batches, read ahead by {by_default} threads and placed": partial(
            read, by_default, to_device
        ),
    }


def waiting() -> dict[str, Callable[[], object]]:
    """Return candidates that time 100 steps of the digits' training with the least to compute.

    Each step is awaited; the others are the part of that time without a batch.
    """
    rng = np.random.default_rng(0)
    arrays = {
        "image": rng.integers(0, 256, (960, 16, 16, 3), np.uint8),
        "label": rng.integers(0, 10, 960).astype(np.int32),
    }
    build, optimizer, method = (
        partial(classifiers.build, "cnn", 10),
        adamw(3e-3, 1e-4, 1000),
        original.original(),
    )
    step = compile_step(lambda axis: make_step(build, optimizer, axis), jax.devices()[:1])
    fresh = jax.jit(partial(init_state, build(None), optimizer, (16, 16, 3), len(arrays["label"])))
    batch_at = batches(arrays, _BATCH, 0)

    def train(threads: int) -> tuple[float, float]:
        """Return (seconds of all steps, seconds of them without a batch)."""
        state, waited = jax.block_until_ready(fresh(jax.random.key(0))), 0.0
        start = time.perf_counter()
        with prefetch(batch_at, 0, _STEPS, threads=threads, to_device=step.to_device) as reader:
            for _ in range(_STEPS):
                asked = time.perf_counter()
                batch = next(reader)
                waited += time.perf_counter() - asked
                state, metrics = step(method, state, batch)
                jax.block_until_ready(metrics)
        return time.perf_counter() - start, waited

    by_default = PrefetchOptions().threads
    return {
        "the training": lambda: Seconds(train(by_default)[0]),
        "its waiting": lambda: Seconds(train(by_default)[1]),
        "its waiting where nothing is read ahead": lambda: Seconds(train(0)[1]),
    }


def _write_photos(directory: Path, names: list[str]) -> None:
    """Write images as smooth and as noisy as photos are, of about 20 kB each."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for name in names:
        coarse = Image.fromarray(rng.integers(0, 256, (12, 12, 3), np.uint8))
        smooth = np.asarray(
            coarse.resize((_RESOLUTION, _RESOLUTION), Image.Resampling.BICUBIC), np.int16
        )
        noisy = smooth + rng.integers(-12, 13, smooth.shape, np.int16)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(directory / name, quality=90)
