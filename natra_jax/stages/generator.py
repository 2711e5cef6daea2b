"""Stage generator: a generator and its weights, which are given, moved to the data or trained here.

generator.json describes it, so that later stages need not know where it came from.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from etils import epath

from natra_jax import generators, json_files, trees
from natra_jax.data import batches, to_float
from natra_jax.evaluation.records import write_records
from natra_jax.gan import adversarial, autoencoder
from natra_jax.gan.discriminator import init_params, warm_started
from natra_jax.gan.fit_state import fit_state
from natra_jax.gan.networks import Discriminator, Encoder
from natra_jax.generators.pretrained import weights_path
from natra_jax.stages import data, sizes
from natra_jax.stages.context import Config, Context
from natra_jax.stages.fit import fit
from natra_jax.stages.task import Finding, Plan, Task
from natra_jax.stages.transfer import transfer
from natra_jax.training.fit import adam_without_momentum, adamw
from natra_jax.types import Generator, Params, Record, UserError
from natra_jax.weights.generator_config import (
    FIELDS,
    OWN,
    PACKAGE,
    checkpoint,
    checkpoint_field,
    is_file,
    is_path,
    own_arguments,
    with_options,
)

NAME = "generator"
_PARAMS, _CARD = "params.npz", "generator.json"
_OF_CHECKPOINT = tuple(f"{NAME}.{name}" for name in FIELDS)
_OF_TRANSFER = ("generator.transfer_from", "generator.transfer")


def tasks(plan: Plan) -> list[Task]:
    """Declare the task generator, where the experiment has one.

    Weights that are given depend on no training and on no data, and on nothing that would describe
    a generator that is trained here.
    """
    if not plan.has_generator:
        return []
    c = plan.config.generator
    moves = plan.fields(*_OF_TRANSFER)
    if not (named := checkpoint(c)):
        measured = plan.fields("generator.weights", "data.held_out")
        fields = plan.fields_without(NAME, *_OF_CHECKPOINT, *moves) | measured
        return [Task(NAME, NAME, run, fields, (data.NAME,), sizes=limits)]
    field = f"{NAME}.{checkpoint_field(c)}"
    if is_file(c):
        fields = plan.fields(*_OF_CHECKPOINT) | plan.weights(field)
    else:
        arguments = (f"{NAME}.{name}" for name in own_arguments(c))
        file = weights_path(named.removeprefix(PACKAGE))
        fields = plan.fields(*arguments, field) | {"sha256": plan.inputs.sha256(file)}
    if not c.transfer_from:
        return [Task(NAME, NAME, run, fields)]
    fields = moves | plan.fields("generator.seed", "generator.weights", "data.held_out") | fields
    return [Task(NAME, NAME, run_transfer, fields, (data.NAME,), sizes=limits_of_transfer)]


def limits(context: Context) -> Iterator[Finding]:
    """Yield what the training of a generator asks of the data's sizes."""
    yield from sizes.some(context, "val_iid")
    yield from sizes.batch(context, "generator.batch_size")
    if context.config.generator.adversarial.steps:
        field, group = (f"generator.adversarial.{name}" for name in ("batch_size", "group"))
        yield from sizes.batch(context, field, group=group)


def limits_of_transfer(context: Context) -> Iterator[Finding]:
    """Yield what the transfer of a generator asks of the data's sizes."""
    yield from sizes.some(context, "val_iid")
    field, group = (f"generator.transfer.{name}" for name in ("batch_size", "group"))
    yield from sizes.batch(context, field, domain="target", group=group)


def run(context: Context, directory: epath.Path) -> None:
    """Write the generator, given or trained here, into directory: its parameters and its card."""
    if named := context.config.generator.weights:
        save(directory, *_given(context, named))
        return
    arguments = own_arguments(context.config.generator)
    params = _train(context, directory, generators.build(OWN, arguments))
    save(directory, OWN, arguments, params)


