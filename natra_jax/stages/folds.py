"""Task folds: the classifiers of the cross-fitted judge; and the judge that screening.judge names.

Each classifier is trained on all of the train split but one fold, and an example is judged by the
one that has not seen it. They depend on data alone, so that other directions, or another choice of
them, are screened by the same judge.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from etils import epath

from natra_jax.classifiers import factory
from natra_jax.data import Subset
from natra_jax.evaluation.benchmark import predict
from natra_jax.latents.screening import CROSS_FITTED, NO_JUDGE, Judge
from natra_jax.printable import reason
from natra_jax.stages import classifier, data, sizes, user_weights
from natra_jax.stages.context import Config, Context, open_array, save_array
from natra_jax.stages.task import Finding, Limit, Plan, Task
from natra_jax.types import UserError

NAME, _STAGE = "folds", "screen"
_FOLDS = "fold.npy"


def tasks(plan: Plan) -> list[Task]:
    """Declare the task folds, where the judge of screening is cross-fitted."""
    if not (plan.has_generator and is_needed(plan.config)):
        return []
    fields = plan.fields("screening.judge", "screening.folds", "screening.seed")
    fields |= classifier.fields(plan) | classifier.schedule_fields(plan)
    return [Task(NAME, _STAGE, run, fields, (data.NAME,), (classifier.check,), limits)]


def limits(context: Context) -> Iterator[Finding]:
    """Yield what cross-fitting asks of the data's sizes."""
    count = len(data.split(context, "train").label)
    yield Limit("screening.folds", count, sizes.TRAINING)
    left = count - -(-count // min(context.config.screening.folds, count))
    yield Limit("train.batch_size", left, f"{sizes.TRAINING} that are left without a fold")


def run(context: Context, directory: epath.Path) -> None:
    """Train a classifier on all folds but one, for each fold, and write them into directory."""
    config, info = context.config, data.info(context)
    train = data.split(context, "train")
    fold = split(np.asarray(train.label), config.screening.folds, config.screening.seed)
    build, schedule = (
        classifier.builder(config, info.num_classes),
        classifier.plain_schedule(config),
    )
    for i in range(config.screening.folds):
        others, kept = np.flatnonzero(fold != i), directory / str(i)
        state = classifier.fit_plainly(
            context,
            build,
            {name: Subset(array, others) for name, array in train._asdict().items()},
            schedule,
            seed=config.screening.seed,
            directory=kept,
            name=f"screening's judge without fold {i}",
        )
        classifier.save(kept, config, info, state)
    save_array(directory / _FOLDS, fold)


def is_needed(config: Config) -> bool:
    """Return whether the judge of screening is the cross-fitted one."""
    return config.screening.judge == CROSS_FITTED


def is_file(config: Config) -> bool:
    """Return whether screening.judge is a path of weights."""
    named = config.screening.judge
    return named not in (NO_JUDGE, CROSS_FITTED) and epath.Path(named).expanduser().exists()


def is_users_function(config: Config) -> bool:
    """Return whether screening.judge names a function of the user's."""
    return config.screening.judge not in (NO_JUDGE, CROSS_FITTED) and not is_file(config)


def split(labels: np.ndarray, num: int, seed: int) -> np.ndarray:
    """Return the fold 0..num - 1 of each example, [N] int32.

    The examples of every label are dealt out in turn, in random order.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    fold = np.empty(len(labels), np.int32)
    fold[order] = np.arange(len(labels)) % num
    return fold


def load(context: Context) -> Judge | None:
    """Load the judge of screening; return None where nothing judges."""
    named = context.config.screening.judge
    if named == NO_JUDGE:
        return None
    return _cross_fitted(context) if named == CROSS_FITTED else _users_own(context)


def check(context: Context) -> None:
    """Raise UserError if the user's own judge cannot be loaded or does not fit the data."""
    if context.config.screening.judge not in (NO_JUDGE, CROSS_FITTED):
        judge = _users_own(context)
        judge(np.zeros((2, *data.info(context).image_shape), np.float32), np.arange(2))


def _cross_fitted(context: Context) -> Judge:
    """Load the classifiers of all folds as one judge."""
    config, info, directory = context.config, data.info(context), context.workdir / NAME
    judges = []
    for i in range(config.screening.folds):
        variables = classifier.load(directory / str(i), config, info)
        judges.append(classifier.logits_fn(config, info.num_classes, variables))
    fold = np.asarray(open_array(context, f"{NAME}/{_FOLDS}"))

    def judge(images: np.ndarray, index: np.ndarray) -> np.ndarray:
        predictions = np.empty(len(index), np.int64)
        for i, logits_fn in enumerate(judges):
            rows = np.flatnonzero(fold[index] == i)
            if len(rows):
                predictions[rows] = predict(logits_fn, images[rows], len(rows))
        return predictions

    return judge


def _users_own(context: Context) -> Judge:
    """Load the judge of the user's: weights of the experiment's classifier, or a function."""
    config, named = context.config, context.config.screening.judge
    if not is_file(config):
        return _of_function(named)
    info = data.info(context)
    variables = user_weights.read_weights(config, info, named, context.inputs)
    logits_fn = classifier.logits_fn(config, info.num_classes, variables)
    return lambda images, index: predict(logits_fn, images, len(images))


def _of_function(named: str) -> Judge:
    """Make the judge of a function () -> (images [B, H, W, C] in [-1, 1] -> logits [B, M]).

    M is any number of classes. Raises UserError if the function fails or returns something else.
    """
    field = "config field screening.judge"
    try:
        logits_fn = factory.find(named, field)()
    except UserError:
        raise
    except Exception as error:  # whatever the user's function raises
        raise UserError(
            f"{field} is {named!r}: calling it failed ({type(error).__name__}: {reason(error)})"
        ) from error
    if not callable(logits_fn):
        raise UserError(
            f"{field} is {named!r}: it returned {type(logits_fn).__name__}, expected a function "
            "from images to logits"
        )

    def judge(images: np.ndarray, index: np.ndarray) -> np.ndarray:
        logits = np.asarray(logits_fn(images))
        if logits.ndim != 2 or len(logits) != len(images):
            raise UserError(
                f"{field} is {named!r}: for {len(images)} images its function returns shape "
                f"{list(logits.shape)}, not logits"
            )
        return logits.argmax(1)

    return judge
