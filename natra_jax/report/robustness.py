"""The sections on robustness: several attacks, signs of masked gradients, common corruptions.

    sections = robustness_sections(records, methods=["original", "natra"], baseline="original")

They are made from the records of a thorough evaluation (config field eval.thorough). There are no
sections where there was none.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from natra_jax.evaluation.corruptions import NOT_COMPARABLE, mean_corruption_error
from natra_jax.report.page import Section
from natra_jax.report.tables import Plain, build
from natra_jax.types import Record

_CORRUPTION, _WORST = "corruption_", "_worst"
_SIGNS = ("random_only", "zero_gradient", "not_rising")
_MCE = "mean_corruption_error"


def is_robustness_metric(metric: str) -> bool:
    """Tell whether a metric belongs to these sections, and not into the table of results."""
    return metric.startswith(_CORRUPTION) or metric.endswith(
        (_WORST, *(f"_{sign}" for sign in _SIGNS))
    )


def robustness_sections(
    records: Sequence[Record], methods: Sequence[str], baseline: str
) -> list[Section]:
    """Build the sections: worst cases, signs of masked gradients, common corruptions.

    Args:
        records: what was measured; other metrics are not looked at.
        methods: the rows, in this order; those without records are left out.
        baseline: the method that mean corruption errors are relative to.

    Returns:
        The three sections; none if nothing was measured.
    """
    found = [r for r in records if is_robustness_metric(r.metric)]
    measured = {r.method for r in found}
    rows = [m for m in methods if m in measured]
    if not rows:
        return []
    return [_worst(found, rows, baseline), _signs(found, rows), _corruptions(found, rows, baseline)]


def _worst(records: Sequence[Record], rows: Sequence[str], baseline: str) -> Section:
    text = [
        "The share of test images that are still classified correctly under every one of several "
        "attacks: in the training directions (latent_worst), along directions outside of them "
        "(latent_other_worst), and in pixels (pixel_worst). Each is the union of gradient attacks "
        "on different losses, with restarts, and of random search."
    ]
    worst = [r for r in records if r.metric.endswith(_WORST)]
    return Section("Worst cases", text, build(worst, rows, baseline, reductions=()))


def _signs(records: Sequence[Record], rows: Sequence[str]) -> Section:
    attacks = [r.metric.removesuffix(_WORST) for r in records if r.metric.endswith(_WORST)]
    metrics = [f"{attack}_{sign}" for attack in dict.fromkeys(attacks) for sign in _SIGNS]
    table = Plain(
        ("method", *metrics),
        tuple((m, *(_mean(records, m, metric) for metric in metrics)) for m in rows),
        "Means over the seeds.",
    )
    text = [
        "Signs that a figure above should not be trusted, because gradients are masked: examples "
        "that random search breaks and the gradient attacks do not (random_only, a share), "
        "examples with a gradient of exactly zero at the start (zero_gradient, a share), and runs "
        "in which a larger radius did not raise the mean loss (not_rising). All should be 0, or "
        "close to it."
    ]
    return Section("Can the figures be trusted?", text, table)


def _mean(
    records: Sequence[Record], method: str, metric: str, scale: int = 1, decimals: int = 3
) -> str:
    values = [r.value for r in records if (r.method, r.metric) == (method, metric)]
    return f"{scale * fmean(values):.{decimals}f}" if values else "-"


def _corruptions(records: Sequence[Record], rows: Sequence[str], baseline: str) -> Section:
    corrupted = [r for r in records if r.metric.startswith(_CORRUPTION)]
    names = list(dict.fromkeys(r.metric for r in corrupted))
    errors: dict[tuple[str, int], dict[tuple[str, int], float]] = {}
    for r in corrupted:
        errors.setdefault((r.method, r.seed), {})[r.metric, 0] = 1 - r.value
    relative: dict[str, list[float]] = {}
    for (method, seed), own in errors.items():
        # where the baseline makes no error, a ratio to it says nothing
        reference = {
            place: error for place, error in errors.get((baseline, seed), {}).items() if error > 0
        }
        if reference:
            relative.setdefault(method, []).append(
                mean_corruption_error({place: own[place] for place in reference}, reference)
            )
    text = [
        "Accuracy on the test images under common corruptions, mean over five severities and the "
        f"seeds, and the mean corruption error relative to {baseline} over the corruptions that it "
        f"errs under (its own is 100). {', '.join(NOT_COMPARABLE)}: made by a procedure of ours, "
        "not comparable with published figures."
    ]
    body = [
        (name.removeprefix(_CORRUPTION), *(_mean(corrupted, m, name, 100, 1) for m in rows))
        for name in names
    ]
    last = (_MCE, *(f"{fmean(relative[m]):.1f}" if m in relative else "-" for m in rows))
    return Section("Common corruptions", text, Plain(("corruption", *rows), (*body, last)))
