"""The judge of screening, by what screening.judge names; and piece folds, the classifiers of the cross-fitted one.

Each of these is trained on all of the train split but one fold, and an example is judged by the one that has not seen it. They depend
on data alone, so that other directions, or another choice of them, are screened by the same judge.
"""

from __future__ import annotations

import numpy as np
from etils import epath

from natra_jax.classifiers import factory
from natra_jax.data import Subset
from natra_jax.evaluation.benchmark import predict
from natra_jax.latents.screening import CROSS_FITTED, NO_JUDGE, Judge
from natra_jax.stages import classifier, data
from natra_jax.stages.context import Context, open_array, save_array
from natra_jax.stages.task import Plan, Task
from natra_jax.types import UserError

NAME, _STAGE = "folds", "screen"
_FOLDS = "fold.npy"


def tasks(plan: Plan) -> list[Task]:
    """Declare the task folds, where the judge of screening is cross-fitted."""
    if not (plan.has_generator and is_needed(plan.config)):
        return []
    fields = plan.fields("screening.judge", "screening.folds", "screening.seed")
    fields |= classifier.fields(plan) | classifier.schedule_fields(plan)
    return [Task(NAME, _STAGE, run, fields, (data.NAME,))]


def run(context: Context, directory: epath.Path) -> None:
    """Train a classifier on all folds but one, for each fold, and write them into directory."""
    config, info = context.config, data.info(context)
    train = data.split(context, "train")
    fold = split(np.asarray(train.label), config.screening.folds, config.screening.seed)
    build, schedule = classifier.builder(config, info.num_classes), classifier.schedule(config)
    for i in range(config.screening.folds):
        others, kept, name = (
            np.flatnonzero(fold != i),
            directory / str(i),
            f"screening's judge without fold {i}",
        )
        arrays = {
            array_name: Subset(array, others) for array_name, array in train._asdict().items()
        }
        state = classifier.fit_plainly(
            context, build, arrays, schedule, seed=config.screening.seed, directory=kept, name=name
        )
        classifier.save(kept, config, info, state)
    save_array(directory / _FOLDS, fold)


def is_needed(config) -> bool:
    """Whether the piece is."""
    return config.screening.judge == CROSS_FITTED


def is_file(config) -> bool:
    """Whether screening.judge is a path of weights."""
    named = config.screening.judge
    return named not in (NO_JUDGE, CROSS_FITTED) and epath.Path(named).expanduser().exists()


def split(labels: np.ndarray, num: int, seed: int) -> np.ndarray:
    """[N], the fold 0..num - 1 of each example: every label's examples are dealt out in turn, in random order."""
    order = np.random.default_rng(seed).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    fold = np.empty(len(labels), np.int32)
    fold[order] = np.arange(len(labels)) % num
    return fold


def load(context: Context) -> Judge | None:
    """None where nothing judges."""
    named = context.config.screening.judge
    if named == NO_JUDGE:
        return None
    if named == CROSS_FITTED:
        return _cross_fitted(context)
    if not is_file(context.config):
        return _users_own(named)
    info = data.info(context)
    logits_fn = classifier.logits_fn(
        context.config,
        info.num_classes,
        classifier.read_weights(context.config, info, named, context.inputs),
    )
    return lambda images, index: predict(logits_fn, images, len(images))


def check(context: Context) -> None:
    """Raises UserError, before any time is spent on what it is to judge, if the user's own judge cannot be had or does not fit the data."""
    if context.config.screening.judge not in (NO_JUDGE, CROSS_FITTED):
        load(context)(np.zeros((2, *data.info(context).image_shape), np.float32), np.arange(2))


def _cross_fitted(context: Context) -> Judge:
    config, info, directory = context.config, data.info(context), context.workdir / NAME
    judges = [
        classifier.logits_fn(
            config, info.num_classes, classifier.load(directory / str(i), config, info)
        )
        for i in range(config.screening.folds)
    ]
    fold = np.asarray(open_array(context, f"{NAME}/{_FOLDS}"))

    def judge(images: np.ndarray, index: np.ndarray) -> np.ndarray:
        predictions = np.empty(len(index), np.int64)
        for i, logits_fn in enumerate(judges):
            rows = np.flatnonzero(fold[index] == i)
            if len(rows):
                predictions[rows] = predict(logits_fn, images[rows], len(rows))
        return predictions

    return judge


def _users_own(named: str) -> Judge:
    """The judge of a function () -> (images [B, H, W, C] in [-1, 1] -> logits [B, any number of classes])."""
    field = "config field screening.judge"
    try:
        logits_fn = factory.find(named, field)()
    except UserError:
        raise
    except Exception as error:  # whatever the user's function raises
        raise UserError(
            f"{field} is {named!r}: calling it failed ({type(error).__name__}: {error})"
        ) from error
    if not callable(logits_fn):
        raise UserError(
            f"{field} is {named!r}: it returned {type(logits_fn).__name__}, expected a function from images to logits"
        )

    def judge(images: np.ndarray, index: np.ndarray) -> np.ndarray:
        logits = np.asarray(logits_fn(images))
        if logits.ndim != 2 or len(logits) != len(images):
            raise UserError(
                f"{field} is {named!r}: for {len(images)} images its function returns shape {list(logits.shape)}, not logits"
            )
        return logits.argmax(1)

    return judge
