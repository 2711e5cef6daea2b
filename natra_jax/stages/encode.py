"""Stage encode: the codes of the training images and of a sample of the generator's domain.

They are kept in arrays that are memory-mapped; those of training images lie by the images' index.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from functools import cache

import jax
import numpy as np
from etils import epath
from jax.tree_util import Partial

from natra_jax.data import to_float
from natra_jax.files import open_file
from natra_jax.latents.encoder import InverseEncoder
from natra_jax.latents.encoding import EncodeFn, in_batches
from natra_jax.latents.reconstruction import FeaturesFn, Reconstruction
from natra_jax.latents.refinement import refine
from natra_jax.stages import data, encoder, perceptual, shift, sizes
from natra_jax.stages.context import Context, open_array, save_array, save_rows
from natra_jax.stages.task import Finding, Plan, Task
from natra_jax.types import Generator, Images, Params

NAME = "encode"
_PART = 10_000  # images whose codes are in one file until all are there


def tasks(plan: Plan) -> list[Task]:
    """Declare the task encode, in each variant."""
    fields = plan.fields(NAME, "directions.num_codes", "directions.seed")
    seen = (task.name for task in perceptual.tasks(plan))
    depends_on = (data.NAME, shift.NAME, encoder.NAME, *seen)
    return plan.in_variants(NAME, run, fields, depends_on, sizes=limits)


def limits(context: Context) -> Iterator[Finding]:
    """Yield what encoding asks of the data's sizes."""
    yield from sizes.some(context, "train")


def run(context: Context, directory: epath.Path) -> None:
    """Write the codes of the training images and of a sample of the domain into directory."""
    train = data.training(context).image
    _encode(context, train, np.arange(len(train)), directory, "train")
    _encode(context, data.domain_images(context), domain_sample(context), directory, "wild")


def domain_sample(context: Context) -> np.ndarray:
    """Draw the images of the generator's domain that are encoded: their indices, rising.

    The same ones at each call, for the same fields of config.
    """
    c, count = context.config.directions, len(data.domain_images(context))
    drawn = np.random.default_rng(c.seed).choice(count, min(count, c.num_codes), replace=False)
    return np.sort(drawn)


def train_codes(context: Context) -> np.ndarray:
    """Open the codes [N_examples, L, D] (or expanded), by the index of the training example.

    Behind them are those of images without labels.
    """
    examples = len(data.training(context).label)
    return open_array(context, f"{context.task_name(NAME)}/train.npy", (examples, None, None))


def domain_codes(context: Context) -> np.ndarray:
    """Open the codes [K, L, D] (or expanded) of a sample of the generator's domain."""
    return open_array(context, f"{context.task_name(NAME)}/wild.npy")


def encode_images(context: Context, images: Images) -> np.ndarray:
    """Encode images [N, H, W, C] uint8 as codes [N, L, D] (or expanded)."""
    batches = in_batches(_encoder(context), images, context.config.encode.batch_size)
    return np.concatenate(list(batches))


def _encoder(context: Context) -> EncodeFn:
    """Return uint8 images -> codes: those of the encoder, refined where the config says so."""
    model, params = encoder.load(context)
    c = context.config.encode
    if not c.refine_steps:
        return Partial(_encoded(model), params)
    generator, generator_params = shift.load(context)
    loss = encoder.reconstruction(context)
    refined = _refined(
        model, generator, c.refine_steps, c.refine_learning_rate, loss, c.gamma_domain
    )
    return Partial(refined, params, generator_params, perceptual.load(context))


@cache
def _encoded(model: InverseEncoder) -> Callable[[Params, jax.Array], jax.Array]:
    """Return (params, uint8 images) -> codes, the same function for equal arguments."""
    return lambda params, images: model.encode(params, to_float(images))


@cache
def _refined(
    model: InverseEncoder,
    generator: Generator,
    steps: int,
    learning_rate: float,
    reconstruction: Reconstruction,
    gamma_domain: float,
) -> Callable[[Params, Params, FeaturesFn | None, jax.Array], jax.Array]:
    """Return (params, generator_params, features_fn, uint8 images) -> refined codes.

    The function is the same for equal arguments.
    """

    def encode(
        params: Params,
        generator_params: Params,
        features_fn: FeaturesFn | None,
        images: jax.Array,
    ) -> jax.Array:
        return refine(
            model,
            params,
            generator,
            generator_params,
            features_fn,
            to_float(images),
            steps=steps,
            learning_rate=learning_rate,
            reconstruction=reconstruction,
            gamma_domain=gamma_domain,
        )

    return encode


def _encode(
    context: Context, images: Images, indices: np.ndarray, directory: epath.Path, name: str
) -> None:
    """Write the codes of images[indices] to directory/name.npy.

    They are written in parts, so that an interrupted run goes on behind the last whole one.
    """
    from tqdm import tqdm

    encoder_, size = _encoder(context), context.config.encode.batch_size
    joined = directory / f"{name}.npy"
    parts = [directory / f"{name}-{i:05d}.npy" for i in range(-(-len(indices) // _PART))]
    if joined.exists() and not any(part.exists() for part in parts):
        return  # the parts are removed after the whole is written
    terminal, start, encoded = sys.stderr.isatty(), time.perf_counter(), 0
    with tqdm(
        total=len(indices),
        desc=f"{directory.name} {name}",
        unit="image",
        disable=not terminal,
        leave=False,
    ) as bar:
        for i, path in enumerate(parts):
            index = indices[i * _PART : (i + 1) * _PART]
            if _length(path) == len(index):
                bar.update(len(index))
                continue
            codes = []
            for batch in in_batches(encoder_, images, size, index):
                codes.append(batch)
                bar.update(len(batch))
            save_array(path, np.concatenate(codes))
            encoded += len(index)
            if not terminal and len(parts) > 1:
                done = i * _PART + len(index)
                context.log(f"{directory.name}: {name} {done}/{len(indices)} images")
    rate = encoded / (time.perf_counter() - start)
    _join(parts, joined, len(indices))
    context.log(f"{directory.name}: {len(indices)} images to {name}.npy, {rate:,.0f} a second")


def _length(path: epath.Path) -> int | None:
    """Return the length of the array in the file; None where there is none, or not all of it."""
    try:
        return len(_read(path))
    except (OSError, ValueError, EOFError):
        return None


def _join(parts: list[epath.Path], path: epath.Path, count: int) -> None:
    """Write the arrays of all parts as one of `count` codes, and remove the parts."""
    save_rows(path, count, (_read(part) for part in parts))
    for part in parts:
        part.unlink()


def _read(path: epath.Path) -> np.ndarray:
    """Read the array in a .npy file."""
    with open_file(path) as file:
        return np.load(file, allow_pickle=False)
