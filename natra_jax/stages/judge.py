"""Stage judge: the independent judge of labels, trained on uniformly varied labelled images of the generator's domain.

It serves evaluation and documents alone; nothing that training reads depends on it. On digits it is also the ceiling: what the
classifier reaches when it is shown, with labels, the variation that the other methods have to find.
"""

from __future__ import annotations

from etils import epath

from natra_jax.stages import classifier, data
from natra_jax.stages.context import Context

NAME = "oracle"


def run(context: Context, directory: epath.Path) -> None:
    config, facts = context.config, data.facts(context)
    build, schedule = classifier.builder(config, facts.num_classes), classifier.schedule(config, config.judge.steps)
    arrays = data.judge_split(context)._asdict()
    state = classifier.fit_plainly(context, build, arrays, schedule, seed=config.judge.seed, directory=directory, name="judge")
    classifier.save(directory, config, facts, state)


def load(context: Context) -> classifier.Trained:
    return classifier.Trained(classifier.load(context.workdir / "judge", context.config, data.facts(context)), None)
