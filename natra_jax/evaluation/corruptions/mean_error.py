"""The mean corruption error: one number for a classifier's errors under all corruptions."""

from __future__ import annotations

import math
from collections.abc import Mapping

Errors = Mapping[tuple[str, int], float]  # (corruption, severity) -> share of wrong answers


def mean_corruption_error(errors: Errors, baseline: Errors) -> float:
    """Compute mCE in per cent (Hendrycks & Dietterich 2019, section 4.1).

    Below 100 is better than the baseline. For each corruption the sum of the errors over the
    severities is divided by the baseline's; the mean of these ratios counts. Where the baseline
    makes no error at all on a corruption, the ratio is 1 if `errors` has none either, else
    infinite: no finite number of times nothing is something.

    Raises:
        ValueError: they do not name the same conditions, or an error is not finite and from 0.
    """
    if not errors or errors.keys() != baseline.keys():
        raise ValueError(
            f"mean_corruption_error: conditions {_odd(errors, baseline)}, "
            "expected the same in both and at least one"
        )
    for argument, values in (("errors", errors), ("baseline", baseline)):
        for condition, value in values.items():
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(
                    f"mean_corruption_error: {argument}[{condition!r}] is {value}, "
                    "expected a finite number from 0"
                )
    ratios = []
    for name in dict.fromkeys(name for name, _ in errors):
        ours = math.fsum(value for condition, value in errors.items() if condition[0] == name)
        theirs = math.fsum(value for condition, value in baseline.items() if condition[0] == name)
        ratios.append(ours / theirs if theirs > 0 else 1.0 if ours == 0 else math.inf)
    return 100 * math.fsum(ratios) / len(ratios)


def _odd(errors: Errors, baseline: Errors) -> str:
    return (
        f"in one only: {sorted(errors.keys() ^ baseline.keys())[:3]}"
        if errors or baseline
        else "missing"
    )
