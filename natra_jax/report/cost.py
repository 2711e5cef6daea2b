"""The figure of what a method reaches against what its training costs.

# passes: network passes of the whole training, in any unit that methods share
png = cost_dots(table, "test_shift", "worst64", {"random": 0.32, "natra": 1.0}, "natra = 1")
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean

from natra_jax.report import canvas
from natra_jax.report.canvas import BLUE, FONT, INK, MUTED, RULE, SMALL
from natra_jax.report.printing import heading
from natra_jax.report.tables import Cell, Table

_LEFT, _TOP, _ACROSS, _DOWN, _FOOT = 90, 96, 940, 560, 100
_APART, _BESIDE, _EDGE, _LINE = 110, 14, 24, 28  # pixels between groups, dots, dot and name, names
_NAME = 24  # characters of a method's name before it is cut
_TICKS = (1.0, 2.0, 5.0)  # of each power of ten


def cost_dots(
    table: Table, split: str, metric: str, passes: Mapping[str, float], unit: str
) -> bytes:
    """Draw a dot for each method: what it reaches, over the network passes of its training.

    Lines are 95 % intervals. The baseline is grey. Dots of the same cost stand side by side.

    Args:
        table: what was measured.
        split: of the column to show.
        metric: of the column to show.
        passes: {method: its network passes}; methods without any are left out.
        unit: of the passes, for the axis.

    Returns:
        The PNG file.

    Raises:
        ValueError: the table has no such column, or nothing in it to draw.
    """
    places = [(column.split, column.metric) for column in table.columns]
    if (split, metric) not in places:
        raise ValueError(f"cost_dots: the table has no {metric} on {split}")
    j = places.index((split, metric))
    cells = {
        method: cell
        for method, row in zip(table.methods, table.cells, strict=True)
        if (cell := row[j]) and math.isfinite(cell.value) and passes.get(method, 0) > 0
    }
    if not cells:
        raise ValueError(f"cost_dots: no method has both {metric} on {split} and network passes")
    scale = 100.0 if table.columns[j].unit else 1.0
    spent = [passes[method] for method in cells]
    x_low, x_high = min(spent) / 1.2, max(spent) * 1.2
    low, high = _range([scale * n for cell in cells.values() for n in _numbers(cell)], scale)
    names = {method: canvas.shorten(method, _NAME) for method in cells}
    step = _ACROSS / math.log(x_high / x_low)
    ordered = sorted(cells, key=lambda method: -cells[method].value)
    groups = _groups({m: _LEFT + step * math.log(passes[m] / x_low) for m in ordered})
    edges = [max(group.values()) + _EDGE for group in groups]
    ends = [
        edge + canvas.width(names[m], SMALL)
        for edge, g in zip(edges, groups, strict=True)
        for m in g
    ]
    across = max(_LEFT + _ACROSS, *map(math.ceil, ends)) + _EDGE
    figure = canvas.blank(across, _TOP + _DOWN + _FOOT)
    title = f"{heading(table.columns[j])}, {split}"
    canvas.write(figure, canvas.shorten(title, 60), _LEFT, 32, weight="bold")
    area = canvas.axes(figure, _LEFT, _TOP, _ACROSS, _DOWN)
    area.set_xscale("log")
    area.set_xlim(x_low, x_high)
    area.set_ylim(low, high)
    ticks = _ticks(x_low, x_high)
    area.set_xticks(ticks, [f"{tick:g}" for tick in ticks], family=FONT)
    area.minorticks_off()

    def down(value: float) -> float:
        return _TOP + _DOWN * (high - min(max(scale * value, low), high)) / (high - low)

    for group, edge in zip(groups, edges, strict=True):
        heights = _spread({m: down(cells[m].value) for m in group}, _TOP, _TOP + _DOWN - _LINE / 2)
        for method, x in group.items():
            y, ink = heights[method], MUTED if method == table.baseline else INK
            canvas.stroke(figure, x, down(cells[method].value), edge - 4, y, color=RULE)
            canvas.write(figure, names[method], edge, y, colour=ink, size=SMALL)
    for method, x in (place for group in groups for place in group.items()):
        cell, colour = cells[method], MUTED if method == table.baseline else BLUE
        if cell.low is not None and cell.high is not None:
            canvas.stroke(figure, x, down(cell.low), x, down(cell.high), color=colour)
        y = down(cell.value)
        canvas.stroke(figure, x, y, x, y, color=colour, marker="o", markersize=4.8)
    label = f"network passes of training, {unit}"
    canvas.write(figure, label, _LEFT + _ACROSS, _TOP + _DOWN + 66, "right", MUTED, SMALL)
    return canvas.png(figure)


def _numbers(cell: Cell) -> list[float]:
    return [n for n in (cell.value, cell.low, cell.high) if n is not None and math.isfinite(n)]


def _range(values: Sequence[float], scale: float) -> tuple[float, float]:
    """Return the limits of the values' axis; shares, which have a scale, stay within 0 and 100."""
    low, high = min(values), max(values)
    pad = 0.08 * (high - low) or 0.05 * abs(high) or 1.0
    if scale == 1.0:
        return low - pad, high + pad
    return max(low - pad, 0.0), min(high + pad, 100.0)


def _ticks(low: float, high: float) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    every = [lead * 10.0**power for power in powers for lead in _TICKS]
    return [tick for tick in every if low <= tick <= high]


def _groups(x: Mapping[str, float]) -> list[dict[str, float]]:
    """Set dots of the same cost side by side, and group dots whose names share a column.

    Args:
        x: {method: pixels from the left}, in the order in which they stand side by side.

    Returns:
        The groups from left to right, {method: pixels from the left}.
    """
    same: dict[int, list[str]] = {}
    for name, place in x.items():
        same.setdefault(round(place / _BESIDE), []).append(name)
    groups: list[dict[str, float]] = []
    for names in sorted(same.values(), key=lambda names: x[names[0]]):
        left = x[names[0]] - _BESIDE * (len(names) - 1) / 2
        if not groups or left - max(groups[-1].values()) > _APART:
            groups.append({})
        groups[-1] |= {name: left + _BESIDE * i for i, name in enumerate(names)}
    return groups


def _spread(wanted: Mapping[str, float], low: float, high: float) -> dict[str, float]:
    """Return heights a line apart at least, as near to the wanted ones as that allows."""
    names = sorted(wanted, key=lambda name: wanted[name])
    blocks: list[list[str]] = []  # of names that touch, each around the mean of what they want

    def top(block: list[str]) -> float:
        middle = fmean(wanted[name] for name in block)
        extent = _LINE * (len(block) - 1)
        return max(low, min(middle - extent / 2, high - extent))

    for name in names:
        blocks.append([name])
        while len(blocks) > 1 and top(blocks[-2]) + _LINE * len(blocks[-2]) > top(blocks[-1]):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    return {name: top(block) + _LINE * i for block in blocks for i, name in enumerate(block)}
