"""Stage evaluate, thoroughly (eval.thorough): the figures that take long, beside those of `evaluate`.

latent_worst         still right under every one of several attacks in the training Space (cross entropy, margin, random search)
latent_other_worst   the same along directions outside of it, where there are any: attacking along the training directions alone would
                     be circular
pixel_worst          the same in pixels, by Auto-PGD on the cross entropy, the logits' ratio and the margin
corruption_NAME      accuracy on the test images under one of 15 common corruptions, mean over its five severities
*_random_only, *_zero_gradient, *_not_rising   signs of masked gradients, see `natra_jax.evaluation.thorough`
"""

from __future__ import annotations

from functools import cache

import numpy as np
from etils import epath

from natra_jax import attacks
from natra_jax.data import to_float
from natra_jax.evaluation import corruptions
from natra_jax.evaluation.benchmark import LogitsFn, predict
from natra_jax.evaluation.records import write_records
from natra_jax.evaluation.thorough import worst_case
from natra_jax.latents.directions import outside
from natra_jax.methods import Latent, natra
from natra_jax.stages import data, directions, encode, evaluate, generator, train
from natra_jax.stages.context import Context
from natra_jax.types import Record

_SPLIT, _SEVERITIES = "test_iid", (1, 2, 3, 4, 5)


def run(context: Context, directory: epath.Path, method: str, seed: int) -> None:
    """Writes the figures of one trained classifier into directory/records.jsonl."""
    trained = train.load(context, method, seed)
    records: list[Record] = []
    for name, logits_fn in evaluate.branches(context, trained, method).items():
        record = evaluate.recorder(context, directory, name, seed)
        records += _worst_cases(context, logits_fn, record, seed)
        records += _corrupted(context, logits_fn, record)
    write_records(directory / "records.jsonl", records)
    worst = ", ".join(f"{r.metric} {r.value:.3f}" for r in records if r.method == method and r.metric.endswith("_worst"))
    context.say(f"evaluate: {method} seed {seed}, thoroughly: {worst}")


def _worst_cases(context: Context, logits_fn: LogitsFn, record, seed: int) -> list[Record]:
    c = context.config
    split = data.split(context, _SPLIT)
    images, labels = to_float(split.image), np.asarray(split.label)
    codes = encode.encode_images(context, split.image)
    latent = Latent(*generator.load(context), directions.load(context))
    others = latent._replace(directions=outside(encode.wild_codes(context), latent.directions))
    steps, restarts, samples = c.eval.worst_steps, c.eval.worst_restarts, c.eval.worst_samples
    targets = {
        "latent": (natra.space(c, latent), codes, c.eval.latent_epsilon, {loss: _latent(steps, restarts) for loss in ("ce", "margin")}),
        "pixel": (attacks.linf(), images, c.eval.pixel_epsilon, {x: _pixel(steps) for x in _pixel_losses(context)}),
    }
    if len(others.directions.sigma):
        in_others = {loss: _latent(steps, restarts) for loss in ("ce", "margin")}
        targets["latent_other"] = (natra.space(c, others), codes, c.eval.latent_epsilon, in_others)
    records = []
    for name, (space, origin, epsilon, searches) in targets.items():
        common = {"seed": seed, "batch_size": c.eval.batch_size}
        found = worst_case(searches, _random(samples), space, logits_fn, origin, labels, epsilon, **common)
        records.append(record(_SPLIT, f"{name}_worst", ~found.failed))
        plain = record(_SPLIT, "", ~found.failed)._replace(low=None, high=None)
        records += [plain._replace(metric=f"{name}_{sign}", value=value) for sign, value in found.warnings.items()]
    return records


def _pixel_losses(context: Context) -> tuple[str, ...]:
    # the logits' ratio needs three classes
    return ("ce", "margin", "dlr") if data.facts(context).num_classes > 2 else ("ce", "margin")


def _corrupted(context: Context, logits_fn: LogitsFn, record) -> list[Record]:
    split, records = data.split(context, _SPLIT), []
    seed, size, index = context.config.data.seed, context.config.eval.batch_size, np.arange(len(split.label))
    for name in corruptions.CORRUPTIONS:
        severities = (corruptions.corrupt(split.image, name, severity, seed, index) for severity in _SEVERITIES)
        right = [predict(logits_fn, images, size) == split.label for images in severities]
        records.append(record(_SPLIT, f"corruption_{name}", np.concatenate(right)))
    return records


# The same objects for every classifier, so that each attack is compiled once.


@cache
def _latent(num_steps: int, restarts: int) -> attacks.Attack:
    return attacks.best_of(attacks.pgd(num_steps), restarts)


@cache
def _pixel(num_steps: int) -> attacks.Attack:
    return attacks.auto_pgd(num_steps)


@cache
def _random(num_samples: int) -> attacks.Attack:
    return attacks.random_search(num_samples)
