"""Task evaluate/METHOD-SEED-decoder: a decoder of the features that a method perturbs (AdvBN).

It is for the report alone, which shows with it what the perturbations of features look like.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from flax import linen as nn

from natra_jax import methods, trees
from natra_jax.classifiers import auxiliary_batch_norm
from natra_jax.classifiers.advbn import Cut
from natra_jax.data import batches, to_float
from natra_jax.evaluation.benchmark import even_batches
from natra_jax.evaluation.feature_decoder import FeatureDecoder, decode, make_step
from natra_jax.evaluation.records import read_records, write_records
from natra_jax.gan.fit_state import fit_state
from natra_jax.stages import classifier, data, evaluate, train
from natra_jax.stages.context import Context
from natra_jax.stages.fit import fit
from natra_jax.stages.task import Plan, Task
from natra_jax.training.fit import adamw
from natra_jax.types import Params, Record

_NAME = "decoder"
_PARAMS = "params.npz"


class Decoded(NamedTuple):
    """A classifier cut at its AdvBN layer, and the decoder of the features there."""

    cut: Cut
    variables: dict[str, Any]  # of the classifier, with its auxiliary BatchNorm
    decoder: nn.Module
    params: Params
    error: Record  # the squared error of reconstruction on val_iid


def tasks(plan: Plan) -> list[Task]:
    """Declare a task for each method that perturbs features, of the first seed."""
    found, seed = [], plan.config.seeds[0]
    for method in plan.config.methods if plan.config.decoder.steps else ():
        if methods.find(method).perturbs:
            fields = plan.fields(_NAME, "data.held_out")
            bound = partial(run, method=method, seed=seed)
            depends_on = (data.NAME, f"{train.NAME}/{method}-{seed}")
            found.append(Task(name(method, seed), evaluate.NAME, bound, fields, depends_on))
    return found


def name(method: str, seed: int) -> str:
    """Return the name of the method's task."""
    return f"{evaluate.NAME}/{method}-{seed}-{_NAME}"


def run(context: Context, directory: epath.Path, method: str, seed: int) -> None:
    """Train the decoder on the train split and write it into directory.

    Args:
      context: the run.
      directory: of the task.
      method: whose classifier has the features.
      seed: of the classifier, and of the decoder's weights and batches.
    """
    c = context.config.decoder
    cut, variables = _cut(context, method, seed)
    trunk = auxiliary_batch_norm.clean(variables)
    decoder = FeatureDecoder(data.info(context).image_shape)
    blank = jnp.zeros((1, *cut.image_shape))
    features = jax.eval_shape(cut.trunk, trunk, blank)
    key_init, key_train = jax.random.split(jax.random.key(seed))
    params = jax.jit(decoder.init)(key_init, jnp.zeros(features.shape, features.dtype))["params"]
    optimizer = adamw(c.learning_rate, 0.0, c.steps)
    arrays = {"image": data.split(context, "train").image}
    # a figure is no reason to refuse a small data set
    batch_at = batches(arrays, min(c.batch_size, len(arrays["image"])), seed)
    fitted = fit(
        context,
        directory / "checkpoints",
        make_step(decoder, cut.trunk, optimizer),
        trunk,
        fit_state(params, optimizer, key_train),
        batch_at,
        c.steps,
        name=f"{_NAME} of {method}",
    )
    trees.save(directory / _PARAMS, fitted.params)

    def reconstruct(images: jax.Array) -> jax.Array:
        return decode(decoder, fitted.params, cut.trunk(trunk, images))

    images = to_float(data.held_out(context).image[:])
    error, variance = _squared_error(jax.jit(reconstruct), images, c.batch_size), images.var()
    context.log(
        f"{_NAME} of {method}: squared error of reconstruction on val_iid {error:.5f} of a "
        f"variance of {variance:.4f}"
    )
    record = Record(
        method=f"{_NAME} of {method}",
        seed=seed,
        split="val_iid",
        metric="reconstruction_error",
        value=error,
        n=len(images),
        low=None,
        high=None,
        fingerprint=context.fingerprints[name(method, seed)],
    )
    write_records(directory / "records.jsonl", [record])


def load(context: Context, method: str, seed: int) -> Decoded | None:
    """Load the decoder of the method's features; None where there is none."""
    if name(method, seed) not in context.fingerprints:
        return None
    directory = context.workdir / name(method, seed)
    cut, variables = _cut(context, method, seed)
    decoder = FeatureDecoder(data.info(context).image_shape)

    def init() -> Any:
        images = jnp.zeros((1, *cut.image_shape))
        return decoder.init(jax.random.key(0), cut.trunk(variables, images))["params"]

    params = trees.load(directory / _PARAMS, jax.eval_shape(init))
    (error,) = read_records(directory / "records.jsonl")
    return Decoded(cut, variables, decoder, params, error)


def _cut(context: Context, method: str, seed: int) -> tuple[Cut, dict[str, Any]]:
    """Return the method's classifier, cut at its AdvBN layer, and its variables."""
    info = data.info(context)
    variables = train.load(context, method, seed).variables
    network = classifier.builder(context.config, info.num_classes)(None)
    return Cut.of(network, variables, (1, *info.image_shape)), variables


def _squared_error(
    reconstruct: Callable[[Any], jax.Array], images: np.ndarray, batch_size: int
) -> float:
    """Return the mean squared error of reconstructed images [N, H, W, C]."""
    parts = [
        np.asarray(reconstruct(images[index])) for index in even_batches(len(images), batch_size)
    ]
    return float(np.square(images - np.concatenate(parts)[: len(images)]).mean())
