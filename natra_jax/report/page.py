"""The report as one HTML file that needs nothing else, and as Markdown with its figures beside it.

    dots = Picture(png, "One dot a method.", "Dot chart of accuracies")
    sections = [Section("Results", ("What was measured.",), table, (dots,))]
    lead = "Accuracy on test_shift rose."
    write_html(workdir / "report" / "index.html", "Digits", sections, lead)
    write_markdown(workdir / "report" / "report.md", "Digits", sections, lead)

Rendering makes a string, writing writes it: `write_bytes` of pathlib or etils.epath is all that a
path has to know. All text is taken as text: names from data sets and configs are escaped.
"""

from __future__ import annotations

import base64
import html
import itertools
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from natra_jax.printable import printable
from natra_jax.report.canvas import SHARPNESS
from natra_jax.report.printing import (
    CellText,
    escape_markdown,
    examples,
    heading,
    note,
    texts,
    to_markdown,
)
from natra_jax.report.style import STYLE
from natra_jax.report.tables import Plain, Table, glossary

# The browser itself refuses whatever is not in this file.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


class Picture(NamedTuple):
    """A figure of a section, with its words."""

    png: bytes
    caption: str
    alt: str  # for those who cannot see it: what it shows, in a sentence


class Section(NamedTuple):
    """A part of the report with a heading."""

    heading: str
    paragraphs: Sequence[str] = ()
    table: Table | Plain | None = None
    figures: Sequence[Picture] = ()
    warnings: Sequence[str] = ()  # why the section's numbers are doubtful; shown before them


class Highlight(NamedTuple):
    """A number of the report that is shown large."""

    value: str  # a number a reader takes home, such as "10.0 → 87.3 %"
    label: str  # what it is


def write_html(
    path: Any,
    title: str,
    sections: Sequence[Section],
    lead: str = "",
    highlights: Sequence[Highlight] = (),
    info: Sequence[tuple[str, str]] = (),
) -> list[Any]:
    """Write the report as one HTML file.

    Args:
        path: the file, of pathlib or etils.epath; its directory has to exist.
        title: of the page.
        sections: of the page, in order.
        lead: the answer in a sentence or two.
        highlights: the answer's numbers.
        info: (name, value) of the run, at the end.

    Returns:
        The paths written.
    """
    path.write_bytes(render_html(title, sections, lead, highlights, info).encode())
    return [path]


def write_markdown(
    path: Any,
    title: str,
    sections: Sequence[Section],
    lead: str = "",
    highlights: Sequence[Highlight] = (),
    info: Sequence[tuple[str, str]] = (),
) -> list[Any]:
    """Write the report as a Markdown file, and the figures that it links to beside it.

    Args:
        path: the file, of pathlib or etils.epath; its directory has to exist.
        title: of the report.
        sections: of the report, in order.
        lead: the answer in a sentence or two.
        highlights: the answer's numbers.
        info: (name, value) of the run, at the end.

    Returns:
        The paths written.
    """
    path.write_bytes(render_markdown(title, sections, lead, highlights, info).encode())
    figures = [(path.parent / name, figure.png) for name, figure in _named_figures(sections)]
    for place, png in figures:
        place.write_bytes(png)
    return [path, *(place for place, _ in figures)]


def render_html(
    title: str,
    sections: Sequence[Section],
    lead: str = "",
    highlights: Sequence[Highlight] = (),
    info: Sequence[tuple[str, str]] = (),
) -> str:
    """Render the report as one HTML page: styles and figures inside, no script, nothing to fetch.

    Args:
        title: of the page.
        sections: of the page, in order.
        lead: the answer in a sentence or two.
        highlights: the answer's numbers, shown large.
        info: (name, value) of the run, at the end.

    Returns:
        The page.
    """
    places = [f"section-{i}-{_slug(section.heading)}" for i, section in enumerate(sections, 1)]
    links = "".join(
        f'<li><a href="#{place}">{_text(s.heading)}</a></li>'
        for place, s in zip(places, sections, strict=True)
    )
    tiles = "".join(
        f"<div><dt>{_text(label)}</dt><dd>{_text(value)}</dd></div>" for value, label in highlights
    )
    rows = "".join(
        f"<div><dt>{_text(name)}</dt><dd>{_text(value)}</dd></div>" for name, value in info
    )
    parts = [
        f"<header><h1>{_text(title)}</h1>",
        f'<p class="lead">{_text(lead)}</p>' if lead else "",
        f'<dl class="highlights">{tiles}</dl>' if highlights else "",
        f'<nav aria-label="Contents"><ul>{links}</ul></nav>' if len(sections) > 2 else "",
        "</header>",
        "<main>",
        *(_section(place, section) for place, section in zip(places, sections, strict=True)),
        f'<section aria-labelledby="facts"><h2 id="facts">The run</h2>'
        f'<dl class="facts">{rows}</dl></section>'
        if info
        else "",
        "</main>",
        "<footer><p>Made by natra_jax. What was measured is in records.jsonl, "
        "a line for each number.</p></footer>",
    ]
    body = "\n".join(part for part in parts if part)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{_text(title)}</title>
