"""Task evaluate/directions-0: how often random moves along the chosen directions keep the label.

The independent judge reads the labels. The figures are for evaluation alone: nothing that training
reads depends on them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from etils import epath

from natra_jax.evaluation.benchmark import predict
from natra_jax.evaluation.records import write_records
from natra_jax.latents.screening import draws
from natra_jax.stages import data, encode, evaluate, judge, screen, sizes
from natra_jax.stages.context import Context
from natra_jax.stages.task import Finding, Plan, Task

NAME = "directions"


def tasks(plan: Plan) -> list[Task]:
    """Declare the task evaluate/directions-0, where there are directions."""
    if not plan.has_generator:
        return []
    fields = evaluate.fields(plan) | plan.fields("natra.epsilon_max", "screening.seed")
    name = f"{evaluate.NAME}/{NAME}-0"
    return [Task(name, evaluate.NAME, run, fields, evaluate.depends_on(plan), sizes=limits)]


def limits(context: Context) -> Iterator[Finding]:
    """Yield what the measurement asks of the data's sizes."""
    yield from sizes.some(context, *_splits(context))


def run(context: Context, directory: epath.Path) -> None:
    """Measure label_read, label_kept and image_moved on the validation splits.

    label_read is the share of images that the judge reads as labelled when they are encoded and
    decoded. label_kept is the share of these that it still reads so once they are moved at random
    within natra.epsilon_max. image_moved is the root mean square change of the pixels, images in
    [-1, 1].
    """
    config, space = context.config, screen.space(context)
    judge_fn = evaluate.logits(context, judge.load(context))
    record, records = evaluate.recorder(context, directory, NAME, 0), []
    for name in _splits(context):
        split = data.varied(context, name)
        drawn = draws(
            space,
            encode.encode_images(context, split.image),
            index=np.arange(len(split.label)),
            epsilon=config.natra.epsilon_max,
            seed=config.screening.seed,
            batch_size=config.eval.batch_size,
        )
        read, still_read, squares = [], [], []
        for at, still, moved in drawn:
            read.append(predict(judge_fn, still, len(still)) == split.label[at])
            still_read.append(predict(judge_fn, moved, len(moved)) == split.label[at])
            squares.append(np.square(moved - still).mean((1, 2, 3)))
        right, kept = np.concatenate(read), np.concatenate(still_read)
        before = record(name, "label_read", right)
        change = float(np.sqrt(np.concatenate(squares).mean()))
        movement = before._replace(metric="image_moved", value=change, low=None, high=None)
        records += [before, movement]
        if right.any():
            after = record(name, "label_kept", kept[right])
            records.append(after)
            context.log(
                f"evaluate: moved at random, {after.value:.1%} of the {after.n} images of {name} "
                "that can be read keep their label"
            )
    write_records(directory / "records.jsonl", records)


def _splits(context: Context) -> list[str]:
    """Return the names of the validation splits."""
    return [name for name in data.info(context).splits if name.startswith("val")]
