"""Stage evaluate: what every trained classifier gets right, with intervals. The first stage that reads the shifted and the test splits."""

from __future__ import annotations

from functools import cache, partial

import numpy as np
from etils import epath

from natra_jax import attacks
from natra_jax.evaluation.benchmark import latent_attack, predict, right_in_all
from natra_jax.evaluation.intervals import wilson
from natra_jax.evaluation.records import write_records
from natra_jax.stages import classifier, data, directions, encode, judge, train
from natra_jax.stages.context import Context
from natra_jax.training.state import TrainState
from natra_jax.types import Record

_LATENT_SPLITS = ("val_iid", "test_iid")


def run(context: Context, directory: epath.Path, method: str, seed: int) -> None:
    """Evaluates one trained classifier, or the judge for method judge.NAME, into directory/records.jsonl."""
    is_judge = method == judge.NAME
    piece = directory.relative_to(context.workdir)
    record = partial(_record, context.fingerprints[str(piece)], method, seed)
    state = judge.load(context) if is_judge else train.load(context, method, seed)
    records = _on_images(context, state, record)
    if not is_judge:
        records += _on_variations(context, state, record, seed)
    write_records(directory / "records.jsonl", records)
    shown = {(r.split, r.metric): r.value for r in records}
    context.say(f"evaluate: {method} seed {seed}: " + ", ".join(f"{m} {s} {v:.3f}" for (s, m), v in shown.items() if s.startswith("val")))


def logits(context: Context, state: TrainState):
    return classifier.logits_fn(context.config, data.facts(context).num_classes, state)


def search(context: Context) -> attacks.Attack:
    """The latent attack of the evaluation."""
    c = context.config.eval
    return _search(c.latent_steps, c.latent_restarts)


@cache  # the same object for every classifier, so that the attack is compiled once
def _search(num_steps: int, restarts: int) -> attacks.Attack:
    return attacks.best_of(attacks.pgd(num_steps), restarts)


def _on_images(context: Context, state: TrainState, record) -> list[Record]:
    facts, size = data.facts(context), context.config.eval.batch_size
    logits_fn = logits(context, state)
    records = []
    for name in facts.splits:
        if name != "train":
            split = data.split(context, name)
            records.append(record(name, "accuracy", predict(logits_fn, split.image, size) == split.label))
    for name in facts.rendered:
        views = data.renderings(context, name)
        records.append(record(name, f"worst{views.shape[1]}", right_in_all(logits_fn, views, data.split(context, name).label, size)))
    return records


def _on_variations(context: Context, state: TrainState, record, seed: int) -> list[Record]:
    """latent_accuracy: still right under the latent attack. latent_label_kept: share of its images that the judge reads as labelled."""
    c = context.config.eval
    space, logits_fn, judge_fn = directions.space(context), logits(context, state), logits(context, judge.load(context))
    records = []
    for name in _LATENT_SPLITS:
        split = data.split(context, name)
        codes = encode.encode_images(context, split.image)
        images, failed = latent_attack(
            search(context), space, logits_fn, codes, np.asarray(split.label), c.latent_epsilon, seed, c.batch_size
        )
        records.append(record(name, "latent_accuracy", ~failed))
        records.append(record(name, "latent_label_kept", predict(judge_fn, images, c.batch_size) == split.label))
    return records


def _record(fingerprint: str, method: str, seed: int, split: str, metric: str, right: np.ndarray) -> Record:
    low, high = wilson(int(right.sum()), len(right))
    return Record(method, seed, split, metric, float(right.mean()), len(right), low, high, fingerprint)
