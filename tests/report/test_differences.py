"""Tables of differences: paired by example or by seed, corrected together, in words that follow."""

import numpy as np
import pytest

from natra_jax.evaluation.comparisons import holm_adjusted, mcnemar, paired_interval
from natra_jax.report import (
    Section,
    build_differences,
    compare,
    find,
    render_html,
    to_markdown,
    to_text,
)
from natra_jax.types import Record

N = 400


def classifiers(right, seed=0):
    """Return records and answers of methods, each right on the first so many examples."""
    records, answers = [], {}
    for (method, metric), count in right.items():
        records.append(Record(method, seed, "test_shift", metric, count / N, N, None, None, ""))
        answers[method, seed, "test_shift", metric] = np.arange(N) < count
    return records, answers


RIGHT = {
    ("natra", "accuracy"): 390,
    ("natra", "worst16"): 300,
    ("random", "accuracy"): 383,
    ("random", "worst16"): 290,
    ("corner", "accuracy"): 390,
    ("corner", "worst16"): 303,
}


def test_one_seed_is_paired_by_example_and_corrected_over_the_table():
    records, answers = classifiers(RIGHT)
    table = build_differences(records, ["random", "natra", "corner"], "natra", answers)
    assert table.methods == ("random", "corner")
    cells = [cell for row in table.cells for cell in row]
    counts = [(0, 7), (0, 10), (0, 0), (3, 0)]
    expected = holm_adjusted([mcnemar(*pair) for pair in counts])
    assert [cell.p for cell in cells] == pytest.approx(expected)
    assert [cell.differs for cell in cells] == [True, True, False, False]
    # of four p values the smallest is tested at 0.05 / 4, the next at 0.05 / 3, the others as one
    levels = [1 - 0.05 / m for m in (3, 4, 2, 2)]
    for cell, pair, level in zip(cells, counts, levels, strict=True):
        assert (cell.low, cell.high) == pytest.approx(paired_interval(*pair, N, level))
    assert "4 comparisons" in table.note and "this one training" in table.note
    assert "runs like these" not in table.note


def test_without_answers_one_seed_has_no_p_and_the_note_says_so():
    records, _ = classifiers(RIGHT)
    table = build_differences(records, ["random", "natra"], "natra")
    assert all(cell.p is None and cell.low is None for row in table.cells for cell in row)
    assert "is not known" in table.note and "Holm" not in table.note


def test_several_seeds_speak_of_runs_and_a_lone_one_is_marked():
    records, answers = classifiers(RIGHT)
    more, _ = classifiers({("natra", "accuracy"): 391, ("random", "accuracy"): 382}, seed=1)
    table = build_differences([*records, *more], ["random", "natra"], "natra", answers)
    assert [cell.seeds for cell in table.cells[0]] == [2, 1]
    assert "paired by seed" in table.note and "† One seed, paired by image" in table.note
    joined = build_differences([*records, *more], ["random", "natra"], "natra", unit="run")
    assert "paired by run" in joined.note and "† One run" in joined.note


def test_p_and_mark_are_printed_everywhere():
    records, answers = classifiers(RIGHT)
    table = build_differences(records, ["random", "natra", "corner"], "natra", answers)
    cell = find(table, "random", "test_shift", "worst16")
    assert (cell.value, cell.p, cell.differs) == ("-2.5", "p=0.008", True)
    assert "p=0.008*" in to_text(table) and r"p=0.008\*" in to_markdown(table)
    page = render_html("t", [Section("d", table=table)])
    assert "<sup>*</sup>" in page and "<small>p=0.008</small>" in page


def test_the_sentence_for_one_seed_speaks_of_its_training_and_of_images():
    records, answers = classifiers(RIGHT)
    sentence = compare(records, "natra", "random", "test_shift", "worst16", answers)
    assert sentence.endswith(
        "p=0.002, 400 images), distinguishable from none for this one training of each, on images "
        "like these."
    )
    alone = compare(records, "natra", "random", "test_shift", "worst16")
    assert alone.endswith("from one seed, so how much of it is chance is not known.")
