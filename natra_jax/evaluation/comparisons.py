"""Comparisons of two classifiers, paired by run and by example, and of many at once.

    compare([0.927, 0.931, 0.919], [0.817, 0.809, 0.835])  # several runs: Student's t over them
    compare([0.9], [0.8], right, reference_right)  # one run: McNemar's test over its examples

    tested = [compare(...), compare(...), compare(...)]
    holm(tested)  # the same, corrected for being three

With several runs the pairs are runs, and what is said holds of runs like these on the same images.
With one run the pairs are examples, and it holds of images like these and of that run alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist, fmean, stdev
from typing import Any, NamedTuple

import numpy as np
from scipy import optimize, special, stats

from natra_jax.evaluation.intervals import t_interval

CONFIDENCE = 0.95


class Comparison(NamedTuple):
    """A mean difference over runs, and how far chance explains it."""

    value: float
    low: float | None  # of its interval; None: not known
    high: float | None
    runs: int
    p: float | None = None  # two-sided; adjusted where `holm` made it; None: not known
    differs: bool = False  # p and interval both leave out 0, at the level of the interval
    differences: tuple[float, ...] = ()  # of the runs
    discordant: tuple[int, int, int] | None = None
    """With one run, examples that it alone gets right, that the reference alone does, and all."""


def compare(
    values: Sequence[float],
    references: Sequence[float],
    right: np.ndarray | None = None,
    reference_right: np.ndarray | None = None,
) -> Comparison:
    """Compare a method with a reference over the runs that both have.

    Args:
        values: the method's figure in each run.
        references: the reference's, in the same order.
        right: with one run, which examples the method gets right, bool [N].
        reference_right: the reference's.

    Returns:
        The mean of value minus reference, with its 95 % interval. Neither that nor p is known where
        one run has no answers by example, or where several runs differ by exactly the same, whose
        spread says nothing.
    """
    differences = tuple(v - r for v, r in zip(values, references, strict=True))
    discordant = None
    if len(differences) == 1 and right is not None and reference_right is not None:
        own, other = int((right & ~reference_right).sum()), int((reference_right & ~right).sum())
        discordant = (own, other, len(right))
    found = Comparison(
        fmean(differences),
        None,
        None,
        len(differences),
        differences=differences,
        discordant=discordant,
    )
    found = found._replace(p=_p(found))
    return _at(found, found.p, CONFIDENCE)


def holm(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Adjust comparisons that are made at once (Holm 1979).

    The chance that any of them is said to differ and does not is at most 5 %. Those without a p
    value are no tests and stay as they are. The interval of the i-th smallest of m p values has the
    level that Holm tests it at, 1 - 0.05 / (m - i + 1), as long as it differs; all others have that
    of the first which does not (Serlin 1993, "Confidence intervals and the scientific method"). So
    an interval over runs leaves out 0 exactly where its adjusted p value is below 0.05. The
    intervals need not hold all at once, which would take 1 - 0.05 / m for each.

    Returns:
        The comparisons in their order, with adjusted p values and intervals of these levels.
    """
    tested = [i for i, comparison in enumerate(comparisons) if comparison.p is not None]
    adjusted = list(comparisons)
    raw = [float(comparisons[i].p or 0.0) for i in tested]
    p_values, alpha = holm_adjusted(raw), 1 - CONFIDENCE
    rejected = sum(p < alpha for p in p_values)
    ranks = np.argsort(np.argsort(raw, kind="stable"), kind="stable")
    for i, p, rank in zip(tested, p_values, ranks, strict=True):
        level = 1 - alpha / (len(tested) - min(int(rank), rejected, len(tested) - 1))
        adjusted[i] = _at(comparisons[i], p, level)
    return adjusted


def holm_adjusted(p_values: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p values: each times the number not smaller, made monotone."""
    order = np.argsort(p_values, kind="stable")
    scaled = np.asarray(p_values, float)[order] * np.arange(len(order), 0, -1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return adjusted.tolist()


def mcnemar(own: int, other: int) -> float:
    """Compute the two-sided p value of McNemar's exact test.

    Args:
        own: examples that the method alone gets right.
        other: examples that the reference alone gets right.
    """
    return float(stats.binomtest(own, own + other).pvalue) if own + other else 1.0


def paired_interval(
    own: int, other: int, n: int, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Compute Tango's score interval for the difference of two shares of the same examples.

    It holds the differences that a score test does not reject; of 0 that is McNemar's test (Tango
    1998, Statistics in Medicine 17, 891-908).

    Args:
        own: examples that the method alone gets right.
        other: examples that the reference alone gets right.
        n: all examples.
        confidence: of the interval.

    Returns:
        (low, high), within [-1, 1].

    Raises:
        ValueError: the counts are no part of n examples.
    """
    if own < 0 or other < 0 or n <= 0 or own + other > n:
        raise ValueError(f"paired_interval: {own} and {other} of {n} examples")
    z, estimate = NormalDist().inv_cdf(0.5 + confidence / 2), (own - other) / n

    def score(difference: float) -> float:
        """Return the squared distance from the difference, less that of the interval's end."""
        if difference == estimate:  # where the variance may be 0, and so both
            return -1.0
        a, c = 2 * n, -other * difference * (1 - difference)
        b = -own - other + (2 * n - own + other) * difference
        q = (math.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
        variance = n * (2 * q + difference * (1 - difference))
        return (own - other - n * difference) ** 2 - z * z * max(variance, 0.0)

    def end(limit: float) -> float:
        if estimate == limit:
            return limit
        root: Any = optimize.brentq(score, estimate, limit)  # its declared type is a union
        return float(root)

    return end(-1.0), end(1.0)


def _p(comparison: Comparison) -> float | None:
    if comparison.discordant is not None:
        return mcnemar(*comparison.discordant[:2])
    if (spread := _spread(comparison.differences)) is None:
        return None
    count = len(comparison.differences)
    t = abs(comparison.value) / (spread / math.sqrt(count))
    return float(2 * special.stdtr(count - 1, -t))


def _spread(differences: Sequence[float]) -> float | None:
    """Return the standard deviation; None where it says nothing."""
    if len(differences) < 2 or not all(map(math.isfinite, differences)):
        return None
    spread = stdev(differences)
    return spread if spread > 1e-12 * max(map(abs, differences), default=0.0) else None


def _at(comparison: Comparison, p: float | None, confidence: float) -> Comparison:
    """Return the comparison with that p value, and with its interval at that level."""
    low = high = None
    if comparison.discordant is not None:
        low, high = paired_interval(*comparison.discordant, confidence)
    elif _spread(comparison.differences) is not None:
        low, high = t_interval(comparison.differences, confidence) or (None, None)
    outside = low is not None and high is not None and (low > 0 or high < 0)
    differs = p is not None and p < 1 - CONFIDENCE and outside
    return comparison._replace(low=low, high=high, p=p, differs=differs)
