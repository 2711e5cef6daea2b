"""Tables as strings: for the terminal, for Markdown, and cell by cell for the HTML page.

    print(to_text(table, width=120))
    print(compare(records, "natra", "original", "test_shift", "accuracy"))

Shares are printed in per cent with one decimal, other numbers with three significant digits of
their column's largest.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from operator import attrgetter
from typing import NamedTuple

from natra_jax.evaluation.records import Answers
from natra_jax.printable import printable
from natra_jax.report.differences import NO_ANSWERS, difference_column, paired_difference
from natra_jax.report.tables import Cell, Column, Plain, Table, build
from natra_jax.types import Record


class CellText(NamedTuple):
    """A cell of a table as it is printed."""

    value: str
    low: str  # "" where there is no interval
    high: str
    best: bool  # the best of its column, or not distinguishable from it
    single: bool  # one seed, in a table where other cells have several
    p: str = ""  # of a difference: "p=0.012"; "" where it is not known
    differs: bool = False  # a difference that is told from none


def texts(table: Table) -> tuple[tuple[CellText | None, ...], ...]:
    """Return the cells as strings, [methods][columns].

    The numbers of a column share their decimals. Intervals of shares are cut at 0 and 100 %.
    """
    competing = [method not in table.references for method in table.methods]
    columns = [
        _column_texts(column, [row[j] for row in table.cells], competing)
        for j, column in enumerate(table.columns)
    ]
    rows = zip(*columns, strict=True) if columns else [()] * len(table.methods)
    mixed = len({cell.seeds for row in table.cells for cell in row if cell}) > 1
    return tuple(
        tuple(
            text and text._replace(single=mixed and cell is not None and cell.seeds == 1)
            for text, cell in zip(*pair, strict=True)
        )
        for pair in zip(rows, table.cells, strict=True)
    )


def find(table: Table, method: str, split: str, metric: str) -> CellText | None:
    """Return a cell as printed.

    Args:
        table: the table to look in.
        method: the cell's row.
        split: the split of its column.
        metric: the metric of its column.

    Returns:
        The cell; None if it was not measured, or the table has no such row or column.
    """
    places = [(column.split, column.metric) for column in table.columns]
    if method not in table.methods or (split, metric) not in places:
        return None
    return texts(table)[table.methods.index(method)][places.index((split, metric))]


def compare(
    records: Sequence[Record],
    method: str,
    baseline: str,
    split: str,
    metric: str,
    answers: Answers = NO_ANSWERS,
) -> str:
    """Compare method and baseline in one sentence that claims no more than the numbers carry.

    Args:
        records: what was measured.
        method: the method to compare.
        baseline: the method to compare it with.
        split: the split of both.
        metric: the metric of both.
        answers: which examples are right; without them one seed has no interval.

    Returns:
        Both means and their difference over the seeds that both have, with its 95 % interval and p
        value, and what these speak of.
    """
    both = [
        record
        for record in records
        if record.method in (method, baseline) and (record.split, record.metric) == (split, metric)
    ]
    seeds = {
        name: {record.seed for record in both if record.method == name}
        for name in (method, baseline)
    }
    shared = [record for record in both if record.seed in seeds[method] & seeds[baseline]]
    if not shared:
        return (
            f"On {split}, {metric} was measured with no seed that {method} and {baseline} share, "
            "so they are not compared."
        )
    values = build(shared, (baseline, method), baseline, reductions=())
    (reference,), (own,) = texts(values)
    cell = paired_difference(shared, method, baseline, split, metric, answers)
    (change,) = _column_texts(difference_column(values.columns[0]), [cell], [True])
    assert reference and own and change and cell  # every shared seed has both
    unit, step = (" %", " points") if values.columns[0].unit else ("", "")
    sentence = (
        f"On {split}, {metric} is {reference.value}{unit} with {baseline} "
        f"and {own.value}{unit} with {method}: a difference of {change.value}{step}"
    )
    if cell.p is None:
        known = "one seed" if cell.seeds == 1 else f"{cell.seeds} seeds that do not differ in it"
        return f"{sentence}, from {known}, so how much of it is chance is not known."
    pairs, of = f"{cell.seeds} seeds", "in runs like these"
    if cell.seeds == 1:
        pairs, of = f"{shared[0].n} images", "for this one training of each, on images like these"
    sentence += f" (95 % interval {change.low} to {change.high}, {change.p}, {pairs})"
    told = "distinguishable" if cell.differs else "not distinguishable"
    return f"{sentence}, {told} from none {of}."


def heading(column: Column) -> str:
    """Return a column's metric with its unit: "accuracy (%)"."""
    return f"{column.metric} ({column.unit})" if column.unit else column.metric


