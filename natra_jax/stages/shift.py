"""Stage shift: the synthesis network moved towards the train split (NaTra eq. 10).

The move is undone where it does not carry over to images that it was not fitted to.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TypedDict

import jax
import jax.numpy as jnp
from etils import epath

from natra_jax import json_files, trees
from natra_jax.evaluation.records import write_records
from natra_jax.gan.fit_state import fit_state
from natra_jax.latents import shift
from natra_jax.latents.encoder import InverseEncoder
from natra_jax.stages import data, encoder, generator, perceptual, sizes
from natra_jax.stages.context import Context
from natra_jax.stages.fit import fit
from natra_jax.stages.task import Finding, Plan, Task
from natra_jax.training.fit import adamw
from natra_jax.types import Generator, Params

NAME = "shift"
_PARAMS, _ANSWER = "params.npz", "shift.json"


class _Answer(TypedDict):
    """The content of shift.json: whether the move helped, and is kept."""

    shifted: bool


def tasks(plan: Plan) -> list[Task]:
    """Declare the task shift, in each variant."""
    seen = (task.name for task in perceptual.tasks(plan))
    depends_on = (data.NAME, generator.NAME, encoder.NAME, *seen)
    return plan.in_variants(NAME, run, plan.fields(NAME, "data.held_out"), depends_on, sizes=limits)


def limits(context: Context) -> Iterator[Finding]:
    """Yield what shifting asks of the data's sizes."""
    if context.config.shift.steps:
        yield from sizes.some(context, "val_iid")
        yield from sizes.batch(context, "shift.batch_size", context.config.shift.domain)


def run(context: Context, directory: epath.Path) -> None:
    """Move the synthesis network (NaTra eq. 10) and write its parameters into directory."""
    if not context.config.shift.steps:
        (directory / _ANSWER).write_text(json.dumps(_Answer(shifted=False)))
        return
    encoder_, (_, params) = encoder.load(context), generator.load(context)
    _, generator_ = encoder.build(context)
    shifted = params | _train(context, directory, encoder_, (generator_, params))
    before = encoder.measure(context, directory, encoder_, (generator_, params))
    after = encoder.measure(context, directory, encoder_, (generator_, shifted))
    better = after[0].value <= before[0].value
    undone = "" if better else ": undone, the generator stays as it was"
    context.log(
        f"{directory.name}: squared error of reconstruction on val_iid "
        f"{before[0].value:.5f} before, {after[0].value:.5f} after{undone}"
    )
    if better:
        trees.save(directory / _PARAMS, shifted)
    (directory / _ANSWER).write_text(json.dumps(_Answer(shifted=better)))
    renamed = [
        r._replace(metric=f"{r.metric}_{when}")
        for when, records in (("before", before), ("after", after))
        for r in records
    ]
    write_records(directory / "records.jsonl", renamed)


def load(context: Context) -> tuple[Generator, Params]:
    """Load the generator that all later stages decode with, and its parameters.

    It is of expanded codes where an image has several, and shifted where that helped.
    """
    _, generator_ = encoder.build(context)
    base, params = generator.load(context)
    directory = context.workdir / context.task_name(NAME)
    answer = json_files.read(directory / _ANSWER, _Answer, "run the stage shift again")
    if answer["shifted"]:
        params = trees.load(directory / _PARAMS, jax.eval_shape(base.init, jax.random.key(0)))
    return generator_, params


def _train(
    context: Context,
    directory: epath.Path,
    encoder_: tuple[InverseEncoder, Params],
    decoder: tuple[Generator, Params],
) -> Params:
    """Return the shifted parameters of the synthesis network (NaTra eq. 10)."""
    c = context.config.shift
    (model, encoder_params), (generator_, params) = encoder_, decoder
    optimizer = adamw(c.learning_rate, 0.0, c.steps)
    step = shift.make_step(model, generator_, optimizer, encoder.reconstruction(context))
    # its buffers are donated: they must not be those of the parameters themselves
    copies = jax.tree.map(jnp.array, shift.synthesis(params))
    state = fit_state(copies, optimizer, jax.random.key(c.seed))
    batch_at = data.domain_batches(context, c.domain, c.batch_size, c.seed, "shift.batch_size")
    frozen = (encoder_params, params, perceptual.load(context))
    checkpoints, name = directory / "checkpoints", directory.name
    return jax.device_get(
        fit(context, checkpoints, step, frozen, state, batch_at, c.steps, name=name).params
    )