def run_transfer(context: Context, directory: epath.Path) -> None:
    """Move the generator of generator.transfer_from to the train images, and write it likewise."""
    function, arguments, params = _given(context, context.config.generator.transfer_from)
    generator = generators.build(function, arguments)
    save(directory, function, arguments, transfer(context, directory, generator, params))


def save(directory: epath.Path, function: str, arguments: dict[str, Any], params: Params) -> None:
    """Write a generator so that `build` and `load` read it.

    Args:
      directory: of the task.
      function: the name of its family in natra_jax.generators.GENERATORS.
      arguments: of that function.
      params: the generator's.
    """
    trees.save(directory / _PARAMS, params)
    card = generators.Card(function=function, arguments=arguments)
    (directory / _CARD).write_text(json.dumps(card, indent=1))


def build(context: Context) -> Generator:
    """Build the generator that the stage wrote, without its parameters.

    Raises UserError if its description cannot be read, or is of no generator.
    """
    path, advice = context.workdir / NAME / _CARD, "run the stage generator again"
    card = json_files.read(path, generators.Card, advice)
    try:
        return generators.build(card["function"], card["arguments"])
    except UserError as error:
        raise UserError(f"{path}: {error}: {advice}") from error


def load(context: Context) -> tuple[Generator, Params]:
    """Load the generator and the parameters that the stage wrote."""
    generator = build(context)
    like = jax.eval_shape(generator.init, jax.random.key(0))
    return generator, trees.load(context.workdir / NAME / _PARAMS, like)


def _given(context: Context, named: str) -> tuple[str, dict[str, Any], Params]:
    """Return (function, arguments, params) of ready weights."""
    if is_path(named):
        return _from_checkpoint(context)
    arguments = own_arguments(context.config.generator)
    params = _of_package(context.config.generator, generators.build(OWN, arguments))
    context.log(f"generator: the weights {named} that come with natra_jax")
    return OWN, arguments, params


def _from_checkpoint(context: Context) -> tuple[str, dict[str, Any], Params]:
    """Return (function, arguments, params) of the checkpoint that the config names."""
    c = context.config.generator
    loaded = context.inputs.checkpoint(c)
    _, arguments = with_options(c, loaded.function, loaded.arguments)
    context.inputs.forget_checkpoint(c)
    for note in loaded.notes:
        context.log(f"generator: {note}")
    generator = loaded.generator
    context.log(
        f"generator: {checkpoint(c)}, a {loaded.family} of {generator.resolution} px, "
        f"{generator.num_layers} layers"
    )
    return loaded.function, arguments, loaded.params


def _of_package(c: Config, generator: Generator) -> Params:
    """Load weights that come with natra_jax. Raise UserError if they do not fit the generator."""
    named = checkpoint(c)
    try:
        return generators.load_weights(named.removeprefix(PACKAGE), generator)
    except UserError as error:
        raise UserError(
            f"config field generator.{checkpoint_field(c)} is {named!r}: not of a generator of "
            f"{generator.resolution} pixels with generator.code_dim {generator.code_dim} and the "
            f"section's channels: {error}"
        ) from error


def _train(context: Context, directory: epath.Path, generator: Generator) -> Params:
    """Train the generator as the decoder of an autoencoder and return its parameters.

    Where the config says so, it is then trained adversarially, and their average is returned.
    """
    c = context.config.generator
    info = data.info(context)
    # the layer before the last must not be narrower than the codes' means and variances
    network = Encoder(2 * c.code_dim, hidden=max(Encoder.hidden, 2 * c.code_dim))
    params = _train_autoencoder(context, directory, generator, network, info)
    if c.adversarial.steps:
        error, _ = _reconstruction_error(context, generator, network, params)
        context.log(
            f"generator: squared error of reconstruction on val_iid {error:.5f} before adversarial "
            "training"
        )
        params = _train_adversarially(context, directory, generator, network, params, info)
    error, images = _reconstruction_error(context, generator, network, params)
    context.log(
        f"generator: squared error of reconstruction on val_iid {error:.5f} of a variance of "
        f"{images.var():.4f}"
    )
    record = Record(
        method=NAME,
        seed=0,
        split="val_iid",
        metric="reconstruction_error",
        value=error,
        n=len(images),
        low=None,
        high=None,
        fingerprint=context.fingerprints[NAME],
    )
    write_records(directory / "records.jsonl", [record])
    return jax.device_get(params["generator"])


