"""Stage screen: which of the directions are trained on, and how far along each.

The effect of edits on labels is measured for every direction found. Those that keep a judge's
answers and do not predict the label are proposed, and screening.choose overrides the proposal. Of
the data, labels and images of the train split alone are read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import NotRequired, TypedDict

import numpy as np
from etils import epath

from natra_jax import attacks, json_files
from natra_jax.evaluation.intervals import wilson
from natra_jax.evaluation.records import write_records
from natra_jax.json_files import Count
from natra_jax.latents import saved, screening
from natra_jax.latents.choose import is_file, select
from natra_jax.latents.screening import Screening
from natra_jax.methods import Latent, natural
from natra_jax.stages import (
    classifier,
    data,
    directions,
    encode,
    encoder,
    folds,
    shift,
    sizes,
)
from natra_jax.stages.context import Config, Context
from natra_jax.stages.task import Finding, Plan, Task
from natra_jax.types import Directions, Record, UserError

NAME, METHOD = "screen", "screening"  # of the task, and in records
TABLE = "screening.json"  # the figures of every direction, for people and the report
_SHOWN = 8  # names in a line


class Row(TypedDict):
    """The figures of one direction."""

    number: int
    name: str
    range: str
    sigma: float
    kept: dict[str, float | None]  # by the size of the move, in sigmas; so moved
    moved: dict[str, float | None]
    predicts: float | None
    confounded: bool
    useful: float | None
    verdict: str
    chosen: bool


class Table(TypedDict):
    """The content of screening.json."""

    judge: str
    codes: NotRequired[str]  # not there in tables of before there was a choice
    examples: Count
    keep: float
    confounded: float
    box: str
    warnings: list[str]
    directions: list[Row]


def tasks(plan: Plan) -> list[Task]:
    """Declare the task screen, in each variant."""
    fields = plan.fields(
        "screening", "encode.batch_size", *natural.SPACE_FIELDS, "natra.epsilon_max"
    )
    if folds.is_file(plan.config):
        fields |= classifier.fields(plan) | plan.weights("screening.judge")
    elif folds.is_users_function(plan.config):
        fields |= plan.source("screening.judge")
    if is_file(plan.config.screening.choose):
        fields |= plan.content("screening.choose")
    judges = (task.name for task in folds.tasks(plan))
    depends_on = (data.NAME, shift.NAME, encode.NAME, directions.NAME, *judges)
    return plan.in_variants(NAME, run, fields, depends_on, (folds.check,), limits)


def limits(context: Context) -> Iterator[Finding]:
    """Yield what screening asks of the data's sizes."""
    yield from sizes.some(context, "train")


def run(context: Context, directory: epath.Path) -> None:
    """Write the chosen directions, and what was measured of all, into directory."""
    c, name = context.config.screening, directory.name
    found, codes = directions.load(context), encode.train_codes(context)
    labels = np.asarray(data.split(context, "train").label)
    judge = folds.load(context)
    drawn = np.random.default_rng(c.seed).permutation(data.covered(context, labels))
    index, size = np.sort(drawn[: c.examples]), context.config.encode.batch_size
    measured = screening.screen(
        *shift.load(context),
        encoder.lifted(context, found),
        codes,
        labels,
        judge,
        index=index,
        multiples=c.multiples,
        keep=c.keep,
        confounded=c.confounded,
        truncation=context.config.natra.truncation,
        seed=c.seed,
        batch_size=size,
    )
    rows, warnings = _rows(found, measured), list[str]()
    figures: Table = {
        "judge": c.judge,
        "codes": context.config.directions.codes,
        "examples": len(index),
        "keep": c.keep,
        "confounded": c.confounded,
        "box": "",
        "warnings": warnings,
        "directions": rows,
    }
    _write(directory, figures)  # for those who have to choose, should nothing be left
    limited = found._replace(useful=screening.limits(measured).astype(np.float32))
    taken = _choose(c, directory, limited, measured)
    saved.save(taken, directory)
    for row, vector in zip(rows, found.vectors, strict=True):
        row["chosen"] = any(np.array_equal(vector, other) for other in taken.vectors)
    context.log(
        f"{name}: {len(taken.names)} of {len(found.names)} directions to train on: "
        f"{_some(list(taken.names), 0)}"
    )
    record = Record(
        method=METHOD + context.variant,
        seed=0,
        split="train",
        metric="chosen",
        value=len(taken.names),
        n=len(found.names),
        low=None,
        high=None,
        fingerprint=context.fingerprints[name],
    )
    records = [record]
    if warning := _about_confounded(c, found, measured):
        warnings.append(warning)
    if judge is not None:
        radius = context.config.natra.epsilon_max
        kept = screening.box_kept(
            _space(context, taken),
            codes,
            judge,
            index=index,
            epsilon=radius,
            seed=c.seed,
            batch_size=size,
        )
        share, (low, high) = float(kept.mean()), wilson(int(kept.sum()), len(kept))
        box = record._replace(metric="box_kept", value=share, n=len(kept), low=low, high=high)
        records.append(box)
        text = (
            f"{share:.1%} of {len(kept)} random moves within radius {radius:g} keep the judge's "
            f"answer ({low:.1%} to {high:.1%})"
        )
        if against := _against_the_judge(rows):
            text += f"; that judge does not speak for {', '.join(against)}"
        elif share < c.keep:
            warnings.append(
                f"together, the chosen directions keep the answers of {share:.1%}, fewer than the "
                f"{c.keep:.0%} of screening.keep: choose fewer with screening.choose, or lower "
                "natra.epsilon_max"
            )
        figures["box"] = text
        context.log(f"{name}: {text}")
    for warning in warnings:
        context.log(f"{name}: warning: {warning}")
    _write(directory, figures)
    write_records(directory / "records.jsonl", records)


