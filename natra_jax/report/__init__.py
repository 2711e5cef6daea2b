"""The results of a run, for people: tables with intervals, figures, report.md and index.html.

    from pathlib import Path
    from tempfile import mkdtemp

    from natra_jax import report
    from natra_jax.evaluation.intervals import wilson
    from natra_jax.types import Record

    # right answers on 597 test images, one count for each seed
    right = {"original": (60, 63, 58), "natra": (447, 455, 450)}
    records = [
        Record(method, seed, "test_shift", "accuracy", count / 597, 597, *wilson(count, 597), "")
        for method, counts in right.items()
        for seed, count in enumerate(counts)
    ]
    table = report.build(records, methods=["original", "natra"])
    print(report.to_text(table))

    png = report.metric_dots(table)
    dots = report.Picture(png, "Means and 95 % intervals.", "Dot chart: natra far above original.")
    sections = [report.Section("Results", table=table, figures=[dots])]
    answer = report.compare(records, "natra", "original", "test_shift", "accuracy")
    page = Path(mkdtemp()) / "index.html"
    report.write_html(page, "Colour digits", sections, lead=answer)

index.html needs no other file. Everything is made by pure functions; only write_html and
write_markdown touch a disk.
"""

from natra_jax.report.cost import cost_dots
from natra_jax.report.differences import build_differences, paired_difference
from natra_jax.report.figures import (
    curves,
    direction_strip,
    escaped,
    histograms,
    image_grid,
    metric_dots,
    reconstruction_grid,
)
from natra_jax.report.page import (
    Highlight,
    Picture,
    Section,
    render_html,
    render_markdown,
    write_html,
    write_markdown,
)
from natra_jax.report.printing import CellText, compare, find, plain, texts, to_markdown, to_text
from natra_jax.report.robustness import is_robustness_metric, robustness_sections
from natra_jax.report.screening import screening_section
from natra_jax.report.tables import (
    Cell,
    Column,
    Plain,
    Table,
    build,
    glossary,
    select,
)

__all__ = [
    "Cell",
    "CellText",
    "Column",
    "Highlight",
    "Picture",
    "Plain",
    "Section",
    "Table",
    "build",
    "build_differences",
    "compare",
    "cost_dots",
    "curves",
    "direction_strip",
    "escaped",
    "find",
    "glossary",
    "histograms",
    "image_grid",
    "is_robustness_metric",
    "metric_dots",
    "paired_difference",
    "plain",
    "reconstruction_grid",
    "render_html",
    "render_markdown",
    "robustness_sections",
    "screening_section",
    "select",
    "texts",
    "to_markdown",
    "to_text",
    "write_html",
    "write_markdown",
]