def _train_autoencoder(
    context: Context,
    directory: epath.Path,
    generator: Generator,
    network: Encoder,
    info: data.DatasetInfo,
) -> Params:
    """Return the parameters {"generator", "network"} after the last step."""
    c = context.config.generator
    optimizer = adamw(c.learning_rate, c.weight_decay, c.steps)
    key_init, key_train = jax.random.split(jax.random.key(c.seed))
    params = autoencoder.init_params(generator, network, info.image_shape, key_init)
    step = autoencoder.make_step(generator, network, optimizer, c.kl_weight, c.augment)
    state = fit_state(params, optimizer, key_train)
    kept, field = directory / "checkpoints", "generator.batch_size"
    return _fit(context, kept, step, state, c.steps, c.batch_size, NAME, field).params


def _train_adversarially(
    context: Context,
    directory: epath.Path,
    generator: Generator,
    network: Encoder,
    params: Params,
    info: data.DatasetInfo,
) -> Params:
    """Train on from the parameters {"generator", "network"} of an autoencoder; return averages."""
    c = context.config.generator
    a = c.adversarial
    optimizers = adversarial.Optimizers(
        generator=adam_without_momentum(a.learning_rate, a.steps),
        discriminator=adam_without_momentum(a.discriminator_learning_rate, a.steps),
    )
    discriminator = Discriminator(group=a.group)
    # the autoencoder's keys are of the same seed
    key_init, key_train = jax.random.split(jax.random.fold_in(jax.random.key(c.seed), 1))
    step = adversarial.make_step(
        generator,
        network,
        discriminator,
        optimizers,
        kl_weight=c.kl_weight,
        reconstruction=a.reconstruction,
        r1=a.r1,
        r1_every=a.r1_every,
        decay=a.ema,
        kinds=a.augment,
    )
    # the autoencoder's encoder has the same layers but for the last ones, and knows the images
    opponent = init_params(discriminator, info.image_shape, key_init)
    opponent = warm_started(opponent, params["network"])
    state = adversarial.init_state(params, opponent, optimizers, key_train)
    name, field = "generator: adversarial", "generator.adversarial.batch_size"
    kept = directory / "adversarial"
    return _fit(context, kept, step, state, a.steps, a.batch_size, name, field).average


def _fit(
    context: Context,
    directory: epath.Path,
    step: Callable,
    state: Any,
    steps: int,
    batch_size: int,
    name: str,
    batch_size_field: str,
) -> Any:
    """Return the state after `steps` steps on images of the generator's domain.

    Checkpoints are kept in directory. The minutes it took are logged.
    """
    start, seed = time.perf_counter(), context.config.generator.seed
    arrays = {"image": data.domain_images(context)}
    batch_at = batches(arrays, batch_size, seed, batch_size_field)
    state = fit(context, directory, step, None, state, batch_at, steps, name=name, parts=8)
    context.log(f"{name}: {(time.perf_counter() - start) / 60:.1f} minutes")
    return state


def _reconstruction_error(
    context: Context, generator: Generator, network: Encoder, params: Params
) -> tuple[float, np.ndarray]:
    """Return the autoencoder's mean squared error on the images of val_iid, and those images."""
    images, size = to_float(data.held_out(context).image[:]), context.config.generator.batch_size
    reconstruct = jax.jit(autoencoder.reconstruct, static_argnums=(0, 1))
    parts = [
        np.asarray(reconstruct(generator, network, params, images[i : i + size]))
        for i in range(0, len(images), size)
    ]
    decoded = np.concatenate(parts)
    return float(np.square(images - decoded).mean()), images