def examples(column: Column) -> str:
    """Return how many examples a column's records count: "n = 597", or "n = 12 to 597"."""
    fewest, most = column.examples
    return f"n = {fewest}" if fewest == most else f"n = {fewest} to {most}"


def plain(table: Table) -> Plain:
    """Return the table as strings, the numbers of a column padded so that they line up."""
    header = ["method"] + [
        "\n".join(map(printable, (heading(c), c.split, examples(c)))) for c in table.columns
    ]
    columns = [_padded(column) for column in zip(*texts(table), strict=True)]
    rows = tuple(
        (method, *(column[i] for column in columns)) for i, method in enumerate(table.methods)
    )
    return Plain(tuple(header), rows, table.note)


def note(table: Table | Plain) -> str:
    """Return the note under a table, with the meaning of bold if a cell is bold."""
    shown = (
        [text for row in texts(table) for text in row if text] if isinstance(table, Table) else []
    )
    if not any(text.best for text in shown):
        return table.note
    overlap = " and what its interval overlaps" if any(text.low for text in shown) else ""
    return f"{table.note} Bold: the best of its column{overlap}."


def to_text(table: Table | Plain, width: int | None = None) -> str:
    """Align the table's columns for a terminal.

    With `width`, a table wider than this many characters is folded into several under each other.
    """
    table = plain(table) if isinstance(table, Table) else table
    rows = [[printable(cell) for cell in row] for row in table.rows]
    header = [[printable(line) for line in cell.split("\n")] for cell in table.header]
    widths = [max(map(len, [*head, *(row[j] for row in rows)])) for j, head in enumerate(header)]
    height = max(map(len, header))
    lines = (
        [[head[k] if k < len(head) else "" for head in header] for k in range(height)]
        + [["-" * w for w in widths]]
        + rows
    )

    def block(columns: Sequence[int]) -> str:
        aligned = [
            [line[j].rjust(widths[j]) if j else line[j].ljust(widths[j]) for j in (0, *columns)]
            for line in lines
        ]
        return "\n".join("  ".join(cells).rstrip() for cells in aligned)

    blocks = [block(columns) for columns in _fold(widths, width)]
    return "\n\n".join([*blocks, printable(table.note)] if table.note else blocks) + "\n"


def to_markdown(table: Table | Plain) -> str:
    """Return the table and its note in GitHub-flavoured Markdown. Every string is escaped."""
    strings = plain(table) if isinstance(table, Table) else table
    bold = (
        [[bool(text and text.best) for text in row] for row in texts(table)]
        if isinstance(table, Table)
        else None
    )
    lines = [
        [escape_markdown(cell.replace("\n", ", ")) for cell in strings.header],
        ["---"] + ["---:"] * (len(strings.header) - 1),
    ]
    for i, (name, *values) in enumerate(strings.rows):
        cells = [escape_markdown(value) for value in values]
        lines.append(
            [
                escape_markdown(name),
                *(f"**{c.strip()}**" if bold and bold[i][j] else c for j, c in enumerate(cells)),
            ]
        )
    under = note(table)
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + (
        f"\n\n{escape_markdown(under)}\n" if under else "\n"
    )


def escape_markdown(text: str) -> str:
    """Escape text so that it shows as itself in a paragraph or a table cell of Markdown.

    The Markdown is GitHub's; the answer is one line.
    """
    # a bracket alone makes no link
    text = re.sub(r"([\\`*|~$]|\](?=[\[(:]))", r"\\\1", printable(text))
    # inside a word an underscore is literal already
    text = re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", text)
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # GitHub makes links of these by itself
    return text.replace("://", "&#58;//").replace("www.", "www&#46;")