<link rel="icon" href="data:,">
<style>{STYLE}</style>
</head>
<body>
{body}
</body>
</html>
"""


def render_markdown(
    title: str,
    sections: Sequence[Section],
    lead: str = "",
    highlights: Sequence[Highlight] = (),
    info: Sequence[tuple[str, str]] = (),
) -> str:
    """Render the report in GitHub-flavoured Markdown.

    Figures are links to files beside it, which `write_markdown` writes.

    Args:
        title: of the report.
        sections: of the report, in order.
        lead: the answer in a sentence or two.
        highlights: the answer's numbers.
        info: (name, value) of the run, at the end.

    Returns:
        The report.
    """
    names = (name for name, _ in _named_figures(sections))
    blocks = [f"# {escape_markdown(title)}", _paragraph(lead)]
    blocks.append(
        "\n".join(
            f"- **{escape_markdown(value)}** {escape_markdown(label)}"
            for value, label in highlights
        )
    )
    for section in sections:
        blocks.append(f"## {escape_markdown(section.heading)}")
        blocks += [f"> **Warning.** {escape_markdown(warning)}" for warning in section.warnings]
        blocks += map(_paragraph, section.paragraphs)
        if section.table:
            blocks.append(to_markdown(section.table).rstrip())
            known = glossary(section.table) if isinstance(section.table, Table) else ()
            blocks.append(
                "\n".join(
                    f"- {escape_markdown(name)}: {escape_markdown(meaning)}"
                    for name, meaning in known
                )
            )
        for figure in section.figures:
            blocks.append(f"![{escape_markdown(figure.alt).replace(']', '&#93;')}]({next(names)})")
            blocks.append(_paragraph(figure.caption))
    if info:
        blocks.append("## The run")
        blocks.append(
            "\n".join(
                f"- {escape_markdown(name)}: {escape_markdown(value)}" for name, value in info
            )
        )
    return "\n\n".join(block for block in blocks if block) + "\n"


def _named_figures(sections: Sequence[Section]) -> list[tuple[str, Picture]]:
    """Return (file name, figure) in the order of the page."""
    figures = [(section.heading, figure) for section in sections for figure in section.figures]
    return [
        (f"figure-{i:02d}-{_slug(name)}.png", figure) for i, (name, figure) in enumerate(figures, 1)
    ]


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40] or "untitled"


def _paragraph(text: str) -> str:
    """Return a Markdown paragraph, even if the text begins like a heading, a list or a rule."""
    text = escape_markdown(text).strip()
    text = re.sub(r"^([#+=-])", r"\\\1", text)
    return re.sub(r"^(\d+)([.)])", r"\1\\\2", text)


def _text(text: str) -> str:
    return html.escape(printable(text))


def _section(place: str, section: Section) -> str:
    warnings = "".join(
        f'<p class="warning"><strong>Warning.</strong> {_text(warning)}</p>'
        for warning in section.warnings
    )
    paragraphs = "".join(
        f"<p>{_text(paragraph)}</p>" for paragraph in section.paragraphs if paragraph
    )
    shown = "" if section.table is None else _table(section.table, place)
    figures = "".join(map(_figure, section.figures))
    head = f'<section aria-labelledby="{place}"><h2 id="{place}">{_text(section.heading)}</h2>'
    return f"{head}{warnings}{paragraphs}{shown}{figures}</section>"


def _figure(figure: Picture) -> str:
    width, height = _size(figure.png)
    source = f"data:image/png;base64,{base64.b64encode(figure.png).decode()}"
    size = f'width="{width // SHARPNESS}" height="{height // SHARPNESS}"'
    image = f'<img src="{source}" alt="{_text(figure.alt)}" {size}>'
    caption = f"<figcaption>{_text(figure.caption)}</figcaption>" if figure.caption else ""
    return f'<figure><div class="paper">{image}</div>{caption}</figure>'


def _size(png: bytes) -> tuple[int, int]:
    """Read width and height from a PNG's header. Raise ValueError on other bytes."""
    if png[:8] != b"\x89PNG\r\n\x1a\n" or png[12:16] != b"IHDR":
        raise ValueError("a figure is not a PNG file")
    return int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")


