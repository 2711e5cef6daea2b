"""A pretrained generator moved to the train images, which may be few (NaTra section 4.2).

It is trained on adversarially from its own weights against a fresh discriminator, all of whose
images are changed by differentiable augmentation (Zhao et al. 2020). The mapping network stays, so
that directions in w keep their meaning. The move is undone where generated images come no nearer to
images that it was not fitted to. The stage generator runs it.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from natra_jax.data import to_float
from natra_jax.evaluation.benchmark import even_batches
from natra_jax.evaluation.records import write_records
from natra_jax.gan import adversarial
from natra_jax.gan.discriminator import init_params
from natra_jax.gan.distance import sliced_wasserstein
from natra_jax.gan.networks import Discriminator, widths_for
from natra_jax.latents.shift import synthesis
from natra_jax.stages import data
from natra_jax.stages.context import Context
from natra_jax.stages.fit import fit
from natra_jax.training.fit import adam_without_momentum
from natra_jax.types import Generator, Params, Record

_KEY = 2  # folded into the seed's, which also trains from nothing
_METRIC = "sliced_wasserstein"


def transfer(
    context: Context, directory: epath.Path, generator: Generator, params: Params
) -> Params:
    """Return the generator's parameters after the move, or as they were where it did not help.

    Args:
      context: the run.
      directory: of the task, for checkpoints and records.
      generator: any, of images of the data's size.
      params: the pretrained ones.
    """
    moved = params | _train(context, directory, generator, params)
    held_out = to_float(data.held_out(context).image[:])
    before, after = (
        sliced_wasserstein(_samples(context, generator, p, len(held_out)), held_out)
        for p in (params, moved)
    )
    train = data.target_images(context)
    some = np.resize(np.random.default_rng(0).permutation(len(train)), len(held_out))
    real = sliced_wasserstein(to_float(train[some]), held_out)
    better = after < before
    undone = "" if better else ": undone, the generator stays as it was"
    context.log(
        f"{directory.name}: sliced Wasserstein distance of its samples to {len(held_out)} images "
        f"of val_iid {before:.4f} before the transfer, {after:.4f} after, {real:.4f} of the train "
        f"images themselves{undone}"
    )
    values = {"before": before, "after": after, "of_train_images": real}
    records = [
        Record(
            method=directory.name,
            seed=0,
            split="val_iid",
            metric=f"{_METRIC}_{name}",
            value=value,
            n=len(held_out),
            low=None,
            high=None,
            fingerprint=context.fingerprints[directory.name],
        )
        for name, value in values.items()
    ]
    write_records(directory / "records.jsonl", records)
    return moved if better else params


def _train(context: Context, directory: epath.Path, generator: Generator, params: Params) -> Params:
    """Return the synthesis network's averaged parameters after the last step."""
    c, seed = context.config.generator.transfer, context.config.generator.seed
    optimizers = adversarial.Optimizers(
        generator=adam_without_momentum(c.learning_rate, c.steps),
        discriminator=adam_without_momentum(c.discriminator_learning_rate, c.steps),
    )
    discriminator = Discriminator(widths_for(generator.resolution), group=c.group)
    key_init, key_train = jax.random.split(jax.random.fold_in(jax.random.key(seed), _KEY))
    step = adversarial.make_step(
        generator,
        None,
        discriminator,
        optimizers,
        kl_weight=0.0,
        reconstruction=0.0,
        r1=c.r1,
        r1_every=c.r1_every,
        decay=c.ema,
        kinds=c.augment,
    )
    opponent = init_params(discriminator, data.info(context).image_shape, key_init)
    # its buffers are donated: they must not be those of the parameters themselves
    trained = {"generator": jax.tree.map(jnp.array, synthesis(params))}
    frozen = {name: part for name, part in params.items() if name not in trained["generator"]}
    state = adversarial.init_state(trained, opponent, optimizers, key_train)
    batch_at = data.domain_batches(
        context, "target", c.batch_size, seed, "generator.transfer.batch_size"
    )
    checkpoints, name = directory / "transfer", f"{directory.name}: transfer"
    state = fit(context, checkpoints, step, frozen, state, batch_at, c.steps, name=name, parts=8)
    return jax.device_get(state.average["generator"])


def _samples(context: Context, generator: Generator, params: Params, count: int) -> np.ndarray:
    """Return prior samples [count, H, W, C], clipped as they are when they are written."""
    codes = np.asarray(generator.draw(params, jax.random.key(0), count))
    synthesize, size = jax.jit(generator.synthesize), context.config.generator.transfer.batch_size
    parts = [np.asarray(synthesize(params, codes[index])) for index in even_batches(count, size)]
    return np.concatenate(parts)[:count].clip(-1, 1)