def _column_texts(
    column: Column, cells: Sequence[Cell | None], competing: Sequence[bool]
) -> list[CellText | None]:
    scaled = [cell and _scaled(column, cell) for cell in cells]
    numbers = [n for cell in scaled if cell for n in _numbers(cell) if n is not None]
    spec = ("+" if column.signed else "") + (".1f" if column.unit else _spec(numbers))
    best = _best(scaled, competing, column.better, spec)

    def text(cell: Cell, best: bool) -> CellText:
        value, low, high = ("" if n is None else _number(n, spec) for n in _numbers(cell))
        bounded = math.isfinite(cell.value) and cell.low is not None and cell.high is not None
        bounds = (low, high) if bounded else ("", "")
        return CellText(value, *bounds, best, False, _p(cell.p), cell.differs)

    return [cell and text(cell, i in best) for i, cell in enumerate(scaled)]


def _p(p: float | None) -> str:
    return "" if p is None else "p<0.001" if p < 0.001 else f"p={p:.3f}"


def _numbers(cell: Cell) -> tuple[float, float | None, float | None]:
    return cell.value, cell.low, cell.high


def _best(
    cells: Sequence[Cell | None], competing: Sequence[bool], better: int, spec: str
) -> set[int]:
    """Return the rows of the best mean and of those not to be told from it.

    These are rows that print like it, or whose interval overlaps its own; none if that is every
    row.
    """
    rows = {
        i: cell
        for i, cell in enumerate(cells)
        if cell and competing[i] and better and math.isfinite(cell.value)
    }
    if not rows:
        return set()
    top = max(rows.values(), key=lambda cell: better * cell.value)

    def rivals(cell: Cell) -> bool:
        if cell.low is None or cell.high is None or top.low is None or top.high is None:
            return _number(cell.value, spec) == _number(top.value, spec)
        return cell.low <= top.high and top.low <= cell.high

    chosen = {i for i, cell in rows.items() if rivals(cell)}
    return chosen if len(chosen) < len(rows) else set()


def _number(number: float, spec: str) -> str:
    """Format a number; zero, and what differs from it by rounding only, has no sign.

    -0.04 is "-0.0", which says on which side it is.
    """
    return format(0.0, spec.removeprefix("+")) if abs(number) < 1e-12 else format(number, spec)


def _scaled(column: Column, cell: Cell) -> Cell:
    """Return the cell in the unit it is printed in.

    The bounds of a share are cut at 0 and 100 %, which a t-interval can overstep.
    """
    if not column.unit:
        return cell
    low, high = cell.low, cell.high
    if column.unit == "%" and not column.signed:
        low, high = low and max(low, 0.0), high and min(high, 1.0)
    return cell._replace(
        value=100 * cell.value,
        low=None if low is None else 100 * low,
        high=None if high is None else 100 * high,
    )


def _spec(numbers: Sequence[float]) -> str:
    """Return the format that gives the largest number three significant digits."""
    largest = max((abs(number) for number in numbers if math.isfinite(number)), default=0.0)
    if largest == 0.0:
        return ".1f"
    magnitude = math.floor(math.log10(largest))
    return f".{max(2 - magnitude, 0)}f" if -4 <= magnitude < 6 else ".2e"


def _padded(column: Sequence[CellText | None]) -> list[str]:
    value, low, high = (
        max((len(part(text)) for text in column if text), default=0)
        for part in (attrgetter("value"), attrgetter("low"), attrgetter("high"))
    )
    bracket = low + high + 5 if low else 0
    tested = max((len(text.p) for text in column if text), default=0)
    mark = any(text and text.single for text in column)

    def padded(text: CellText | None) -> str:
        if text is None:
            return "-"
        interval = f" [{text.low.rjust(low)}, {text.high.rjust(high)}]" if text.low else ""
        return (
            text.value.rjust(value)
            + interval.ljust(bracket)
            + (f" {text.p.ljust(tested)}" + ("*" if text.differs else " ") if tested else "")
            + ("†" if text.single else " " if mark else "")
        )

    return [padded(text) for text in column]


def _fold(widths: Sequence[int], width: int | None) -> list[list[int]]:
    """Group columns 1.. so that each group fits, with column 0, into `width` characters.

    A group holds at least one column.
    """
    groups: list[list[int]] = [[]]
    for j in range(1, len(widths)):
        used = widths[0] + sum(widths[k] + 2 for k in [*groups[-1], j])
        if width is not None and groups[-1] and used > width:
            groups.append([])
        groups[-1].append(j)
    return groups