def load(context: Context) -> Directions:
    """Load the chosen directions, of the codes that the encoder makes."""
    return encoder.lifted(context, chosen(context))


def chosen(context: Context) -> Directions:
    """Load the chosen directions, of the generator's own codes [L, D]."""
    return saved.load(context.workdir / context.task_name(NAME), context.fingerprints["generator"])


def table(context: Context) -> Table:
    """Read what was measured of every direction, screening.json.

    Raises UserError if it cannot be read, or is not of all directions and the same moves of each.
    """
    path, advice = context.workdir / context.task_name(NAME) / TABLE, "run the stage screen again"
    found = json_files.read(path, Table, advice)
    rows, names = found["directions"], directions.load(context).names
    if [row["number"] for row in rows] != list(range(len(names))) or not rows:
        raise UserError(f"{path}: directions has other ones than were found: {advice}")
    for row in rows:
        if (
            not row["moved"]
            or not row["moved"].keys() == row["kept"].keys() == rows[0]["moved"].keys()
        ):
            raise UserError(
                f"{path}: moved and kept of direction {row['number']} are not of the same moves as "
                f"those of the others: {advice}"
            )
    return found


def space(context: Context) -> attacks.Space:
    """Return the Space of natural variation that natra trains and latent_accuracy attacks in."""
    return _space(context, chosen(context))


def _space(context: Context, own: Directions) -> attacks.Space:
    """Return the Space of some directions of the generator's own codes."""
    latent = Latent(*shift.load(context), encoder.lifted(context, own))
    return natural.space(context.config, latent)


def _against_the_judge(rows: list[Row]) -> list[str]:
    """Return the names of the chosen directions that the judge does not hold harmless."""
    return [r["name"] for r in rows if r["chosen"] and r["verdict"] != screening.KEPT]


def _choose(c: Config, directory: epath.Path, found: Directions, measured: Screening) -> Directions:
    """Return the directions that screening.choose names, or those that are proposed.

    Raises UserError where there are none.
    """
    if c.choose:
        try:
            return select(found, c.choose)
        except UserError as error:
            raise UserError(f"config field screening.choose: {error}") from error
    proposed = screening.proposal(measured)
    if not len(proposed):
        by_verdict: dict[str, list[str]] = {}
        for name, verdict in zip(found.names, measured.verdicts, strict=True):
            by_verdict.setdefault(verdict, []).append(name)
        verdicts = "; ".join(
            f"{verdict}: {_some(names, len(found.names))}" for verdict, names in by_verdict.items()
        )
        raise UserError(
            f"screening leaves no direction to train on ({verdicts}; figures in "
            f"{directory / TABLE}): name in screening.choose those that, as you know, do not "
            "change the label, or set screening.judge=none to take all"
        )
    return select(found, ",".join(map(str, proposed)))


def _about_confounded(c: Config, found: Directions, measured: Screening) -> str:
    """Return a warning of directions that predict the label, which a user has to decide about.

    It is '' where there are none, and where it is decided.
    """
    flags = zip(found.names, measured.confounded, strict=True)
    suspects = [name for name, confounded in flags if confounded]
    if not suspects or c.choose:
        return ""
    reason = (
        f"labels can be predicted along {_some(suspects, len(found.names))} (confounded): either "
        "these change the label, or the training labels happen to be tied to what they change, and "
        "no judge trained on such labels can tell"
    )
    if screening.UNJUDGED in measured.verdicts:
        return (
            f"{reason}. They are trained on, as screening.judge is none: if some do change the "
            "label, choose the others in screening.choose"
        )
    return (
        f"{reason}. They are left out: if you know that some do not change the label, name them in "
        "screening.choose"
    )


def _some(names: list[str], count: int) -> str:
    """Join the names, or some of many; `count` is the number of all directions."""
    if len(names) == count > 1:
        return f"all {count} directions"
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"


def _write(directory: epath.Path, table: Table) -> None:
    """Write screening.json."""
    (directory / TABLE).write_text(json.dumps(table, indent=2) + "\n")


def _rows(found: Directions, measured: Screening) -> list[Row]:
    """Return what was measured of each direction, as screening.json has it."""

    def by_multiple(values: np.ndarray) -> dict[str, float | None]:
        pairs = zip(measured.multiples, values, strict=True)
        return {f"{multiple:g}": _number(value) for multiple, value in pairs}

    return [
        {
            "number": k,
            "name": name,
            "range": saved.ranges_text(found.mask[k]),
            "sigma": float(found.sigma[k]),
            "kept": by_multiple(measured.kept[k]),
            "moved": by_multiple(measured.moved[k]),
            "predicts": _number(measured.predicts[k]),
            "confounded": bool(measured.confounded[k]),
            "useful": _number(measured.useful[k]),
            "verdict": measured.verdicts[k],
            "chosen": False,
        }
        for k, name in enumerate(found.names)
    ]


def _number(x: float) -> float | None:
    """Return x as JSON has it, None where it is not finite."""
    return float(x) if np.isfinite(x) else None
