"""Stage judge: the independent judge of labels, trained on uniformly varied labelled images of the generator's domain.

It serves evaluation and documents alone; nothing that training reads depends on it. On digits it is also the ceiling: what the
classifier reaches when it is shown, with labels, the variation that the other methods have to find.
"""

from __future__ import annotations

from etils import epath

from natra_jax.methods.plain import original
from natra_jax.stages import classifier, data
from natra_jax.stages.context import Context
from natra_jax.training.fit import fit_classifier
from natra_jax.training.state import TrainState

NAME = "oracle"


def run(context: Context, directory: epath.Path) -> None:
    config = context.config
    fit_classifier(
        classifier.builder(config, data.facts(context).num_classes),
        original(),
        data.judge_split(context)._asdict(),
        classifier.schedule(config, config.judge.steps),
        seed=config.judge.seed,
        directory=directory / "checkpoints",
        devices=context.devices[:1],
        parallel="auto",
        name="judge",
        say=context.say,
    )


def load(context: Context) -> TrainState:
    facts = data.facts(context)
    count = len(data.judge_split(context).label)
    return classifier.load(
        context.config, facts.num_classes, facts.image_shape, count, context.workdir / "judge" / "checkpoints", context.config.judge.steps
    )
