"""The figures of a report, as PNG files in memory.

    # images [N, H, W, C] in [-1, 1], C 1 or 3
    image_grid([train[:12], test_shift[:12]], ["train", "test_shift"])

Captions belong to the page, so a figure carries only the words one needs in it. Images keep their
pixels: small ones are enlarged into squares, only large ones are resampled. Images of another shape
raise ValueError.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from natra_jax.report import canvas
from natra_jax.report.canvas import (
    BLUE,
    FONT,
    INK,
    MUTED,
    SMALL,
    VERMILLION,
    ImageRow,
    Space,
    TextRow,
)
from natra_jax.report.printing import heading
from natra_jax.report.tables import Table

Curve = tuple[np.ndarray, np.ndarray]  # steps [T], values [T] or one row for each seed [S, T]
_NAME = 24  # characters of a method's name before it is cut


def image_grid(rows: Sequence[np.ndarray], labels: Sequence[str]) -> bytes:
    """Draw a row of images [N, H, W, C] for each label, such as some examples of each split."""
    return canvas.sheet(
        [ImageRow(label, images) for images, label in zip(rows, labels, strict=True)]
    )


def reconstruction_grid(
    images: np.ndarray, reconstructions: np.ndarray, columns: int = 12
) -> bytes:
    """Draw images [N, H, W, C] over their reconstructions, `columns` pairs side by side."""
    if images.shape != reconstructions.shape:
        raise ValueError(
            f"images {images.shape} and reconstructions {reconstructions.shape} differ in shape"
        )
    rows: list[ImageRow | Space] = []
    for start in range(0, max(len(images), 1), columns):
        part = slice(start, start + columns)
        rows += [Space(12)] if rows else []
        rows += [ImageRow("image", images[part]), ImageRow("reconstruction", reconstructions[part])]
    return canvas.sheet(rows)


def direction_strip(
    images: np.ndarray,
    names: Sequence[str],
    multiples: Sequence[float],
    useful: Sequence[float] | None = None,
) -> bytes:
    """Draw images moved along directions: a row for each direction, a column for each multiple.

    Args:
        images: [K, M, H, W, C], moved along direction k by multiples[m] of its sigma.
        names: [K], of the directions.
        multiples: [M], in units of sigma.
        useful: [K] (`Directions.useful`); a green bar runs under the multiples that are known to
            keep the label, and none where it is inf (not measured). None: no bars at all.

    Returns:
        The PNG file.
    """
    if images.shape[:2] != (len(names), len(multiples)):
        raise ValueError(
            f"images {images.shape} for {len(names)} names and {len(multiples)} multiples"
        )
    header = TextRow(
        "", ["0" if m == 0 else f"{m:+.3g}σ".replace("-", "\N{MINUS SIGN}") for m in multiples]
    )
    rows: list[ImageRow | TextRow] = [header]
    for k, name in enumerate(names):
        marked = (
            np.zeros(len(multiples), bool)
            if useful is None or math.isinf(useful[k])
            else np.abs(multiples) <= useful[k]
        )
        rows.append(ImageRow(name, images[k], None if useful is None else marked))
    return canvas.sheet(rows)


def escaped(
    images: np.ndarray,
    reconstructions: np.ndarray,
    variations: np.ndarray,
    labels: Sequence[Any],
    predictions: Mapping[str, Sequence[Any]],
) -> bytes:
    """Draw images, their worst natural variations, and each model's answer to the variations.

    A right answer is blue with a tick, a wrong one vermillion with a cross. Labels and answers are
    numbers or names, compared as printed.

    Args:
        images: [N, H, W, C].
        reconstructions: [N, H, W, C], of the images.
        variations: [N, H, W, C], the worst natural variations of the images.
        labels: [N], the true ones.
        predictions: {name of a model: its answers to the variations, [N]}.

    Returns:
        The PNG file.
    """
    truth = [str(label) for label in labels]
    rows = [
        ImageRow("image", images),
        ImageRow("reconstruction", reconstructions),
        ImageRow("worst variation", variations),
    ]
    predicted = []
    for model, given in predictions.items():
        pairs = [
            (str(answer), str(answer) == label) for answer, label in zip(given, truth, strict=True)
        ]
        texts = [f"{canvas.shorten(answer, 14)} {'✓' if right else '✗'}" for answer, right in pairs]
        predicted.append(
            TextRow(f"{model} says", texts, [BLUE if right else VERMILLION for _, right in pairs])
        )
    return canvas.sheet([*rows, TextRow("label", truth), *predicted])


def metric_dots(table: Table, columns: int = 4) -> bytes:
    """Draw a panel for each column of the table, in it a row for each method.

    `columns` panels stand side by side. A dot is the mean, a line its 95 % interval. The baseline's
    value is a dashed line through its panel; it and the table's references are grey. Shares stand
    between 0 and 100 %, unless all lie close together.
    """
    if not table.columns or not table.methods:
        raise ValueError("a table without rows or columns has no figure")
    left, across, row, top, foot, gap = _label_width(table.methods) + 28, 320, 38, 76, 56, 76
    columns = min(columns, len(table.columns))
    block = top + row * len(table.methods) + foot
    figure = canvas.blank(
        left + columns * (across + gap), block * math.ceil(len(table.columns) / columns)
    )
    for j, column in enumerate(table.columns):
        x, y = left + j % columns * (across + gap), j // columns * block
        canvas.write(figure, canvas.shorten(heading(column), 26), x, y + 22, weight="bold")
        canvas.write(figure, canvas.shorten(column.split, 30), x, y + 52, size=SMALL, colour=MUTED)
        _dots(canvas.axes(figure, x, y + top, across, row * len(table.methods)), table, j)
        if j % columns == 0:
            for i, method in enumerate(table.methods):
                colour = MUTED if _aside(table, method) else INK
                canvas.write(
                    figure,
                    canvas.shorten(method, _NAME),
                    left - 20,
                    y + top + row * (i + 0.5),
                    "right",
                    colour,
                )
    return canvas.png(figure)


def curves(
    panels: Mapping[str, Mapping[str, Curve]],
    methods: Sequence[str] = (),
    limits: Mapping[str, float] | None = None,
    x_label: str = "training step",
    columns: int = 2,
) -> bytes:
    """Draw panels of lines over the steps: the mean over seeds strong, each seed faint.

    Args:
        panels: {title: {method: (steps [T], values [T] or [seeds, T])}}.
        methods: fixes the colours, so that a method looks alike in every figure.
        limits: {title: value of a dashed line}, such as the cap of an adaptive radius.
        columns: how many panels stand side by side.
        x_label: of the steps.

    Returns:
        The PNG file.

    Raises:
        ValueError: there is no line to draw.
    """
    present = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    if not present:
        raise ValueError("curves: there is no line to draw")
    styles = canvas.styles([*methods, *present])
    shown = [name for name in styles if name in present]
    columns = min(columns, len(panels))
    across, down, left, top, foot = 700 if columns > 1 else 1100, 360, 100, 56, 84
    rows, legend = math.ceil(len(panels) / columns), _label_width(shown) + 110
    figure = canvas.blank(
        columns * (left + across) + legend,
        max(rows * (top + down + foot), top + 36 * len(shown) + 20),
    )
    for p, (title, lines) in enumerate(panels.items()):
        x, y = left + p % columns * (left + across), p // columns * (top + down + foot)
        canvas.write(figure, canvas.shorten(title, 50), x, y + 24, weight="bold")
        area = canvas.axes(figure, x, y + top, across, down)
        for name, (steps, values) in lines.items():
            _line(area, np.asarray(steps), np.atleast_2d(np.asarray(values, float)), styles[name])
        if limits and title in limits:
            area.axhline(limits[title], color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
        canvas.write(figure, x_label, x + across, y + top + down + 58, "right", MUTED, SMALL)
    for i, name in enumerate(shown):
        x, y = columns * (left + across) + 24, top + 18 + 36 * i
        canvas.stroke(figure, x, y, x + 48, y, **styles[name])
        canvas.write(figure, canvas.shorten(name, _NAME), x + 60, y, size=SMALL)
    return canvas.png(figure)


def histograms(
    values: Mapping[str, np.ndarray],
    x_label: str,
    methods: Sequence[str] = (),
    limit: float | None = None,
    bins: int = 40,
) -> bytes:
    """Draw a histogram for each method under each other, on common scales.

    Bars are per cent of a method's values, a line is their mean. Values that are not finite are
    counted in the panel's label and not drawn.

    Args:
        values: {method: its values, [N]}.
        x_label: of the values.
        methods: fixes the colours, so that a method looks alike in every figure.
        limit: value of a dashed line; None: no such line.
        bins: number of bars.

    Returns:
        The PNG file.

    Raises:
        ValueError: there are no values to draw.
    """
    if not values:
        raise ValueError("histograms: there are no values to draw")
    styles = canvas.styles([*methods, *values])
    drawn = {name: np.asarray(v, float).ravel() for name, v in values.items()}
    finite = {name: v[np.isfinite(v)] for name, v in drawn.items()}
    everything = np.concatenate([*finite.values(), [] if limit is None else [limit]])
    low, high = min(0.0, everything.min(initial=0.0)), everything.max(initial=0.0)
    high = high if high > low else low + 1.0
    edges = np.linspace(low, high, bins + 1)
    counts = {
        name: 100.0 * np.histogram(v, edges)[0] / max(v.size, 1) for name, v in finite.items()
    }
    most = max(float(count.max()) for count in counts.values()) or 1.0
    across, down, gap, top, foot, left = 900, 90, 22, 12, 84, _label_width(list(values)) + 40
    figure = canvas.blank(left + across + 40, top + len(values) * (down + gap) + foot)
    for i, (name, count) in enumerate(counts.items()):
        y = top + i * (down + gap)
        area = canvas.axes(figure, left, y, across, down)
        area.stairs(count, edges, fill=True, color=styles[name]["color"], alpha=0.85)
        area.set_ylim(0, 1.05 * most)
        area.set_xlim(low, high + 0.02 * (high - low))
        area.set_yticks([])
        area.grid(False)
        if finite[name].size:
            area.axvline(float(finite[name].mean()), ymax=0.95, color=INK, linewidth=1.1)
        if limit is not None:
            area.axvline(limit, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
        area.tick_params(labelbottom=i == len(values) - 1)
        lost = drawn[name].size - finite[name].size
        canvas.write(
            figure,
            canvas.shorten(name, _NAME),
            left - 20,
            y + down / 2 - (17 if lost else 0),
            "right",
        )
        if lost:
            canvas.write(
                figure,
                f"{lost} not finite",
                left - 20,
                y + down / 2 + 17,
                "right",
                VERMILLION,
                SMALL,
            )
    canvas.write(
        figure, x_label, left + across, top + len(values) * (down + gap) + 42, "right", MUTED, SMALL
    )
    return canvas.png(figure)


def _dots(area: Any, table: Table, j: int) -> None:
    """Draw column j of the table into the axes: rows from the top, in the order of the methods."""
    column, rows = table.columns[j], [row[j] for row in table.cells]
    scale = 100.0 if column.unit else 1.0
    numbers = [n for cell in rows if cell for n in (cell.value, cell.low, cell.high)]
    seen = [scale * n for n in numbers if n is not None and math.isfinite(n)]
    share = column.unit == "%" and not column.signed
    for i, (method, cell) in enumerate(zip(table.methods, rows, strict=True)):
        if cell is None or not math.isfinite(cell.value):
            area.text(
                0.5,
                i,
                "not measured" if cell is None else "not finite",
                color=MUTED,
                size=SMALL,
                family=FONT,
                transform=area.get_yaxis_transform(),
                ha="center",
                va="center_baseline",
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
            )
            continue
        colour = MUTED if _aside(table, method) else BLUE
        if cell.low is not None and cell.high is not None:
            bounds = np.array([cell.low, cell.high])
            area.plot(
                scale * (np.clip(bounds, 0, 1) if share else bounds),
                [i, i],
                color=colour,
                linewidth=1.6,
                solid_capstyle="butt",
            )
        area.plot([scale * cell.value], [i], "o", color=colour, markersize=4.2, clip_on=False)
        if method == table.baseline:
            area.axvline(
                scale * cell.value, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)), zorder=0.5
            )
    area.set_ylim(len(rows) - 0.5, -0.5)
    area.set_yticks([])
    low, high = _limits(seen, share)
    area.set_xlim(low, high)
    area.locator_params(axis="x", nbins=4)


def _aside(table: Table, method: str) -> bool:
    return method == table.baseline or method in table.references


def _limits(seen: Sequence[float], share: bool) -> tuple[float, float]:
    """Return the range of an axis of the values seen.

    It is 0 to 100 for shares (in per cent) unless all lie within 25 points, else just around the
    values.
    """
    if not seen:
        return 0.0, 100.0 if share else 1.0
    low, high = min(seen), max(seen)
    if share and high - low > 25:
        return 0.0, 100.0
    pad = 0.08 * (high - low) or 0.05 * abs(high) or 1.0
    return (max(low - pad, 0.0), min(high + pad, 100.0)) if share else (low - pad, high + pad)


def _line(area: Any, steps: np.ndarray, values: np.ndarray, style: Mapping[str, Any]) -> None:
    """Draw values [S, T]: their mean strong and, if there are several seeds, each seed faint.

    A lone point is a dot. There is a gap where a value is not finite.
    """
    values = np.where(np.isfinite(values), values, np.nan)
    marker = "o" if len(steps) == 1 else ""
    if len(values) > 1:
        for seed in values:
            area.plot(steps, seed, color=style["color"], linewidth=0.7, alpha=0.3)
    area.plot(steps, values.mean(axis=0), linewidth=1.5, marker=marker, markersize=3.5, **style)


def _label_width(names: Sequence[str]) -> int:
    return math.ceil(max(canvas.width(canvas.shorten(name, _NAME)) for name in names))
