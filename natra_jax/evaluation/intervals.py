"""95 % intervals for a number measured once, and for one measured with several seeds.

    wilson(81, 263)  # (0.2553, 0.3662): 81 of 263 images are right
    t_interval([0.74, 0.76, 0.77])  # (0.7187, 0.7946): the accuracies of three seeds

The first speaks of other images, the second of other runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist, fmean, stdev

from scipy import special


def wilson(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Compute Wilson's interval (low, high) for a probability, within [0, 1].

    It holds the probabilities that a score test on `successes` of `n` does not reject. Unlike mean
    ± 1.96 standard errors it stays inside [0, 1] and keeps its coverage near 0 and 1 (Wilson 1927).

    Raises:
        ValueError: not 0 <= successes <= n with n > 0.
    """
    if n <= 0 or not 0 <= successes <= n:
        raise ValueError(f"wilson: {successes} successes of {n} is no proportion")
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share, scale = successes / n, 1 + z * z / n
    center = (share + z * z / (2 * n)) / scale
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / scale
    # At the ends the bound is exactly 0 or 1; rounding would leave it 1e-17 off.
    return (0.0 if successes == 0 else center - half, 1.0 if successes == n else center + half)


def t_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float] | None:
    """Compute Student's interval (low, high) for the mean of independent values.

    None for fewer than two, NaN where one is not finite.
    """
    if len(values) < 2:
        return None
    if not all(map(math.isfinite, values)):
        return math.nan, math.nan
    quantile = float(special.stdtrit(len(values) - 1, 0.5 + confidence / 2))
    mean, half = fmean(values), quantile * stdev(values) / math.sqrt(len(values))
    return mean - half, mean + half
