"""Tables of differences to one method, paired by seed and example, corrected for their number.

    table = build_differences(records, ["original", "random", "natra"], "natra", answers)
    table.cells[1][0]  # Cell(value=-0.163, low=-0.243, high=-0.083, seeds=3, p=0.009, differs=True)

`natra_jax.evaluation.comparisons` has the statistics. What may be said follows from the pairs: over
several seeds, of runs like these; over the examples of one seed, of images like these and of that
training alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from natra_jax.evaluation.comparisons import Comparison, compare, holm
from natra_jax.evaluation.records import Answers
from natra_jax.report.tables import Cell, Column, Measured, Table, by_seed, columns_of, place_of
from natra_jax.types import Record

NO_ANSWERS: Answers = {}


def build_differences(
    records: Iterable[Record],
    methods: Sequence[str],
    baseline: str = "original",
    answers: Answers = NO_ANSWERS,
    unit: str = "seed",
) -> Table:
    """Build the table of each method's difference to the baseline, over the seeds that both have.

    Args:
        records: what was measured.
        methods: the rows, in this order, but for the baseline.
        baseline: the method that is subtracted.
        answers: which examples are right; without them one seed has no interval.
        unit: what a record's seed counts, as the note calls it: 'seed' or 'run'.

    Returns:
        The table, with the columns of `build` but for the error reductions. All its cells are
        corrected together (Holm).

    Raises:
        ValueError: records contradict each other.
    """
    measured = by_seed(records, (*methods, baseline))
    others = tuple(method for method in methods if method != baseline)
    columns = sorted(
        (c for c in columns_of(measured) if (baseline, c.split, c.metric) in measured),
        key=place_of,
    )
    found = {
        (i, j): comparison
        for i, method in enumerate(others)
        for j, column in enumerate(columns)
        if (comparison := _compared(measured, answers, method, baseline, column)) is not None
    }
    adjusted = dict(zip(found, holm(list(found.values())), strict=True))
    cells = tuple(
        tuple(_cell(adjusted.get((i, j))) for j in range(len(columns))) for i in range(len(others))
    )
    note = _note([*adjusted.values()], baseline, unit)
    return Table(others, tuple(map(difference_column, columns)), cells, baseline, note)


def difference_column(column: Column) -> Column:
    """Return the column that holds differences of this column's values."""
    unit = "points" if column.unit == "%" else ""
    # no difference is marked as the best: even the best of several methods may have lost
    return column._replace(unit=unit, signed=True, better=0)


def paired_difference(
    records: Iterable[Record],
    method: str,
    baseline: str,
    split: str,
    metric: str,
    answers: Answers = NO_ANSWERS,
) -> Cell | None:
    """Return the mean of method minus baseline over the seeds that both have.

    Args:
        records: what was measured.
        method: the method to compare.
        baseline: the method to compare it with.
        split: the split of both.
        metric: the metric of both.
        answers: which examples are right; without them one seed has no interval.

    Returns:
        The mean difference with its 95 % interval and its p value, for this one comparison; None if
        they share no seed.
    """
    measured = by_seed(records, (method, baseline))
    column = Column(metric, split, "", False, 0, (0, 0))
    return _cell(_compared(measured, answers, method, baseline, column))


def _compared(
    measured: Measured, answers: Answers, method: str, baseline: str, column: Column
) -> Comparison | None:
    """Compare over the shared seeds; None without one."""
    split, metric = column.split, column.metric
    own = measured.get((method, split, metric), {})
    reference = measured.get((baseline, split, metric), {})
    if not (seeds := [seed for seed in own if seed in reference]):
        return None
    right = [answers.get((name, seeds[0], split, metric)) for name in (method, baseline)]
    values, references = ([of[seed].value for seed in seeds] for of in (own, reference))
    return compare(values, references, *right)


def _cell(found: Comparison | None) -> Cell | None:
    if found is None:
        return None
    return Cell(found.value, found.low, found.high, found.runs, found.p, found.differs)


def _note(compared: Sequence[Comparison], baseline: str, unit: str) -> str:
    """Say how the cells are paired, what they speak of, and how many there are."""
    tested = [c for c in compared if c.p is not None]
    several = sorted({c.runs for c in compared if c.runs > 1})
    sentences = [f"Each method minus {baseline}."]
    if several:
        counts = f"{several[0]}" if len(several) == 1 else f"{several[0]} to {several[-1]}"
        sentences.append(
            f"Mean over {counts} {unit}s, paired by {unit} (Student's t): it speaks of runs like "
            "these, on these images."
        )
    if singles := [c for c in compared if c.runs == 1]:
        mark = "† " if several else ""
        paired = (
            ", paired by image (McNemar's exact test, Tango's interval): it speaks of this one "
            "training of each method, on images like these."
            if any(c.discordant for c in singles)
            else ": how much of a difference is chance is not known."
        )
        sentences.append(f"{mark}One {unit}{paired}")
    if tested:
        count = f"the {len(tested)} comparisons" if len(tested) > 1 else "one comparison"
        sentences.append(
            f"p values and the levels of intervals are Holm's for {count} of this table. "
            "* marks p below 0.05 with an interval that leaves out 0."
        )
    return " ".join(sentences)
