"""A clock for functions that are measured side by side."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import jax


class Seconds(float):
    """A time that a candidate has measured of itself, in place of the time that it takes."""


def measure(candidates: Mapping[str, Callable[[], object]], rounds: int = 7) -> dict[str, float]:
    """Return the median seconds of each candidate.

    They are called in turn, round after round, so that whatever else the machine does meets all
    alike; the first call of each, which compiles, does not count.
    """
    for call in candidates.values():
        jax.block_until_ready(call())
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, call in candidates.items():
            start = time.perf_counter()
            value = jax.block_until_ready(call())
            seconds[name].append(
                value if isinstance(value, Seconds) else time.perf_counter() - start
            )
    return {name: statistics.median(s) for name, s in seconds.items()}
