"""Piece evaluate/directions: how often random moves along the chosen directions keep the label, as the independent judge sees it.

For evaluation alone: nothing that training reads depends on it.
"""

from __future__ import annotations

import numpy as np
from etils import epath

from natra_jax.evaluation.benchmark import predict
from natra_jax.evaluation.records import write_records
from natra_jax.latents.screening import draws
from natra_jax.stages import data, encode, evaluate, judge, screen
from natra_jax.stages.context import Context

NAME = "directions"


def run(context: Context, directory: epath.Path) -> None:
    """label_kept: the share of validation images that the judge still reads as labelled once moved at random within natra.epsilon_max.

    label_kept_unmoved: the same of the images as encoded and decoded, which is what the moves can keep. image_moved: the root mean
    square change of the pixels, images in [-1, 1].
    """
    config, space = context.config, screen.space(context)
    judge_fn = evaluate.logits(context, judge.load(context))
    record, records = evaluate.recorder(context, directory, NAME, 0), []
    for name in data.facts(context).splits:
        if not name.startswith("val"):
            continue
        split = data.split(context, name)
        codes, index = encode.encode_images(context, split.image), np.arange(len(split.label))
        answers, squares = {"label_kept": [], "label_kept_unmoved": []}, []
        settings = {"epsilon": config.natra.epsilon_max, "seed": config.screening.seed, "batch_size": config.eval.batch_size}
        for _, still, moved in draws(space, codes, index=index, **settings):
            answers["label_kept"].append(predict(judge_fn, moved, len(moved)))
            answers["label_kept_unmoved"].append(predict(judge_fn, still, len(still)))
            squares.append(np.square(moved - still).mean((1, 2, 3)))
        own = [record(name, metric, np.concatenate(found) == split.label) for metric, found in answers.items()]
        moved = float(np.sqrt(np.concatenate(squares).mean()))
        records += [*own, own[0]._replace(metric="image_moved", value=moved, low=None, high=None)]
        context.say(f"evaluate: {own[0].value:.1%} of {name} keep their label under random moves, {own[1].value:.1%} without")
    write_records(directory / "records.jsonl", records)
