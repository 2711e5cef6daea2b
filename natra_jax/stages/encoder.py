"""Stage encoder: batch inverse encoding (NaTra eq. 8 and 9), trained against the frozen generator."""

from __future__ import annotations

import jax
import numpy as np
from etils import epath
from jax.tree_util import Partial

from natra_jax import trees
from natra_jax.data import batches, to_float
from natra_jax.evaluation.records import write_records
from natra_jax.latents import encoder as inverse
from natra_jax.methods.plain import original
from natra_jax.stages import classifier, data, generator
from natra_jax.stages.context import Context
from natra_jax.training import loop
from natra_jax.training.checkpoint import Checkpoints
from natra_jax.training.fit import adamw, fit_classifier
from natra_jax.training.parallel import compile_step
from natra_jax.types import Generator, Params, Record

_MEAN_OF = 10_000  # prior samples behind the mean code


def build(context: Context, generator_: Generator) -> inverse.InverseEncoder:
    c = context.config.encoder
    return inverse.inverse_encoder(generator_, codes=c.codes, widths=c.widths, hidden=c.hidden)


def run(context: Context, directory: epath.Path) -> None:
    c = context.config.encoder
    facts = data.facts(context)
    generator.require_resolution(context.config, facts)
    generator_, generator_params = generator.load(context)
    encoder = build(context, generator_)
    # each iteration makes two updates
    optimizer = adamw(c.learning_rate, c.weight_decay, 2 * c.steps)
    make_step = inverse.make_step(
        encoder, generator_, optimizer, gamma1=c.gamma1, gamma2=c.gamma2, gamma_codes=c.gamma_codes, pixel_loss=c.pixel_loss
    )
    key_mean, key_init, key_train = jax.random.split(jax.random.key(c.seed), 3)
    mean = generator_.map(generator_params, generator_.sample(key_mean, _MEAN_OF)).mean(0)
    params = encoder.init(key_init, facts.image_shape, mean)
    images = data.wild(context) if c.domain == "wild" else data.split(context, "train").image
    with Checkpoints(directory / "checkpoints") as checkpoints:
        state, _ = loop.run(
            compile_step(lambda axis: make_step, context.devices[:1]),
            (generator_params, _perceptual_features(context, directory)),
            inverse.fit_state(params, optimizer, key_train),
            batches({"image": images}, c.batch_size, c.seed, "encoder.batch_size"),
            c.steps,
            checkpoints=checkpoints,
            checkpoint_every=max(1, c.steps // 4),
            log_every=max(1, c.steps // 4),
            name="encoder",
            say=context.say,
        )
    params = jax.device_get(state.params)
    trees.save(directory / "params.npz", params)

    held_out = to_float(data.split(context, "val_iid").image)
    decoded = jax.jit(lambda p, g, x: generator_.synthesize(g, encoder.encode(p, x)))(params, generator_params, held_out)
    error = float(np.square(held_out - decoded).mean())
    explained = 1 - error / held_out.var()
    context.say(f"encoder: squared error of reconstruction on val_iid {error:.5f}: {explained:.1%} of the variance explained")
    record = Record("encoder", 0, "val_iid", "reconstruction_error", error, len(held_out), None, None, context.fingerprints["encoder"])
    write_records(directory / "records.jsonl", [record])


def load(context: Context) -> tuple[inverse.InverseEncoder, Params]:
    generator_ = generator.build(context.config)
    encoder = build(context, generator_)
    mean = np.zeros((generator_.num_layers, generator_.code_dim), np.float32)
    like = jax.eval_shape(lambda: encoder.init(jax.random.key(0), data.facts(context).image_shape, mean))
    return encoder, trees.load(context.workdir / "encoder" / "params.npz", like)


def _perceptual_features(context: Context, directory: epath.Path) -> inverse.FeaturesFn | None:
    """V of eq. 9: the stages of a classifier trained plainly on the task, where no published network fits the domain."""
    c = context.config.encoder
    if not c.gamma2:
        return None
    facts = data.facts(context)
    build_classifier = classifier.named_builder(context.config, facts.num_classes)
    state, _ = fit_classifier(
        build_classifier,
        original(),
        data.split(context, "train")._asdict(),
        classifier.schedule(context.config),
        seed=c.seed,
        directory=directory / "perceptual",
        devices=context.devices[:1],
        parallel="auto",
        name="encoder: perceptual features",
        say=context.say,
    )
    network = build_classifier(None)
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    return Partial(lambda variables, images: network.apply(variables, images, method="features"), variables)
