"""Stage evaluate with eval.thorough: the figures that take long, beside those of `evaluate`.

latent_worst         still right under every one of several attacks in the training Space: on the
                     cross entropy, on the margin, and by random search
latent_other_worst   the same along directions outside of it, where there are any: attacking along
                     the training directions alone would be circular
pixel_worst          the same in pixels, by Auto-PGD on the cross entropy, the logits' ratio and the
                     margin
corruption_NAME      accuracy on the test images under one of 15 common corruptions, mean over its
                     five severities
*_random_only, *_zero_gradient, *_not_rising
                     signs of masked gradients, see `natra_jax.evaluation.robustness`
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, partial
from typing import NamedTuple

import numpy as np
from etils import epath

from natra_jax import attacks
from natra_jax.data import to_float
from natra_jax.evaluation import corruptions
from natra_jax.evaluation.benchmark import predict
from natra_jax.evaluation.records import write_records
from natra_jax.evaluation.robustness import worst_case
from natra_jax.latents.directions import outside
from natra_jax.methods import Latent, natural
from natra_jax.stages import data, encode, encoder, evaluate, screen, shift, sizes, train
from natra_jax.stages.context import Context
from natra_jax.stages.evaluate import Recorder
from natra_jax.stages.task import Finding, Plan, Task
from natra_jax.types import LogitsFn, Record

_SPLIT, _SEVERITIES = "test_iid", (1, 2, 3, 4, 5)


class _Target(NamedTuple):
    """A Space in which classifiers are attacked, and the attacks."""

    space: attacks.Space
    origin: np.ndarray  # [N, ...], codes or images
    epsilon: float  # in the Space's units
    searches: dict[str, attacks.Attack]  # {loss: attack}


def tasks(plan: Plan) -> list[Task]:
    """Declare a task for each method and seed, where eval.thorough asks for them."""
    if not plan.config.eval.thorough:
        return []
    fields = plan.fields_without("eval", "eval.extra_splits") | evaluate.fields(plan)
    found, before = [], evaluate.depends_on(plan)
    for method in plan.config.methods:
        for seed in plan.config.seeds:
            name = f"{evaluate.NAME}/{method}-{seed}-thorough"
            bound = partial(run, method=method, seed=seed)
            depends_on = (*before, f"{train.NAME}/{method}-{seed}")
            found.append(Task(name, evaluate.NAME, bound, fields, depends_on, sizes=limits))
    return found


def limits(context: Context) -> Iterator[Finding]:
    """Yield what the figures ask of the data's sizes."""
    yield from sizes.some(context, _SPLIT)


def run(context: Context, directory: epath.Path, method: str, seed: int) -> None:
    """Measure one trained classifier and write records.jsonl into directory.

    Args:
      context: the run.
      directory: of the task.
      method: whose classifier.
      seed: of its training.
    """
    branches = evaluate.branches(context, train.load(context, method, seed), method)
    recorders = {name: evaluate.recorder(context, directory, name, seed) for name in branches}
    targets, records = _targets(context), []
    for name, logits_fn in branches.items():
        records += _worst_cases(context, targets, logits_fn, recorders[name], seed)
    records += _corrupted(context, branches, recorders)
    write_records(directory / "records.jsonl", records)
    worst = ", ".join(
        f"{r.metric} {r.value:.3f}"
        for r in records
        if r.method == method and r.metric.endswith("_worst")
    )
    context.log(f"evaluate: {method} seed {seed}, thoroughly: {worst}")


def _targets(context: Context) -> dict[str, _Target]:
    """Return {prefix of the metrics: target}."""
    c = context.config.eval
    in_pixels = dict.fromkeys(_pixel_losses(context), _pixel(c.worst_steps))
    images = to_float(data.varied(context, _SPLIT).image[:])
    targets = _latent_targets(context) if context.generator is not None else {}
    return targets | {"pixel": _Target(attacks.linf(), images, c.pixel_epsilon, in_pixels)}


def _latent_targets(context: Context) -> dict[str, _Target]:
    """Return the targets along the training directions and along directions outside of these."""
    c = context.config
    split = data.varied(context, _SPLIT)
    codes = encode.encode_images(context, split.image)
    latent = Latent(*shift.load(context), screen.load(context))
    model, _ = encoder.load(context)
    population = np.asarray(model.single(encode.domain_codes(context)))
    others = encoder.lifted(context, outside(population, screen.chosen(context)))
    search = natural.search(c.natra.norm, c.eval.worst_steps, c.eval.worst_restarts)
    searches: dict[str, attacks.Attack] = {"ce": search, "margin": search}
    epsilon = c.eval.latent_epsilon
    targets = {"latent": _Target(natural.space(c, latent), codes, epsilon, searches)}
    if len(others.sigma):
        space = natural.space(c, latent._replace(directions=others))
        targets["latent_other"] = _Target(space, codes, epsilon, searches)
    return targets


def _worst_cases(
    context: Context,
    targets: dict[str, _Target],
    logits_fn: LogitsFn,
    record: Recorder,
    seed: int,
) -> list[Record]:
    """Measure the worst case of each target, and the signs of masked gradients in it."""
    c, labels, records = context.config.eval, np.asarray(data.varied(context, _SPLIT).label), []
    for name, target in targets.items():
        found = worst_case(
            target.searches,
            _random(c.worst_samples),
            target.space,
            logits_fn,
            target.origin,
            labels,
            target.epsilon,
            seed=seed,
            batch_size=c.batch_size,
        )
        worst = record(_SPLIT, f"{name}_worst", ~found.failed)
        signs = [
            worst._replace(metric=f"{name}_{sign}", value=value, low=None, high=None)
            for sign, value in found.warnings.items()
        ]
        records += [worst, *signs]
    return records


def _pixel_losses(context: Context) -> tuple[str, ...]:
    """Return the losses of the attacks in pixels."""
    # the logits' ratio needs three classes
    return ("ce", "margin", "dlr") if data.info(context).num_classes > 2 else ("ce", "margin")


def _corrupted(
    context: Context, branches: dict[str, LogitsFn], recorders: dict[str, Recorder]
) -> list[Record]:
    """Measure the accuracy under each common corruption."""
    split, records = data.varied(context, _SPLIT), []
    seed, size = context.config.data.seed, context.config.eval.batch_size
    index = np.arange(len(split.label))
    for corruption in corruptions.CORRUPTIONS:
        right: dict[str, list[np.ndarray]] = {name: [] for name in branches}
        for severity in _SEVERITIES:
            images = corruptions.corrupt(split.image[:], corruption, severity, seed, index)
            for name, logits_fn in branches.items():
                right[name].append(predict(logits_fn, images, size) == split.label)
        records += [
            recorders[name](_SPLIT, f"corruption_{corruption}", np.concatenate(severities))
            for name, severities in right.items()
        ]
    return records


# The same objects for every classifier, so that each attack is compiled once.


@cache
def _pixel(num_steps: int) -> attacks.Attack:
    """Return Auto-PGD of so many steps."""
    return attacks.auto_pgd(num_steps)


@cache
def _random(num_samples: int) -> attacks.Attack:
    """Return a random search of so many samples."""
    return attacks.random_search(num_samples)
