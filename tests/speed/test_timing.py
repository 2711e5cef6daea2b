"""The clock of speed: medians of alternated runs, or what a candidate has measured of itself."""

import time

import pytest

from natra_jax.speed.timing import Seconds, measure


def test_candidates_are_called_in_turn_and_timed_or_taken_at_their_word():
    called, own = [], iter([9.0, 1.0, 5.0, 2.0])

    def slow():
        called.append("slow")
        time.sleep(0.02)

    def itself():
        called.append("itself")
        return Seconds(next(own))

    seconds = measure({"slow": slow, "itself": itself}, rounds=3)
    assert called == ["slow", "itself"] * 4, "once before it counts"
    assert (
        seconds["itself"] == 2.0
        and seconds["slow"] == pytest.approx(0.02, abs=0.02)
        and seconds["slow"] >= 0.02
    )
