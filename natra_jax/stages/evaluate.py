"""Stage evaluate: the accuracies of every trained classifier, with intervals.

It is the first stage that reads the shifted and the test splits. Beside records.jsonl it writes
answers.npz: which examples each classifier gets right, so that comparisons are paired by example.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from etils import epath

from natra_jax import attacks
from natra_jax.classifiers import auxiliary_batch_norm
from natra_jax.evaluation.benchmark import attack, predict, right_on_views
from natra_jax.evaluation.intervals import wilson
from natra_jax.evaluation.records import (
    Answered,
    Answers,
    read_answers,
    write_answers,
    write_records,
)
from natra_jax.methods import natural
from natra_jax.stages import (
    classifier,
    data,
    encode,
    extra_splits,
    judge,
    screen,
    shift,
    sizes,
    train,
)
from natra_jax.stages.context import Config, Context
from natra_jax.stages.task import Finding, Plan, Task
from natra_jax.types import LogitsFn, Record

NAME = "evaluate"
_FIELDS = (
    "eval.batch_size",
    "eval.examples",
    "eval.latent_steps",
    "eval.latent_restarts",
    "eval.latent_epsilon",
)
LATENT_SPLITS = ("val_iid", "test_iid")
_ANSWERS = "answers.npz"
_FIRST_VIEWS = 16  # are reported apart where there are more: worst16 beside worst64
_ADVERSARIAL = "/adversarial"  # behind a method's name: its classifier by auxiliary BatchNorm
Recorder = Callable[[str, str, np.ndarray], Record]
"""(split, metric, right [N] bool) -> the share of right ones as a record"""
_Measured = tuple[str, str, np.ndarray]  # what a Recorder takes


def tasks(plan: Plan) -> list[Task]:
    """Declare a task for each method and seed, one for the judge, and those on extra splits."""
    found, before = [], depends_on(plan)
    for method in plan.config.methods:
        for seed in plan.config.seeds:
            trained = f"{train.NAME}/{method}-{seed}"
            bound = partial(run, method=method, seed=seed)
            needed = (*before, trained)
            found.append(
                Task(f"{NAME}/{method}-{seed}", NAME, bound, fields(plan), needed, sizes=limits)
            )
            found += _on_extra_splits(plan, method, seed, trained)
    if plan.has_generator:
        name = judge.name(plan.config)
        bound = partial(run, method=name, seed=0)
        needed = (data.NAME, judge.NAME)
        found.append(Task(f"{NAME}/{name}-0", NAME, bound, fields(plan), needed))
        found += _on_extra_splits(plan, name, 0, judge.NAME)
    return found


def limits(context: Context) -> Iterator[Finding]:
    """Yield what the evaluation of a trained classifier asks of the data's sizes."""
    if context.generator is not None:
        yield from sizes.some(context, *LATENT_SPLITS)


def _on_extra_splits(plan: Plan, method: str, seed: int, trained: str) -> list[Task]:
    """Declare a task for each extra split, so that another one leaves what is measured."""
    return [
        Task(
            f"{NAME}/{method}-{seed}-{split}",
            NAME,
            partial(run_extra, method=method, seed=seed, split=split),
            plan.fields("eval.batch_size"),
            (data.NAME, extra_splits.task_name(split), trained),
        )
        for split in extra_splits.named(plan.config.eval.extra_splits)
    ]


def fields(plan: Plan) -> dict[str, Any]:
    """Return {config field: value} of the fields that the figures here depend on."""
    space = natural.SPACE_FIELDS if plan.has_generator else ()
    return plan.fields(*_FIELDS, *space)


def depends_on(plan: Plan) -> tuple[str, ...]:
    """Return the names of the tasks that an evaluation reads beside that of its classifier."""
    latent = (shift.NAME, encode.NAME, screen.NAME, judge.NAME) if plan.has_generator else ()
    return (data.NAME, *latent)


def run(context: Context, directory: epath.Path, method: str, seed: int) -> None:
    """Evaluate one trained classifier, and write records.jsonl and its answers into directory.

    Args:
      context: the run.
      directory: of the task.
      method: whose classifier; the judge's name stands for the judge.
      seed: of its training.
    """
    is_judge = method == judge.name(context.config)
    measured = {}
    for name, logits_fn in branches(context, _load(context, method, seed), method).items():
        measured[name] = [*_on_images(context, logits_fn)]
        if not is_judge and context.generator is not None:
            measured[name] += _on_variations(context, logits_fn, seed)
    records = _write(context, directory, seed, measured)
    shown = {(r.split, r.metric): r.value for r in records if r.method == method}
    figures = ", ".join(
        f"{metric} {split} {value:.3f}"
        for (split, metric), value in shown.items()
        if split.startswith("val")
    )
    context.log(f"evaluate: {method} seed {seed}: {figures}")


def run_extra(context: Context, directory: epath.Path, method: str, seed: int, split: str) -> None:
    """Measure the accuracy on an extra split, and write it and the answers into directory.

    Args:
      context: the run.
      directory: of the task.
      method: whose classifier; the judge's name stands for the judge.
      seed: of its training.
      split: its name.
    """
    images, measured = extra_splits.split(context, split), {}
    for name, logits_fn in branches(context, _load(context, method, seed), method).items():
        predictions = predict(logits_fn, images.image, context.config.eval.batch_size)
        measured[name] = [(split, "accuracy", predictions == images.label)]
    _write(context, directory, seed, measured)
    context.log(f"evaluate: {method} seed {seed}: {split} is measured")


