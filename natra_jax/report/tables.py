"""Tables of records: a row for each method, a column for each (metric, split).

    table = build(records, methods=["original", "random", "natra"])
    table.cells[2][0]  # Cell(value=0.754, low=0.704, high=0.804, seeds=3)

A cell holds the mean over the seeds and its 95 % interval. With one seed the interval is the
record's own (Wilson, over the examples), with several it is Student's t over the seeds. Error
reductions are taken seed by seed before they are averaged, so that what two methods share (data,
initialisation) cancels; so are differences (`differences`). `printing` turns tables into strings.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from statistics import fmean
from typing import NamedTuple

from natra_jax.evaluation.intervals import t_interval
from natra_jax.types import Record


class Cell(NamedTuple):
    """A mean over seeds, with its interval."""

    value: float  # mean over the seeds
    low: float | None  # 95 % interval; None: not known
    high: float | None
    seeds: int
    p: float | None = None  # of a difference; None: of none, or not known
    differs: bool = False  # a difference that is told from none


class Column(NamedTuple):
    """A metric on a split, and how its numbers are printed."""

    metric: str
    split: str
    unit: str  # "%" or "points" (both print 100 times the value), or "" (prints the value)
    signed: bool  # differences and reductions: printed with their sign
    better: int  # 1: higher is better, -1: lower is, 0: neither or not known
    examples: tuple[int, int]  # fewest and most examples behind a cell


class Table(NamedTuple):
    """Cells by method and column."""

    methods: tuple[str, ...]  # rows
    columns: tuple[Column, ...]
    cells: tuple[tuple[Cell | None, ...], ...]  # [methods][columns]; None: not measured
    baseline: str
    note: str  # what the intervals are
    references: tuple[str, ...] = ()  # rows that do not compete for the best of a column


class Plain(NamedTuple):
    """A table of ready strings.

    The first column names the rows. A newline in the header starts a second line.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


class Metric(NamedTuple):
    """A metric whose meaning is known."""

    proportion: bool
    better: int  # as in Column
    meaning: str


# In the order of the columns; an N stands for any number. Other metrics appear after these.
METRICS = {
    "accuracy": Metric(True, 1, "share of the images classified correctly"),
    "worstN": Metric(
        True,
        1,
        "share of the images classified correctly under all of N random true renderings "
        "(no generator involved)",
    ),
    "latent_accuracy": Metric(
        True,
        1,
        "share still classified correctly after the strongest attack found along the directions",
    ),
    "latent_label_kept": Metric(
        True, 0, "share of the attacked images on which the independent judge still sees the label"
    ),
    "latent_worst": Metric(
        True,
        1,
        "share still classified correctly after each of several attacks along the directions",
    ),
    "latent_other_worst": Metric(
        True, 1, "the same along directions of the same layers that are orthogonal to these"
    ),
    "pixel_worst": Metric(
        True, 1, "share still classified correctly after each of several attacks in pixels"
    ),
    "label_kept": Metric(
        True, 1, "share of the varied images on which the independent judge still sees the label"
    ),
    "passes": Metric(
        False,
        0,
        "network passes of the whole training, for each training example; a backward pass counts "
        "as two",
    ),
    "reconstruction_error": Metric(
        False, -1, "mean squared error between image and reconstruction, images in [-1, 1]"
    ),
}
ERROR_REDUCTION = "error_reduction"  # the metric of columns derived from the accuracies
# These come first, then other test splits, then validation, then train.
SPLITS = ("test_iid", "test_shift")

Measured = dict[tuple[str, str, str], dict[int, Record]]
"""(method, split, metric) -> seed -> record"""


def build(
    records: Iterable[Record],
    methods: Sequence[str],
    baseline: str = "original",
    reductions: Sequence[str] | None = None,
    references: Sequence[str] = (),
    unit: str = "seed",
) -> Table:
    """Build the table of every metric of the methods on every split; none is left out.

    Args:
        records: what was measured; records of other methods are not looked at.
        methods: the rows, in this order.
        baseline: the method that error reductions are relative to.
        reductions: the splits whose relative error reduction gets a column of its own. It is
            (error of baseline - error) / error of baseline, with error = 1 - accuracy. None: the
            shifted test splits, or every test split where none is shifted.
        references: rows that bound what is possible and do not compete, such as a judge that was
            trained on more.
        unit: what a record's seed counts, as the note calls it: 'seed' or 'run'.

    Returns:
        The table, its columns in the order of METRICS and SPLITS.

    Raises:
        ValueError: records contradict each other.
    """
    measured = by_seed(records, (*methods, baseline))
    columns = columns_of({key: seeds for key, seeds in measured.items() if key[0] in methods})
    if reductions is None:
        reductions = _splits_to_reduce(columns) if set(methods) - {baseline} else ()
    columns += [
        Column(ERROR_REDUCTION, split, "%", True, 1, _examples(measured, split, "accuracy"))
        for split in reductions
        if (baseline, split, "accuracy") in measured
    ]
    columns.sort(key=place_of)

    def cell(method: str, column: Column) -> Cell | None:
        if column.metric == ERROR_REDUCTION and column.signed:
            reduction = _paired(
                measured, method, baseline, column.split, "accuracy", _error_reduction
            )
            if reduction and method == baseline:  # 0 by definition
                return reduction._replace(low=None, high=None)
            return reduction
        return _mean(measured.get((method, column.split, column.metric), {}))

    cells = tuple(tuple(cell(method, column) for column in columns) for method in methods)
    note = _note(cells, unit)
    return Table(tuple(methods), tuple(columns), cells, baseline, note, tuple(references))


