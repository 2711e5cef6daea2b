"""Stage train: the classifier of each method and seed."""

from __future__ import annotations

import json

from etils import epath

from natra_jax.methods import METHODS
from natra_jax.stages import classifier, data, directions, encode
from natra_jax.stages.context import Context
from natra_jax.training.checkpoint import History
from natra_jax.training.fit import fit_classifier
from natra_jax.training.state import TrainState
from natra_jax.types import Method


def run(context: Context, directory: epath.Path, method: str, seed: int) -> None:
    config, facts = context.config, data.facts(context)
    train = data.split(context, "train")
    arrays = train._asdict()
    if METHODS[method].latent:
        arrays["codes"] = encode.train_codes(context)
    state, history = fit_classifier(
        classifier.builder(config, facts.num_classes),
        _build(context, method),
        arrays,
        classifier.schedule(config, _steps(context, method)),
        seed=seed,
        directory=directory / "checkpoints",
        devices=context.devices,
        parallel=config.parallel,
        name=directory.name,
        say=context.say,
    )
    (directory / "history.json").write_text(json.dumps(history))


def load(context: Context, method: str, seed: int) -> TrainState:
    facts = data.facts(context)
    count = len(data.split(context, "train").label)
    directory = context.workdir / "train" / f"{method}-{seed}" / "checkpoints"
    return classifier.load(context.config, facts.num_classes, facts.image_shape, count, directory, _steps(context, method))


def history(context: Context, method: str, seed: int) -> History:
    """The metrics logged while training, with their steps."""
    return json.loads((context.workdir / "train" / f"{method}-{seed}" / "history.json").read_text())


def _build(context: Context, method: str) -> Method:
    spec = METHODS[method]
    space = directions.space(context) if spec.latent else None
    return spec.build(context.config, data.facts(context).num_classes, space)


def _steps(context: Context, method: str) -> int:
    """The schedule's steps, or as many as make the method's network passes equal to those of the one it is to be as long as."""
    steps = context.config.train.steps
    if not (other := METHODS[method].as_long_as):
        return steps
    return round(steps * _build(context, other).passes / _build(context, method).passes)
