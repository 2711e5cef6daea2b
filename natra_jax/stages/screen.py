"""Stage screen: which of the directions are trained on, and how far along each.

What edits do to labels is measured for every direction found; those that keep a judge's answers and do not predict the label are
proposed, and screening.choose overrides the proposal. Labels and images of the train split are all that is read.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from etils import epath

from natra_jax import attacks
from natra_jax.evaluation.intervals import wilson
from natra_jax.evaluation.records import write_records
from natra_jax.latents import saved, screening
from natra_jax.latents.choose import is_file, select
from natra_jax.latents.screening import Screening
from natra_jax.methods import Latent, natra
from natra_jax.stages import classifier, data, directions, encode, encoder, folds, shift
from natra_jax.stages.context import Context
from natra_jax.stages.task import Plan, Task
from natra_jax.types import Directions, Record, UserError

NAME, METHOD = "screen", "screening"  # of the piece, and in records
TABLE = "screening.json"  # what was measured of every direction, for people and the report
SPACE_FIELDS = ("natra.truncation", "natra.norm", "natra.units")  # that `space` reads
_SHOWN = 8  # names in a line


def tasks(plan: Plan) -> list[Task]:
    """Declare the task screen, in each variant."""
    fields = plan.fields("screening", "encode.batch_size", *SPACE_FIELDS, "natra.epsilon_max")
    if folds.is_file(plan.config):
        fields |= classifier.fields(plan) | plan.content("screening.judge")
    if is_file(plan.config.screening.choose):
        fields |= plan.content("screening.choose")
    judges = (task.name for task in folds.tasks(plan))
    depends_on = (data.NAME, shift.NAME, encode.NAME, directions.NAME, *judges)
    return plan.in_variants(NAME, run, fields, depends_on, folds.check)


def run(context: Context, directory: epath.Path) -> None:
    """Write the chosen directions, and what was measured of all, into directory."""
    c, name = context.config.screening, directory.name
    found, codes, labels = (
        directions.load(context),
        encode.train_codes(context),
        np.asarray(data.split(context, "train").label),
    )
    judge = folds.load(context)
    index = np.sort(
        np.random.default_rng(c.seed).permutation(data.covered(context, labels))[: c.examples]
    )
    settings = {"index": index, "seed": c.seed, "batch_size": context.config.encode.batch_size}
    measured = screening.screen(
        *shift.load(context), encoder.lifted(context, found), codes, labels, judge, multiples=c.multiples, keep=c.keep,
        confounded=c.confounded, truncation=context.config.natra.truncation, **settings,
    )  # fmt: skip
    about = {
        "judge": c.judge,
        "codes": context.config.directions.codes,
        "examples": len(index),
        "keep": c.keep,
    }
    about |= {"confounded": c.confounded, "box": "", "warnings": []}
    about["directions"] = _rows(found, measured)
    _write(directory, about)  # for those who have to choose, should nothing be left
    taken = _choose(
        c, directory, found._replace(useful=screening.limits(measured).astype(np.float32)), measured
    )
    saved.save(taken, directory)
    for row, vector in zip(about["directions"], found.vectors, strict=True):
        row["chosen"] = any(np.array_equal(vector, other) for other in taken.vectors)
    context.log(
        f"{name}: {len(taken.names)} of {len(found.names)} directions to train on: {_some(list(taken.names), 0)}"
    )
    fingerprint = context.fingerprints[name]
    records = [
        Record(
            METHOD + context.variant,
            0,
            "train",
            "chosen",
            len(taken.names),
            len(found.names),
            None,
            None,
            fingerprint,
        )
    ]
    if warning := _about_confounded(c, found, measured):
        about["warnings"].append(warning)
    if judge is not None:
        radius = context.config.natra.epsilon_max
        kept = screening.box_kept(_space(context, taken), codes, judge, epsilon=radius, **settings)
        share, (low, high) = float(kept.mean()), wilson(int(kept.sum()), len(kept))
        records.append(
            Record(
                METHOD + context.variant,
                0,
                "train",
                "box_kept",
                share,
                len(kept),
                low,
                high,
                fingerprint,
            )
        )
        box = f"{share:.1%} of {len(kept)} random moves within radius {radius:g} keep the judge's answer ({low:.1%} to {high:.1%})"
        against = [
            row["name"]
            for row in about["directions"]
            if row["chosen"] and row["verdict"] != screening.KEPT
        ]
        if against:
            box += f"; that judge does not speak for {', '.join(against)}"
        elif share < c.keep:
            about["warnings"].append(
                f"together, the chosen directions keep the answers of {share:.1%}, fewer than the {c.keep:.0%} of screening.keep: choose "
                "fewer with screening.choose, or lower natra.epsilon_max"
            )
        about["box"] = box
        context.log(f"{name}: {box}")
    for warning in about["warnings"]:
        context.log(f"{name}: warning: {warning}")
    _write(directory, about)
    write_records(directory / "records.jsonl", records)


def load(context: Context) -> Directions:
    """The chosen directions, of the codes that the encoder makes."""
    return encoder.lifted(context, chosen(context))


def chosen(context: Context) -> Directions:
    """The chosen directions, of the generator's own codes."""
    return saved.load(context.workdir / context.task_name(NAME), context.fingerprints["generator"])


