"""Stage encoder: batch inverse encoding (NaTra eq. 8 and 9) against the frozen generator."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from natra_jax import interruption, trees
from natra_jax.data import to_float
from natra_jax.evaluation.records import write_records
from natra_jax.gan.discriminator import init_params
from natra_jax.gan.fit_state import Opponent, fit_state
from natra_jax.gan.networks import Discriminator
from natra_jax.latents import encoder as inverse
from natra_jax.latents.expansion import expand, expansion
from natra_jax.latents.reconstruction import FeaturesFn, Reconstruction
from natra_jax.stages import data, generator, perceptual, sizes
from natra_jax.stages.context import Context
from natra_jax.stages.fit import fit
from natra_jax.stages.task import Finding, Plan, Task
from natra_jax.training.fit import adamw
from natra_jax.types import Directions, Generator, Params, Record

NAME = "encoder"
_MEAN_OF = 10_000  # prior samples of which the mean code is taken


def tasks(plan: Plan) -> list[Task]:
    """Declare the task encoder, in each variant."""
    seen = (task.name for task in perceptual.tasks(plan))
    depends_on = (data.NAME, generator.NAME, *seen)
    # of perceptual_weights the content counts, by the fingerprint of the task perceptual
    fields = plan.fields_without(NAME, "encoder.perceptual_weights")
    fields |= plan.fields("data.held_out")
    return plan.in_variants(NAME, run, fields, depends_on, sizes=limits)


def limits(context: Context) -> Iterator[Finding]:
    """Yield what the training of an encoder asks of the data's sizes."""
    yield from sizes.some(context, "val_iid")
    yield from sizes.batch(context, "encoder.batch_size", context.config.encoder.domain)


def run(context: Context, directory: epath.Path) -> None:
    """Train the encoder (NaTra eq. 8 and 9) and write its parameters into directory."""
    c = context.config.encoder
    info = data.info(context)
    base, generator_params = generator.load(context)
    encoder, generator_ = build(context)
    # each iteration makes two updates
    optimizer = adamw(c.learning_rate, c.weight_decay, 2 * c.steps)
    discriminator = Discriminator() if c.gamma_adversarial else None
    against = adamw(c.learning_rate, 0.0, c.steps)
    step = inverse.make_step(
        encoder,
        generator_,
        optimizer,
        reconstruction(context),
        gamma_codes=c.gamma_codes,
        discriminator=discriminator,
        discriminator_optimizer=against,
        gamma_adversarial=c.gamma_adversarial,
    )
    key_mean, key_init, key_train = jax.random.split(jax.random.key(c.seed), 3)
    mean = base.draw(generator_params, key_mean, _MEAN_OF).mean(0)
    params = encoder.init(key_init, info.image_shape, mean)
    state = fit_state(params, optimizer, key_train)
    if discriminator is not None:
        opposed = init_params(discriminator, info.image_shape, jax.random.fold_in(key_init, 1))
        state = state._replace(opponent=Opponent(opposed, against.init(opposed)))
    batch_at = data.domain_batches(context, c.domain, c.batch_size, c.seed, "encoder.batch_size")
    frozen = (generator_params, perceptual.load(context))
    checkpoints, name = directory / "checkpoints", directory.name
    params = jax.device_get(
        fit(context, checkpoints, step, frozen, state, batch_at, c.steps, name=name).params
    )
    trees.save(directory / "params.npz", params)
    records = measure(context, directory, (encoder, params), (generator_, generator_params))
    write_records(directory / "records.jsonl", records)
    error, variance = records[0].value, to_float(data.held_out(context).image[:]).var()
    explained = 1 - error / variance
    context.log(
        f"{name}: squared error of reconstruction on val_iid {error:.5f}: {explained:.1%} of the "
        "variance explained"
    )


def build(context: Context) -> tuple[inverse.InverseEncoder, Generator]:
    """Build the encoder, and the generator of its codes.

    The codes are expanded ones where an image has several (NaTra section 3.3).
    """
    c, generator_, layout = context.config.encoder, generator.build(context), None
    if c.num_codes > 1:
        layout = expansion(generator_, num_codes=c.num_codes, at=c.expand_at)
    encoder = inverse.inverse_encoder(
        generator_, codes=c.codes, widths=c.widths, hidden=c.hidden, layout=layout
    )
    return encoder, generator_ if layout is None else expand(generator_, layout)


def load(context: Context) -> tuple[inverse.InverseEncoder, Params]:
    """Load the encoder and its parameters."""
    encoder, _ = build(context)
    base, image_shape = generator.build(context), data.info(context).image_shape

    def init() -> Params:
        mean = jnp.zeros((base.num_layers, base.code_dim), jnp.float32)
        return encoder.init(jax.random.key(0), image_shape, mean)

    path = context.workdir / context.task_name(NAME) / "params.npz"
    return encoder, trees.load(path, jax.eval_shape(init))


def lifted(context: Context, directions: Directions) -> Directions:
    """Lift directions of the generator's own codes [L, D] to the codes that the encoder makes.

    The latter may be expanded.
    """
    layout = build(context)[0].layout
    return directions if layout is None else layout.lift(directions)


def reconstruction(context: Context) -> Reconstruction:
    """Return the loss of NaTra eq. 9 and 10."""
    c = context.config.encoder
    return Reconstruction(c.gamma1, c.gamma2, c.pixel_loss)


def measure(
    context: Context,
    directory: epath.Path,
    encoder: tuple[inverse.InverseEncoder, Params],
    decoder: tuple[Generator, Params],
) -> list[Record]:
    """Measure the reconstruction of val_iid, which nothing is fitted to.

    Args:
      context: the run.
      directory: of the task, whose name the records have.
      encoder: and its parameters.
      decoder: the generator of the encoder's codes, and its parameters.

    Returns:
      The records reconstruction_error, mean square, and, where a loss has the term,
      perceptual_error.
    """
    model, encoder_params = encoder
    generator_, generator_params = decoder
    images, size = data.held_out(context).image, context.config.encoder.batch_size
    features_fn = perceptual.load(context)
    measured = []
    for i in range(0, len(images), size):
        interruption.check()
        part = to_float(images[i : i + size])
        measured.append(
            _errors(model, generator_, encoder_params, generator_params, features_fn, part)
        )
    pixels, features = (
        float(np.concatenate(errors).mean()) for errors in zip(*measured, strict=True)
    )
    found = {"reconstruction_error": pixels}
    if features_fn is not None:
        found["perceptual_error"] = features
    fingerprint = context.fingerprints[directory.name]
    return [
        Record(directory.name, 0, "val_iid", name, value, len(images), None, None, fingerprint)
        for name, value in found.items()
    ]


@partial(jax.jit, static_argnums=(0, 1))
def _errors(
    encoder: inverse.InverseEncoder,
    generator_: Generator,
    encoder_params: Params,
    generator_params: Params,
    features_fn: FeaturesFn | None,
    images: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Compute the pixel and the perceptual error of each image, [B] and [B]."""
    decoded = generator_.synthesize(generator_params, encoder.encode(encoder_params, images))
    return Reconstruction().errors(features_fn, images, decoded)
