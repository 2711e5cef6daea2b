"""Stage generator: the generator's weights, taken from where the config says or trained from nothing."""

from __future__ import annotations

import time

import jax
import numpy as np
from etils import epath

from natra_jax import trees
from natra_jax.data import batches, to_float
from natra_jax.evaluation.records import write_records
from natra_jax.generators import GENERATORS, load_weights
from natra_jax.latents import autoencoder
from natra_jax.latents.encoder import Encoder, fit_state
from natra_jax.stages import data
from natra_jax.stages.context import Context
from natra_jax.training import loop
from natra_jax.training.checkpoint import Checkpoints
from natra_jax.training.fit import adamw
from natra_jax.training.parallel import compile_step
from natra_jax.types import Generator, Params, Record, UserError

PACKAGE = "package:"


def build(config) -> Generator:
    c = config.generator
    return GENERATORS[c.family](resolution=c.resolution, code_dim=c.code_dim, base_channels=c.base_channels, max_channels=c.max_channels)


def require_resolution(config, facts: data.Facts) -> None:
    """Raises UserError if the generator does not make images of the data's size."""
    height, width, _ = facts.image_shape
    if not height == width == config.generator.resolution:
        resolution = config.generator.resolution
        raise UserError(f"config field generator.resolution is {resolution}, but the images of {config.data.name} are {height}x{width}")


def run(context: Context, directory: epath.Path) -> None:
    weights = context.config.generator.weights
    if weights.startswith(PACKAGE):
        params = load_weights(weights.removeprefix(PACKAGE), build(context.config))
        context.say(f"generator: the weights {weights} that come with natra_jax")
    else:
        params = _train(context, directory)
    trees.save(directory / "params.npz", params)


def load(context: Context) -> tuple[Generator, Params]:
    generator = build(context.config)
    return generator, trees.load(context.workdir / "generator" / "params.npz", jax.eval_shape(generator.init, jax.random.key(0)))


def _train(context: Context, directory: epath.Path) -> Params:
    c = context.config.generator
    facts = data.facts(context)
    require_resolution(context.config, facts)
    generator = build(context.config)
    network = Encoder(2 * c.code_dim)
    optimizer = adamw(c.learning_rate, c.weight_decay, c.steps)
    key_init, key_train = jax.random.split(jax.random.key(c.seed))
    params = autoencoder.init_params(generator, network, facts.image_shape, key_init)
    step = compile_step(lambda axis: autoencoder.make_step(generator, network, optimizer, c.kl_weight), context.devices[:1])
    start = time.perf_counter()
    with Checkpoints(directory / "checkpoints") as checkpoints:
        state, _ = loop.run(
            step,
            None,
            fit_state(params, optimizer, key_train),
            batches({"image": data.wild(context)}, c.batch_size, c.seed, "generator.batch_size"),
            c.steps,
            checkpoints=checkpoints,
            checkpoint_every=max(1, c.steps // 8),
            log_every=max(1, c.steps // 8),
            name="generator",
            say=context.say,
        )
    images = to_float(data.split(context, "val_iid").image)
    decoded = np.asarray(autoencoder.reconstruct(generator, network, state.params, images))
    error = float(np.square(images - decoded).mean())
    minutes = (time.perf_counter() - start) / 60
    context.say(
        f"generator: {minutes:.1f} minutes; squared error of reconstruction on val_iid {error:.5f} of a variance of {images.var():.4f}"
    )
    fingerprint = context.fingerprints["generator"]
    record = Record("generator", 0, "val_iid", "reconstruction_error", error, len(images), None, None, fingerprint)
    write_records(directory / "records.jsonl", [record])
    return jax.device_get(state.params["generator"])
