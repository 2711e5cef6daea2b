"""The sections on robustness: the records that they show, and mean corruption errors by hand."""

import pytest

from natra_jax.report import is_robustness_metric, robustness_sections
from natra_jax.types import Record


def record(method, metric, value, seed=0):
    return Record(method, seed, "test_iid", metric, value, 100, 0.0, 1.0, "")


def records(accuracies):
    """{(method, seed): (snow, fog)} as records, with a worst case and its signs for each."""
    made = []
    for (method, seed), (snow, fog) in accuracies.items():
        made += [
            record(method, "corruption_snow", snow, seed),
            record(method, "corruption_fog", fog, seed),
        ]
        made.append(record(method, "latent_worst", snow / 2, seed))
        made += [
            record(method, f"latent_{sign}", fog / 10, seed)
            for sign in ("random_only", "zero_gradient", "not_rising")
        ]
    return made


def test_records_of_a_usual_evaluation_make_no_section():
    usual = [
        record("natra", metric, 0.5)
        for metric in ("accuracy", "worst16", "latent_accuracy", "latent_label_kept")
    ]
    assert not any(is_robustness_metric(r.metric) for r in usual)
    assert robustness_sections(usual, ["natra"], "natra") == []


def test_every_record_of_a_thorough_one_is_shown_and_methods_without_are_not():
    made = records({("plain", 0): (0.8, 0.5), ("natra", 0): (0.9, 0.9)})
    assert all(is_robustness_metric(r.metric) for r in made)
    worst, signs, corruptions = robustness_sections(made, ["plain", "missing", "natra"], "plain")
    assert worst.table.methods == ("plain", "natra")
    assert [cells[0].value for cells in worst.table.cells] == [0.4, 0.45]
    assert [row[0] for row in signs.table.rows] == ["plain", "natra"]
    assert signs.table.rows[1][1:] == ("0.090",) * 3
    assert corruptions.table.header == ("corruption", "plain", "natra")
    assert corruptions.table.rows[:2] == (("snow", "80.0", "90.0"), ("fog", "50.0", "90.0"))


@pytest.mark.parametrize(
    ("plain", "natra", "expected"),
    [
        ([(0.8, 0.5)], [(0.9, 0.9)], "35.0"),  # the mean of .1 / .2 and .1 / .5
        ([(1.0, 0.5)], [(0.9, 0.9)], "20.0"),  # nothing is relative to no error
        ([(1.0, 1.0)], [(0.9, 0.9)], "-"),
        ([(0.8, 0.5), (0.6, 0.9)], [(0.9, 0.9), (0.8, 0.8)], "80.0"),  # 35 and 125, seed by seed
    ],
)
def test_corruption_errors_are_relative_to_the_baselines_seed_by_seed(plain, natra, expected):
    made = records(
        {("plain", i): a for i, a in enumerate(plain)}
        | {("natra", i): a for i, a in enumerate(natra)}
    )
    last = robustness_sections(made, ["plain", "natra"], "plain")[2].table.rows[-1]
    assert last == ("mean_corruption_error", "-" if expected == "-" else "100.0", expected)
