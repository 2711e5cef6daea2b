"""Stage judge: the independent judge of labels.

It serves evaluation and documents alone; nothing that training reads depends on it. Where the
source has labelled images of the generator's domain, it is trained on these. On data that are
rendered here, whose variation is then uniform, it is also the ceiling: the accuracy that the
classifier reaches when it is shown, with labels, the variation that the other methods have to find.
Elsewhere it is another classifier of the train split, from a seed that no method has.
"""

from __future__ import annotations

from collections.abc import Iterator

from etils import epath

from natra_jax.data import source_of
from natra_jax.stages import classifier, data, sizes
from natra_jax.stages.context import Config, Context
from natra_jax.stages.task import Finding, Limit, Plan, Task

NAME = "judge"


def name(config: Config) -> str:
    """Return the judge's name in records and reports.

    It is an oracle only where it has seen the true variation, with labels.
    """
    return "oracle" if source_of(config.data.name).renders else "judge"


def describe(config: Config) -> str:
    """Return a sentence on the judge for the report."""
    if name(config) == "oracle":
        return (
            "oracle is the independent judge, trained on labelled images with the variation "
            "removed from the label: a ceiling, not a competitor."
        )
    return (
        "judge is an independent classifier of the same training images, from another seed: it "
        "says whether variations keep the label."
    )


def tasks(plan: Plan) -> list[Task]:
    """Declare the task judge, where there are variations to judge."""
    if not plan.has_generator:
        return []
    fields = classifier.fields(plan) | classifier.schedule_fields(plan) | plan.fields(NAME)
    return [Task(NAME, NAME, run, fields, (data.NAME,), (classifier.check,), limits)]


def limits(context: Context) -> Iterator[Finding]:
    """Yield what the judge's training asks of the data's sizes."""
    own = data.has_domain(context)
    what = "labelled images of the generator's domain" if own else sizes.TRAINING
    yield Limit("train.batch_size", len(data.judge_split(context).label), what)


def run(context: Context, directory: epath.Path) -> None:
    """Train the judge and write it into directory."""
    config, info = context.config, data.info(context)
    build = classifier.builder(config, info.num_classes)
    schedule = classifier.plain_schedule(config, config.judge.steps)
    arrays = data.judge_split(context)._asdict()
    state = classifier.fit_plainly(
        context, build, arrays, schedule, seed=config.judge.seed, directory=directory, name="judge"
    )
    classifier.save(directory, config, info, state)


def load(context: Context) -> classifier.Trained:
    """Load the trained judge."""
    variables = classifier.load(context.workdir / NAME, context.config, data.info(context))
    return classifier.Trained(variables, None)
