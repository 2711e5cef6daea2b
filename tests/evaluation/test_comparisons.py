"""Comparisons against SciPy, statsmodels, published intervals, and the sum over all tables."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.multitest import multipletests

from natra_jax.evaluation.comparisons import (
    Comparison,
    compare,
    holm,
    holm_adjusted,
    mcnemar,
    paired_interval,
)
from tests.helpers import few_examples

TABLES = st.integers(1, 300).flatmap(
    lambda n: st.tuples(st.integers(0, n), st.integers(0, n), st.just(n)).filter(
        lambda table: table[0] + table[1] <= table[2]
    )
)


def answers(own, other, n):
    """Return the answers of two classifiers with so many examples that one alone gets right."""
    right, reference = np.zeros((2, n), bool)
    right[:own], reference[own : own + other] = True, True
    right[own + other :: 2], reference[own + other :: 2] = True, True
    return right, reference


@few_examples
@given(TABLES)
def test_mcnemar_is_statsmodels_exact_test(table):
    own, other, n = table
    expected = statsmodels_mcnemar([[0, own], [other, n - own - other]], exact=True).pvalue
    assert mcnemar(own, other) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("count", [1, 2, 5, 12])
def test_adjusted_p_values_are_statsmodels(count):
    p_values = np.random.default_rng(count).choice([0.0, 0.004, 0.01, 0.01, 0.02, 0.3, 1.0], count)
    expected = multipletests(p_values, method="holm")[1]
    assert holm_adjusted(p_values.tolist()) == pytest.approx(list(expected), abs=1e-12)


def test_the_paired_interval_is_the_published_one():
    # airway reactivity of 21 children: Fagerland, Lydersen and Laake (2014), Statistics in
    # Medicine 33, table of intervals, "Tango asymptotic score"
    assert paired_interval(1, 7, 21) == pytest.approx((-0.517, -0.026), abs=5e-4)


def most_likely_score(own, other, n, difference):
    """Return Tango's statistic with the nuisance share found by maximising the likelihood."""

    def unlikely(share):  # of the examples that the reference alone gets right
        shares = share + difference, share, 1 - 2 * share - difference
        counts = own, other, n - own - other
        return -sum(c * math.log(max(s, 1e-300)) for c, s in zip(counts, shares, strict=True) if c)

    bounds = max(0.0, -difference), (1 - difference) / 2
    share = optimize.minimize_scalar(
        unlikely, bounds=bounds, method="bounded", options={"xatol": 1e-12}
    ).x
    variance = n * (2 * share + difference - difference**2)
    return (own - other - n * difference) / math.sqrt(variance)


@few_examples
@given(TABLES, st.sampled_from([0.9, 0.95, 0.995]))
def test_the_paired_interval_ends_where_a_score_test_turns(table, confidence):
    own, other, n = table
    low, high = paired_interval(own, other, n, confidence)
    z = stats.norm.ppf(0.5 + confidence / 2)
    assert -1 <= low <= (own - other) / n <= high <= 1
    for end, sign in ((low, 1), (high, -1)):
        if abs(end) < 1 - 1e-9:
            assert sign * most_likely_score(own, other, n, end) == pytest.approx(z, rel=1e-3)
    assert paired_interval(other, own, n, confidence) == pytest.approx((-high, -low), abs=1e-9)


@pytest.mark.parametrize("counts", [(-1, 0, 5), (3, 3, 5), (0, 0, 0)])
def test_counts_that_are_no_part_of_the_examples_are_an_error(counts):
    with pytest.raises(ValueError, match="paired_interval"):
        paired_interval(*counts)


@pytest.mark.parametrize("own, other", [(0.1, 0.1), (0.3, 0.05), (0.02, 0.01), (0.5, 0.2)])
def test_the_paired_interval_covers_the_difference(own, other, n=40):
    """Sum the probability of every table whose interval has the true difference in it."""
    covered = rejected = 0.0
    for a in range(n + 1):
        for b in range(n + 1 - a):
            weight = stats.multinomial.pmf([a, b, n - a - b], n, [own, other, 1 - own - other])
            if weight < 1e-7:
                continue
            low, high = paired_interval(a, b, n)
            covered += weight * (low <= own - other <= high)
            rejected += weight * (mcnemar(a, b) <= 0.05)
    assert covered > 0.93
    assert rejected <= 0.05 or own != other


def test_one_run_is_compared_by_its_examples_and_several_by_runs():
    right, reference = answers(12, 2, 100)
    one = compare([right.mean()], [reference.mean()], right, reference)
    assert one.value == pytest.approx(0.1) and one.differs
    assert one.p == stats.binomtest(12, 14).pvalue
    assert (one.low, one.high) == paired_interval(12, 2, 100)
    several = compare([0.7, 0.8, 0.75], [0.6, 0.75, 0.63], right, reference)
    test = stats.ttest_rel([0.7, 0.8, 0.75], [0.6, 0.75, 0.63])
    assert several.p == pytest.approx(test.pvalue) and several.runs == 3
    assert (several.low, several.high) == pytest.approx(tuple(test.confidence_interval()))


@pytest.mark.parametrize("pair", [([0.7], [0.5]), ([1.0, 1.0], [0.5, 0.5]), ([0.5] * 3, [0.5] * 3)])
def test_nothing_is_said_of_one_run_without_answers_or_of_runs_without_spread(pair):
    found = compare(*pair)
    assert (found.low, found.high, found.p, found.differs) == (None, None, None, False)
    (alone,) = holm([found])
    assert alone == found


def test_values_that_are_not_finite_are_not_compared():
    assert compare([math.nan, 0.5], [0.4, 0.3]).p is None


@few_examples
@given(st.lists(st.lists(st.floats(-1, 1), min_size=3, max_size=3), min_size=1, max_size=8))
def test_intervals_over_runs_leave_out_0_where_the_adjusted_p_is_below_5_per_cent(runs):
    compared = holm([compare(values, [0.0] * 3) for values in runs])
    raw = [compare(values, [0.0] * 3).p for values in runs]
    tested = [c for c in compared if c.p is not None]
    expected = holm_adjusted([p for p in raw if p is not None])
    assert [c.p for c in tested] == pytest.approx(expected)
    for c in tested:
        assert c.differs == (c.p < 0.05)
        if abs(c.p - 0.05) > 1e-9:
            assert (c.low > 0 or c.high < 0) == c.differs


def test_a_lone_comparison_is_left_at_95_per_cent_and_more_widen_it():
    one = compare([0.7, 0.8, 0.75], [0.6, 0.75, 0.63])
    assert holm([one])[0] == one
    first, second = holm([one, compare([0.5, 0.7, 0.1], [0.6, 0.2, 0.4])])
    assert first.low < one.low < one.high < first.high
    assert first.p == pytest.approx(2 * one.p) and second.value == pytest.approx(1 / 30)


def test_holm_marks_any_of_many_true_nulls_in_5_per_cent_of_tables():
    rng, tables = np.random.default_rng(0), 400
    wrong = 0
    for draws in rng.normal(size=(tables, 6, 4)):
        family: list[Comparison] = [compare(values, [0.0] * 4) for values in draws.tolist()]
        wrong += any(c.differs for c in holm(family))
    assert 0.02 < wrong / tables < 0.075