def _table(table: Table | Plain, place: str) -> str:
    """Render the table, its note and its glossary. place: id of the heading that names it."""
    if isinstance(table, Table):
        inside, known = _measured(table), glossary(table)
    else:
        inside, known = _ready(table), ()
    under = note(table)
    described = f' aria-describedby="{place}-note"' if under else ""
    # A region that scrolls has to be reachable from the keyboard and needs a name.
    region = f'<div class="scroll" role="region" tabindex="0" aria-labelledby="{place}">'
    scroll = f"{region}<table{described}>{inside}</table></div>"
    explained = f'<p class="note" id="{place}-note">{_text(under)}</p>' if under else ""
    meanings = "".join(
        f"<div><dt>{_breakable(metric)}</dt> <dd>{_text(meaning)}</dd></div>"
        for metric, meaning in known
    )
    return scroll + explained + (f'<dl class="glossary">{meanings}</dl>' if meanings else "")


def _measured(table: Table) -> str:
    """Render head and body of a table of records.

    Metrics stand over their splits, means over their intervals.
    """
    groups = [
        (name, len(list(group))) for name, group in itertools.groupby(map(heading, table.columns))
    ]
    starts = {0, *itertools.accumulate(size for _, size in groups)}
    top = "".join(
        f'<th scope="colgroup" colspan="{size}" class="start">{_breakable(name)}</th>'
        for name, size in groups
    )
    low = "".join(
        f'<th scope="col"{_start(j, starts)}>{_breakable(column.split)}'
        f"<small>{_text(examples(column))}</small></th>"
        for j, column in enumerate(table.columns)
    )
    rows = []
    for method, row in zip(table.methods, texts(table), strict=True):
        cells = "".join(f"<td{_start(j, starts)}>{_cell(text)}</td>" for j, text in enumerate(row))
        aside = ' class="aside"' if method == table.baseline or method in table.references else ""
        rows.append(f'<tr{aside}><th scope="row">{_text(method)}</th>{cells}</tr>')
    head = f'<thead><tr><th scope="col" rowspan="2">method</th>{top}</tr><tr>{low}</tr></thead>'
    return f"{head}<tbody>{''.join(rows)}</tbody>"


def _start(j: int, starts: set[int]) -> str:
    return ' class="start"' if j in starts else ""


def _cell(text: CellText | None) -> str:
    if text is None:
        return '<span class="none" title="not measured">–</span>'
    marks = ("*" if text.differs else "") + ("†" if text.single else "")
    value = _number(text.value) + (f"<sup>{marks}</sup>" if marks else "")
    value = f"<strong>{value}</strong>" if text.best else value
    interval = f"<small>{_number(text.low)} to {_number(text.high)}</small>" if text.low else ""
    return value + interval + (f"<small>{_text(text.p)}</small>" if text.p else "")


def _ready(table: Plain) -> str:
    """Render head and body of a table of strings; columns of numbers are set to the right."""
    columns = list(zip(*table.rows, strict=True)) if table.rows else [()] * len(table.header)
    sides = [
        "" if all(_NUMERIC.fullmatch(cell.strip()) for cell in column) else ' class="words"'
        for column in columns
    ]
    header = [name.replace("\n", " ") for name in table.header]
    head = "".join(
        f'<th scope="col"{side}>{_text(name)}</th>'
        for name, side in zip(header, sides, strict=True)
    )
    rows = []
    for name, *cells in table.rows:
        shown = "".join(
            f"<td{side}>{_number(cell) if not side else _text(cell)}</td>"
            for cell, side in zip(cells, sides[1:], strict=True)
        )
        rows.append(f'<tr><th scope="row">{_text(name)}</th>{shown}</tr>')
    return f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody>"


_NUMERIC = re.compile(r"[-+−]?[\d.,]+(e[-+]?\d+)?( ?(%|s|px|σ))?|[-–]?|nan|[-+]?inf")


def _number(text: str) -> str:
    return _text(text.strip().replace("-", "\N{MINUS SIGN}"))


def _breakable(name: str) -> str:
    """Let a name wrap after its underscores."""
    return _text(name).replace("_", "_<wbr>")
