"""Stage evaluate: what every trained classifier gets right, with intervals. The first stage that reads the shifted and the test splits."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache, partial
from typing import Any

import numpy as np
from etils import epath

from natra_jax import attacks
from natra_jax.classifiers import auxiliary_batch_norm
from natra_jax.evaluation.benchmark import LogitsFn, attack, predict, right_in_all
from natra_jax.evaluation.intervals import wilson
from natra_jax.evaluation.records import write_records
from natra_jax.stages import (
    classifier,
    data,
    encode,
    extra_splits,
    judge,
    screen,
    shift,
    train,
)
from natra_jax.stages.context import Context
from natra_jax.stages.task import Plan, Task
from natra_jax.types import Record

NAME = "evaluate"
_FIELDS = (
    "eval.batch_size",
    "eval.examples",
    "eval.latent_steps",
    "eval.latent_restarts",
    "eval.latent_epsilon",
)
LATENT_SPLITS = ("val_iid", "test_iid")
_ADVERSARIAL = "/adversarial"  # behind a method's name: its classifier with the adversarial twins of its BatchNorm


def tasks(plan: Plan) -> list[Task]:
    """Declare a task for each method and seed, and one for the judge."""
    found, before = [], depends_on(plan)
    for method in plan.config.methods:
        for seed in plan.config.seeds:
            bound = partial(run, method=method, seed=seed)
            of_classifier = (*before, f"{train.NAME}/{method}-{seed}")
            found.append(Task(f"{NAME}/{method}-{seed}", NAME, bound, fields(plan), of_classifier))
    if plan.has_generator:
        name = judge.name(plan.config)
        bound = partial(run, method=name, seed=0)
        extra = tuple(task.name for task in extra_splits.tasks(plan))
        of_judge = (data.NAME, *extra, judge.NAME)
        found.append(Task(f"{NAME}/{name}-0", NAME, bound, fields(plan), of_judge))
    return found


def fields(plan: Plan) -> dict[str, Any]:
    """Return the config fields, with their values, that the figures here depend on."""
    return plan.fields(*_FIELDS, *(screen.SPACE_FIELDS if plan.has_generator else ()))


def depends_on(plan: Plan) -> tuple[str, ...]:
    """Return the tasks that an evaluation reads beside that of its classifier."""
    extra = tuple(task.name for task in extra_splits.tasks(plan))
    latent = (shift.NAME, encode.NAME, screen.NAME, judge.NAME) if plan.has_generator else ()
    return (data.NAME, *extra, *latent)


def run(context: Context, directory: epath.Path, method: str, seed: int) -> None:
    """Evaluates one trained classifier, or the judge for the method of its name, into directory/records.jsonl."""
    is_judge = method == judge.name(context.config)
    trained = judge.load(context) if is_judge else train.load(context, method, seed)
    records = []
    for name, logits_fn in branches(context, trained, method).items():
        record = recorder(context, directory, name, seed)
        records += _on_images(context, logits_fn, record)
        if not is_judge and context.generator is not None:
            records += _on_variations(context, logits_fn, record, seed)
    write_records(directory / "records.jsonl", records)
    shown = {(r.split, r.metric): r.value for r in records if r.method == method}
    context.log(
        f"evaluate: {method} seed {seed}: "
        + ", ".join(f"{m} {s} {v:.3f}" for (s, m), v in shown.items() if s.startswith("val"))
    )


def logits(context: Context, trained: classifier.Trained, *, adversarial: bool = False):
    return classifier.logits_fn(
        context.config, data.info(context).num_classes, trained.variables, adversarial=adversarial
    )


def branches(context: Context, trained: classifier.Trained, method: str) -> dict[str, LogitsFn]:
    """{name in the records: classifier}: the classifier, and itself with adversarial BatchNorm where it has that."""
    found = {method: logits(context, trained)}
    if auxiliary_batch_norm.has_auxiliary(trained.variables):
        found[method + _ADVERSARIAL] = logits(context, trained, adversarial=True)
    return found


def rows(methods: Iterable[str]) -> list[str]:
    """The names that the methods may have in the records."""
    return [name for method in methods for name in (method, method + _ADVERSARIAL)]


def baseline(config) -> str:
    """The method that the others are measured against."""
    return "original" if "original" in config.methods else config.methods[0]


def search(context: Context) -> attacks.Attack:
    """The latent attack of the evaluation."""
    c = context.config.eval
    return latent_search(c.latent_steps, c.latent_restarts)


def recorder(
    context: Context, directory: epath.Path, method: str, seed: int
) -> Callable[[str, str, np.ndarray], Record]:
    """(split, metric, right [N] bool) -> the share of right ones as a record."""
    fingerprint = context.fingerprints[str(directory.relative_to(context.workdir))]

    def record(split: str, metric: str, right: np.ndarray) -> Record:
        low, high = wilson(int(right.sum()), len(right))
        return Record(
            method, seed, split, metric, float(right.mean()), len(right), low, high, fingerprint
        )

    return record


@cache  # the same object for every classifier, so that the attack is compiled once
def latent_search(num_steps: int, restarts: int) -> attacks.Attack:
    """PGD along directions: from the encoded point, then from random ones."""
    return attacks.best_of(attacks.pgd(num_steps), restarts)


def _on_images(context: Context, logits_fn: LogitsFn, record) -> list[Record]:
    info, size = data.info(context), context.config.eval.batch_size
    records = []
    splits = {name: data.split(context, name) for name in info.splits if name != "train"}
    splits |= {name: extra_splits.split(context, name) for name in extra_splits.names(context)}
    for name, split in splits.items():
        predictions = predict(logits_fn, split.image, size)
        records.append(record(name, "accuracy", predictions == split.label))
    for name in info.rendered:
        views = data.renderings(context, name)
        records.append(
            record(
                name,
                f"worst{views.shape[1]}",
                right_in_all(logits_fn, views, data.split(context, name).label, size),
            )
        )
    return records


def _on_variations(context: Context, logits_fn: LogitsFn, record, seed: int) -> list[Record]:
    """latent_accuracy: still right under the latent attack. latent_label_kept: share of its images that the judge reads as labelled."""
    c = context.config.eval
    space, judge_fn = screen.space(context), logits(context, judge.load(context))
    records = []
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
        records.append(record(name, "latent_accuracy", ~found.failed))
        records.append(
            record(
                name, "latent_label_kept", predict(judge_fn, found.images, c.batch_size) == labels
            )
        )
    return records