def table(context: Context) -> dict[str, Any]:
    """What was measured of every direction: screening.json."""
    return json.loads((context.workdir / context.task_name(NAME) / TABLE).read_text())


def space(context: Context) -> attacks.Space:
    """The space of natural variation that natra trains on and latent_accuracy attacks in."""
    return _space(context, chosen(context))


def _space(context: Context, along: Directions) -> attacks.Space:
    return natra.space(context.config, Latent(*shift.load(context), encoder.lifted(context, along)))


def _choose(c, directory: epath.Path, found: Directions, measured: Screening) -> Directions:
    """What screening.choose names, or what is proposed. Raises UserError where that is nothing."""
    if c.choose:
        try:
            return select(found, c.choose)
        except UserError as error:
            raise UserError(f"config field screening.choose: {error}") from error
    proposed = screening.proposal(measured)
    if not len(proposed):
        by_verdict = {
            v: [name for name, own in zip(found.names, measured.verdicts, strict=True) if own == v]
            for v in measured.verdicts
        }
        verdicts = "; ".join(
            f"{verdict}: {_some(names, len(found.names))}" for verdict, names in by_verdict.items()
        )
        raise UserError(
            f"screening leaves no direction to train on ({verdicts}; figures in {directory / TABLE}): name in screening.choose those that, "
            "as you know, do not change the label, or set screening.judge=none to take all"
        )
    return select(found, ",".join(map(str, proposed)))


def _about_confounded(c, found: Directions, measured: Screening) -> str:
    """What a user has to decide about directions that predict the label; '' where there are none, or where it is decided."""
    suspects = [
        name for name, suspect in zip(found.names, measured.confounded, strict=True) if suspect
    ]
    if not suspects or c.choose:
        return ""
    said = (
        f"labels can be predicted along {_some(suspects, len(found.names))} (confounded): either these change the label, or the training "
        "labels happen to be tied to what they change, and no judge trained on such labels can tell"
    )
    if screening.UNJUDGED in measured.verdicts:
        return f"{said}. They are trained on, as screening.judge is none: if some do change the label, choose the others in screening.choose"
    return f"{said}. They are left out: if you know that some do not change the label, name them in screening.choose"


def _some(names: list[str], count: int) -> str:
    """The names, but not many, of `count` that there are."""
    if len(names) == count > 1:
        return f"all {count} directions"
    return ", ".join(names[:_SHOWN]) + (
        f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    )


def _write(directory: epath.Path, table: dict[str, Any]) -> None:
    (directory / TABLE).write_text(json.dumps(table, indent=2) + "\n")


def _rows(found: Directions, measured: Screening) -> list[dict[str, Any]]:
    def number(x: float) -> float | None:
        return float(x) if np.isfinite(x) else None

    return [
        {
            "number": k,
            "name": found.names[k],
            "range": saved.ranges_text(found.mask[k]),
            "sigma": float(found.sigma[k]),
            "kept": {
                f"{m:g}": number(x)
                for m, x in zip(measured.multiples, measured.kept[k], strict=True)
            },
            "moved": {
                f"{m:g}": number(x)
                for m, x in zip(measured.multiples, measured.moved[k], strict=True)
            },
            "predicts": number(measured.predicts[k]),
            "confounded": bool(measured.confounded[k]),
            "useful": number(measured.useful[k]),
            "verdict": measured.verdicts[k],
            "chosen": False,
        }
        for k in range(len(found.names))
    ]