def select(table: Table, keep: Callable[[Column], bool]) -> Table:
    """Return the table with only the columns for which `keep` is true.

    A figure of the columns that matter most is made of such a table, for example.
    """
    kept = [j for j, column in enumerate(table.columns) if keep(column)]
    return table._replace(
        columns=tuple(table.columns[j] for j in kept),
        cells=tuple(tuple(row[j] for j in kept) for row in table.cells),
    )


def glossary(table: Table) -> tuple[tuple[str, str], ...]:
    """Return (metric, its meaning) for the table's metrics whose meaning is known."""
    meanings = {name: metric.meaning for name, metric in METRICS.items()}
    meanings[ERROR_REDUCTION] = (
        f"(error of {table.baseline} - error) / error of {table.baseline}, "
        "with error = 1 - accuracy"
    )
    found = dict.fromkeys(_family(column.metric) for column in table.columns)
    return tuple((name, meanings[name]) for name in found if name in meanings)


# Columns


def by_seed(records: Iterable[Record], methods: Sequence[str]) -> Measured:
    """Sort the methods' records. Raise ValueError where two contradict each other."""
    measured: Measured = {}
    for record in records:
        if record.method not in methods:
            continue
        earlier = measured.setdefault((record.method, record.split, record.metric), {}).setdefault(
            record.seed, record
        )
        if str(earlier) != str(record):  # as strings, because a NaN does not equal itself
            place = f"{record.method}, seed {record.seed}, {record.metric} on {record.split}"
            raise ValueError(
                f"two different records for {place}: {earlier.value} and {record.value}"
            )
    return measured


def columns_of(measured: Measured) -> list[Column]:
    """Return a column for each metric on each split."""
    columns = []
    for split, metric in dict.fromkeys((split, metric) for _, split, metric in measured):
        # A Wilson interval belongs to a proportion, so a metric not known here that carries one is
        # printed in per cent.
        all_bounded = all(record.low is not None for record in _group(measured, split, metric))
        known = METRICS.get(_family(metric), Metric(all_bounded, 0, ""))
        columns.append(
            Column(
                metric,
                split,
                "%" if known.proportion else "",
                False,
                known.better,
                _examples(measured, split, metric),
            )
        )
    return columns


def _group(measured: Measured, split: str, metric: str) -> list[Record]:
    return [
        record
        for key, seeds in measured.items()
        if key[1:] == (split, metric)
        for record in seeds.values()
    ]


def _examples(measured: Measured, split: str, metric: str) -> tuple[int, int]:
    counts = [record.n for record in _group(measured, split, metric)]
    return min(counts), max(counts)


def _family(metric: str) -> str:
    """Return the name in METRICS: worst16 -> worstN; one listed under its own name keeps it."""
    return metric if metric in METRICS else re.sub(r"\d+$", "N", metric)


def place_of(column: Column) -> tuple[int, int, str, int, str]:
    """Return a column's key for sorting.

    Tested metrics come first, then error reductions, then the same metrics on validation and
    training data, then metrics that are not known here.
    """
    names = (*METRICS, ERROR_REDUCTION)
    family = _family(column.metric)
    if family not in names:
        return 2, len(names), column.metric, *_split_place(column.split)
    late = column.split == "train" or column.split.startswith("val")
    return int(late), names.index(family), column.metric, *_split_place(column.split)


def _split_place(split: str) -> tuple[int, str]:
    if split in SPLITS:
        return SPLITS.index(split), ""
    return len(SPLITS) + (2 if split == "train" else split.startswith("val")), split


def _splits_to_reduce(columns: Sequence[Column]) -> list[str]:
    tested = [
        c.split
        for c in columns
        if c.metric == "accuracy" and c.split != "train" and not c.split.startswith("val")
    ]
    return [split for split in tested if not split.endswith("iid")] or tested


# Cells


def _mean(seeds: dict[int, Record]) -> Cell | None:
    if len(seeds) == 1:
        (only,) = seeds.values()
        return Cell(only.value, only.low, only.high, 1)
    return _over_seeds([record.value for record in seeds.values()])


def _paired(
    measured: Measured,
    method: str,
    baseline: str,
    split: str,
    metric: str,
    change: Callable[[float, float], float | None],
) -> Cell | None:
    """Return the mean of change(value, baseline's value) over the shared seeds.

    None without a shared seed, or where a change is None (undefined).
    """
    own = measured.get((method, split, metric), {})
    reference = measured.get((baseline, split, metric), {})
    changes = [change(own[seed].value, reference[seed].value) for seed in own if seed in reference]
    defined = [value for value in changes if value is not None]
    return _over_seeds(defined) if len(defined) == len(changes) else None


def _over_seeds(values: Sequence[float]) -> Cell | None:
    if not values:
        return None
    low, high = t_interval(values) or (None, None)
    return Cell(fmean(values), low, high, len(values))


def _error_reduction(accuracy: float, baseline: float) -> float | None:
    return None if baseline == 1.0 else (accuracy - baseline) / (1.0 - baseline)


def _note(cells: Sequence[Sequence[Cell | None]], unit: str) -> str:
    shown = [cell for row in cells for cell in row if cell]
    several = sorted({cell.seeds for cell in shown if cell.seeds > 1})
    single = any(cell.seeds == 1 for cell in shown)
    wilson = (
        ", with the 95 % interval over the examples (Wilson)"
        if any(c.seeds == 1 and c.low is not None for c in shown)
        else ""
    )
    if not several:
        return f"One {unit}{wilson}." if single else ""
    counts = f"{several[0]}" if len(several) == 1 else f"{several[0]} to {several[-1]}"
    note = (
        f"Mean over {counts} {unit}s, with the 95 % interval over the {unit}s (Student's t), "
        "which speaks of other runs, not of other images."
    )
    return f"{note} † One {unit}{wilson}." if single else note
