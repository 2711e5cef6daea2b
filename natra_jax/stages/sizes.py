"""Checks of what the sizes of the data decide, all together, before anything is trained.

Each stage declares beside its tasks what its work asks of the data (`Task.sizes`): the most that a
config field may be, as a `Limit`, or a sentence on what is missing. `require` gathers those of all
tasks that will run into one message.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from natra_jax.config import flatten
from natra_jax.stages import data
from natra_jax.stages.context import Context
from natra_jax.stages.task import Limit, Task
from natra_jax.types import UserError

TRAINING = "training images"


def require(context: Context, tasks: Iterable[Task]) -> None:
    """Raise UserError, with all findings in one line, for what the data are too few for.

    Args:
      context: the run, whose stage data is done.
      tasks: those that will run; no others count.
    """
    declared = dict.fromkeys(task.sizes for task in tasks if task.sizes is not None)
    found = list(dict.fromkeys(finding for sizes in declared for finding in sizes(context)))
    limits = [finding for finding in found if isinstance(finding, Limit)]
    missing = [finding for finding in found if isinstance(finding, str)]
    fields = flatten(context.config)
    exceeded = [text for limit in _tightest(limits) for text in _exceeded(limit, fields)]
    if texts := missing + exceeded:
        raise UserError("; ".join(texts))


def batch(
    context: Context, field: str, domain: str = "marginal", group: str = ""
) -> Iterator[Limit]:
    """Yield the limit of a batch that `data.domain_batches` draws.

    Args:
      context: the run.
      field: the config field of the batch's size.
      domain: as `data.domain_batches` has it.
      group: as `Limit` has it.
    """
    marginal, target = len(data.domain_images(context)), len(data.target_images(context))
    of_target = TRAINING + _of_covered(context)
    of_marginal = of_target
    if data.has_domain(context):
        of_marginal = "images of the generator's domain"
    elif data.info(context).unlabelled:
        of_marginal = f"{of_target}, those without labels among them"
    if domain == "target":
        yield Limit(field, target, of_target, group=group)
    elif domain == "marginal":
        yield Limit(field, marginal, of_marginal, group=group)
    else:
        fewer, what = min((marginal, of_marginal), (target, of_target))
        # half of the batch, the odd one apart, is drawn from either
        yield Limit(
            field, 2 * fewer, f"images of which half are drawn from {fewer} {what}", least=2
        )


def plain_batch(context: Context) -> Iterator[Limit]:
    """Yield the limit of the batch of a classifier that is trained plainly on the train split."""
    yield Limit("train.batch_size", len(data.split(context, "train").label), TRAINING)


def some(context: Context, *splits: str) -> Iterator[str]:
    """Yield a finding for each split that has no image of the classes that the generator makes."""
    for name in splits:
        if not len(data.covered(context, data.split(context, name).label)):
            yield (
                f"{name} has no images{_of_covered(context)}: name others in config.data.covers, "
                "or add images"
            )


def _of_covered(context: Context) -> str:
    """Return the words for the classes that the generator makes, '' where these are all."""
    return "" if data.info(context).covered is None else " of the classes in config.data.covers"


def _tightest(limits: Iterable[Limit]) -> Iterator[Limit]:
    """Yield one limit for each field, which keeps to all of its limits."""
    by_field: dict[str, list[Limit]] = {}
    for limit in limits:
        by_field.setdefault(limit.field, []).append(limit)
    for several in by_field.values():
        yield min(several, key=lambda limit: limit.most)._replace(
            least=max(limit.least for limit in several),
            parts=math.lcm(*(limit.parts for limit in several)),
            group=max(limit.group for limit in several),
        )


def _exceeded(limit: Limit, fields: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the values of the limit's fields, and what they may be."""
    value, most = fields[limit.field], limit.most
    if limit.least <= value <= most:
        return
    given = f"config.{limit.field}={value}"
    if most < max(limit.least, limit.parts):
        needed = max(limit.least, limit.parts)
        yield f"{given} is more than the {most} {limit.of}: there must be {needed} at least"
        return
    if value < limit.least:
        yield f"{given} is less than {limit.least}: set it to {limit.least}..{most}"
        return
    group = fields[limit.group] if limit.group else 0
    unit = limit.parts * group if 0 < limit.parts * group <= most else limit.parts
    multiple = "" if unit == 1 else f"a multiple of {unit}, "
    advice = f"set it to {multiple}at most {most // unit * unit}"
    yield f"{given} is more than the {most} {limit.of}: {advice}"
    if group > most // limit.parts:
        yield (
            f"config.{limit.group}={group} is more than a device's share of such a batch, "
            f"{most // limit.parts}: set it to at most {most // limit.parts}, and a divisor"
        )
