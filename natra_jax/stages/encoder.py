"""Stage encoder: batch inverse encoding (NaTra eq. 8 and 9), trained against the frozen generator."""

from __future__ import annotations

from functools import partial

import jax
import numpy as np
from etils import epath

from natra_jax import trees
from natra_jax.data import to_float
from natra_jax.evaluation.records import write_records
from natra_jax.gan.discriminator import init_params
from natra_jax.gan.fit_state import Opponent, fit_state
from natra_jax.gan.networks import Discriminator
from natra_jax.latents import encoder as inverse
from natra_jax.latents.expansion import expand, expansion
from natra_jax.latents.reconstruction import Reconstruction
from natra_jax.stages import data, generator, perceptual
from natra_jax.stages.context import Context
from natra_jax.stages.fit import fit
from natra_jax.stages.task import Plan, Task
from natra_jax.training.fit import adamw
from natra_jax.types import Directions, Generator, Params, Record

NAME = "encoder"
_MEAN_OF = 10_000  # prior samples behind the mean code


def tasks(plan: Plan) -> list[Task]:
    """Declare the task encoder, in each variant."""
    depends_on = (data.NAME, generator.NAME, *(task.name for task in perceptual.tasks(plan)))
    # the content of perceptual_weights counts, by the task perceptual
    fields = plan.fields_without(NAME, "encoder.perceptual_weights")
    return plan.in_variants(NAME, run, fields, depends_on)


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
    settings = {
        "discriminator": discriminator,
        "discriminator_optimizer": against,
        "gamma_adversarial": c.gamma_adversarial,
    }
    step = inverse.make_step(
        encoder,
        generator_,
        optimizer,
        reconstruction(context),
        gamma_codes=c.gamma_codes,
        **settings,
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
    params = jax.device_get(
        fit(
            context,
            directory / "checkpoints",
            step,
            frozen,
            state,
            batch_at,
            c.steps,
            name=directory.name,
        ).params
    )
    trees.save(directory / "params.npz", params)
    records = measure(context, directory, (encoder, params), (generator_, generator_params))
    write_records(directory / "records.jsonl", records)
    error, variance = records[0].value, to_float(data.held_out(context).image[:]).var()
    explained = 1 - error / variance
    context.log(
        f"{directory.name}: squared error of reconstruction on val_iid {error:.5f}: {explained:.1%} of the variance explained"
    )


def build(context: Context) -> tuple[inverse.InverseEncoder, Generator]:
    """The encoder, and the generator of its codes: of expanded ones where an image has several."""
    c, generator_ = context.config.encoder, generator.build(context)
    layout = (
        expansion(generator_, num_codes=c.num_codes, at=c.expand_at) if c.num_codes > 1 else None
    )
    encoder = inverse.inverse_encoder(
        generator_, codes=c.codes, widths=c.widths, hidden=c.hidden, layout=layout
    )
    return encoder, generator_ if layout is None else expand(generator_, layout)


def load(context: Context) -> tuple[inverse.InverseEncoder, Params]:
    encoder, _ = build(context)
    base = generator.build(context)
    mean = np.zeros((base.num_layers, base.code_dim), np.float32)
    like = jax.eval_shape(
        lambda: encoder.init(jax.random.key(0), data.info(context).image_shape, mean)
    )
    return encoder, trees.load(context.workdir / context.task_name(NAME) / "params.npz", like)


def lifted(context: Context, along: Directions) -> Directions:
    """Directions of the generator's own codes [L, D] as directions of the codes that the encoder makes, which may be expanded."""
    layout = build(context)[0].layout
    return along if layout is None else layout.lift(along)


def reconstruction(context: Context) -> Reconstruction:
    """The loss of eq. 9 and 10."""
    c = context.config.encoder
    return Reconstruction(c.gamma1, c.gamma2, c.pixel_loss)


def measure(
    context: Context,
    directory: epath.Path,
    encoder: tuple[inverse.InverseEncoder, Params],
    decoder: tuple[Generator, Params],
) -> list[Record]:
    """reconstruction_error, mean square, and perceptual_error on val_iid, which nothing is fitted to, as records of the piece."""
    (encoder_, encoder_params), (generator_, generator_params) = encoder, decoder
    images, features_fn, size = (
        data.held_out(context).image,
        perceptual.load(context),
        context.config.encoder.batch_size,
    )
    parts = [to_float(images[i : i + size]) for i in range(0, len(images), size)]
    measured = [
        _errors(encoder_, generator_, encoder_params, generator_params, features_fn, part)
        for part in parts
    ]
    pixels, features = (
        float(np.concatenate(of_parts).mean()) for of_parts in zip(*measured, strict=True)
    )
    found = {"reconstruction_error": pixels} | (
        {} if features_fn is None else {"perceptual_error": features}
    )
    fingerprint = context.fingerprints[directory.name]
    return [
        Record(directory.name, 0, "val_iid", name, value, len(images), None, None, fingerprint)
        for name, value in found.items()
    ]


@partial(jax.jit, static_argnums=(0, 1))
def _errors(
    encoder: inverse.InverseEncoder,
    generator_: Generator,
    encoder_params,
    generator_params,
    features_fn,
    images,
):
    """Pixel and perceptual error of each image."""
    decoded = generator_.synthesize(generator_params, encoder.encode(encoder_params, images))
    return Reconstruction().errors(features_fn, images, decoded)