def _write(
    context: Context,
    directory: epath.Path,
    seed: int,
    measured: Mapping[str, Sequence[_Measured]],
) -> list[Record]:
    """Write what was measured of {name in the records: classifier}, and return the records."""
    records, right_of = [], {}
    for name, found in measured.items():
        record = recorder(context, directory, name, seed)
        for split, metric, right in found:
            records.append(record(split, metric, right))
            right_of[name, seed, split, metric] = right
    write_answers(directory / _ANSWERS, right_of)
    write_records(directory / "records.jsonl", records)
    return records


def _load(context: Context, method: str, seed: int) -> classifier.Trained:
    """Load the classifier of a method and seed, or the judge by its name."""
    if method == judge.name(context.config):
        return judge.load(context)
    return train.load(context, method, seed)


def logits(context: Context, trained: classifier.Trained, *, adversarial: bool = False) -> LogitsFn:
    """Return images [B, H, W, C] -> logits of a trained classifier.

    adversarial: use its auxiliary BatchNorm.
    """
    return classifier.logits_fn(
        context.config, data.info(context).num_classes, trained.variables, adversarial=adversarial
    )


def branches(context: Context, trained: classifier.Trained, method: str) -> dict[str, LogitsFn]:
    """Return {name in the records: classifier}.

    A classifier with auxiliary BatchNorm is there a second time, using that.
    """
    found = {method: logits(context, trained)}
    if auxiliary_batch_norm.has_auxiliary(trained.variables):
        found[method + _ADVERSARIAL] = logits(context, trained, adversarial=True)
    return found


def rows(methods: Iterable[str]) -> list[str]:
    """Return the names that the methods may have in the records."""
    return [name for method in methods for name in (method, method + _ADVERSARIAL)]


def trained_as(row: str) -> str:
    """Return the method whose training a row of the records is of."""
    return row.removesuffix(_ADVERSARIAL)


def baseline(config: Config) -> str:
    """Return the method that the others are measured against."""
    return "original" if "original" in config.methods else config.methods[0]


def search(context: Context) -> attacks.Attack:
    """Return the latent attack of the evaluation."""
    c = context.config
    return natural.search(c.natra.norm, c.eval.latent_steps, c.eval.latent_restarts)


def recorder(context: Context, directory: epath.Path, method: str, seed: int) -> Recorder:
    """Return a function that makes the record of a share of examples, with its interval.

    Args:
      context: the run.
      directory: of the task, whose fingerprint the records have.
      method: in the records.
      seed: in the records.

    Returns:
      (split, metric, right [N] bool) -> a record.
    """
    fingerprint = context.fingerprints[str(directory.relative_to(context.workdir))]

    def record(split: str, metric: str, right: np.ndarray) -> Record:
        share, count = float(right.mean()), len(right)
        low, high = wilson(int(right.sum()), count)
        return Record(method, seed, split, metric, share, count, low, high, fingerprint)

    return record


def answers(context: Context) -> Answers:
    """Read which examples every classifier of the experiment gets right, on extra splits as well.

    An evaluation that kept no answers has none here.
    """
    found: dict[Answered, np.ndarray] = {}
    for task in context.fingerprints:
        path = context.workdir / task / _ANSWERS
        if task.startswith(f"{NAME}/") and path.exists():
            found |= read_answers(path)
    return found


def _on_images(context: Context, logits_fn: LogitsFn) -> Iterator[_Measured]:
    """Measure accuracy on every split, and worstN: right on the first N of its true variations."""
    info, size = data.info(context), context.config.eval.batch_size
    splits = {name: data.split(context, name) for name in info.splits if name != "train"}
    for name, split in splits.items():
        predictions = predict(logits_fn, split.image, size)
        yield name, "accuracy", predictions == split.label
    for name in info.rendered:
        views, labels = data.renderings(context, name), data.split(context, name).label
        right = right_on_views(logits_fn, views, labels, size)
        for count in sorted({min(_FIRST_VIEWS, views.shape[1]), views.shape[1]}):
            yield name, f"worst{count}", np.all(right[:, :count], axis=1)


def _on_variations(context: Context, logits_fn: LogitsFn, seed: int) -> Iterator[_Measured]:
    """Measure latent_accuracy and latent_label_kept.

    The former is the share that stays right under the latent attack, the latter the share of the
    attack's images that the judge reads as labelled.
    """
    c = context.config.eval
    space, judge_fn = screen.space(context), logits(context, judge.load(context))
    for name in LATENT_SPLITS:
        split = data.varied(context, name)
        codes, labels = encode.encode_images(context, split.image), np.asarray(split.label)
        found = attack(
            search(context),
            space,
            logits_fn,
            codes,
            labels,
            c.latent_epsilon,
            seed=seed,
            batch_size=c.batch_size,
        )
        kept = predict(judge_fn, found.images, c.batch_size) == labels
        yield name, "latent_accuracy", ~found.failed
        yield name, "latent_label_kept", kept
