"""The page, read as a browser would: whole, self-contained, accessible, deaf to hostile names."""

import base64
import io
import re
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest
from etils import epath
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from natra_jax import report
from natra_jax.report import (
    Highlight,
    Picture,
    Plain,
    Section,
    build,
    image_grid,
    render_html,
    render_markdown,
    write_html,
    write_markdown,
)
from natra_jax.types import Record

HOSTILE = '<script>alert("1")</script>&\'"><img src=https://example.org/x onerror=alert(1)>'
VOID = {"meta", "link", "img", "wbr", "br", "hr"}


class Page(HTMLParser):
    """Elements as (tag, attributes), their text, and those that do not close in order."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.words, self.open, self.mistakes = [], [], [], []
        self.feed(text)
        self.close()
        self.mistakes += self.open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.mistakes.append(tag)

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self):
        return " ".join("".join(self.words).split())

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@cache
def grid():
    return image_grid([np.zeros((2, 4, 4, 1))], ["row"])


def picture(name="A grid"):
    return Picture(grid(), f"Caption of {name}.", name)


def records(name="natra"):
    values = [("original", 0.10), ("original", 0.11), (name, 0.70), (name, 0.71)]
    return [
        Record(m, i % 2, "test_shift", "accuracy", v, 597, None, None, "")
        for i, (m, v) in enumerate(values)
    ]


def sections(name="natra"):
    return [
        Section(
            f"Results of {name}",
            (f"A paragraph on {name}.", ""),
            build(records(name), ["original", name]),
            (picture(name),),
            (name,),
        ),
        Section(
            "Directions",
            (),
            Plain(("direction", "sigma", "note"), (("0", "-0.5", name), ("1", "1.25", "")), name),
        ),
        Section("Pictures", figures=(picture("b"), picture("c"))),
    ]


def arguments(name="natra"):
    return {
        "lead": f"Lead {name}.",
        "highlights": [Highlight(f"10 {name}", name)],
        "info": [("seeds", "0, 1"), (name, name)],
    }


def assert_self_contained(page):
    for tag, attributes in page.elements:
        assert tag not in ("script", "iframe", "object", "embed", "base", "form"), tag
        for key, value in attributes.items():
            assert not key.startswith("on"), (tag, key)
            if key in ("src", "href", "srcset", "data", "action", "poster"):
                assert value.startswith(("data:", "#")), (tag, key, value[:80])


class TestHtml:
    def test_is_well_formed_and_needs_nothing_else(self):
        text = render_html("Digits", sections(), **arguments())
        page = Page(text)
        assert page.mistakes == []
        assert_self_contained(page)
        assert text.startswith("<!doctype html>") and "url(" not in text and "@import" not in text
        assert "default-src 'none'" in page.all("meta")[1]["content"]

    def test_says_everything_it_was_given(self):
        page = Page(render_html("Digits", sections(), **arguments()))
        for words in (
            "Digits",
            "Lead natra.",
            "10 natra",
            "Results of natra",
            "A paragraph on natra.",
            "Caption of natra.",
            "0, 1",
        ):
            assert words in page.text
        for words in (
            "70.5",
            "10.5",
            "64.1 to 76.9",
            "test_shift",
            "n = 597",
            "Student's t",
            "−0.5",
            "share of the images",
        ):
            assert words in page.text

    def test_is_accessible(self):
        page = Page(render_html("Digits", sections(), **arguments()))
        assert page.all("html") == [{"lang": "en"}]
        assert all(image["alt"] for image in page.all("img"))
        assert [tag for tag, _ in page.elements if tag in ("h1", "h2")] == [
            "h1",
            "h2",
            "h2",
            "h2",
            "h2",
        ]
        assert all("scope" in header for header in page.all("th"))
        rows = [header for header in page.all("th") if header["scope"] == "row"]
        assert len(rows) == 2 + 2
        ids = [a["id"] for _, a in page.elements if "id" in a]
        assert len(ids) == len(set(ids))
        named = [
            a[key]
            for _, a in page.elements
            for key in ("aria-labelledby", "aria-describedby")
            if key in a
        ]
        links = [link["href"].removeprefix("#") for link in page.all("a")]
        assert len(links) == 3 and set(named + links) <= set(ids)

    def test_follows_the_readers_light_or_dark(self):
        text = render_html("Digits", [])
        assert "prefers-color-scheme: dark" in text
        assert {"name": "color-scheme", "content": "light dark"} in Page(text).all("meta")
        colours = [
            set(re.findall(r"(--[a-z-]+):", block))
            for block in re.findall(r":root \{(.*?)\}", text, re.S)
        ]
        assert len(colours) == 2 and colours[0] == colours[1]
        assert set(re.findall(r"var\((--[a-z-]+)\)", text)) == colours[0]

    def test_figures_are_inside_at_half_their_pixels(self):
        figure = picture()
        (image,) = Page(render_html("Digits", [Section("A", figures=(figure,))])).all("img")
        kind, data = image["src"].split(",", 1)
        assert (
            kind == "data:image/png;base64" and base64.b64decode(data, validate=True) == figure.png
        )
        with Image.open(io.BytesIO(figure.png)) as decoded:
            assert (int(image["width"]), int(image["height"])) == (
                decoded.width // 2,
                decoded.height // 2,
            )

    def test_other_bytes_are_no_figure(self):
        with pytest.raises(ValueError, match="not a PNG"):
            render_html(
                "Digits", [Section("A", figures=(Picture(b"<svg onload=alert(1)>", "", "x"),))]
            )

    def test_hostile_names_stay_text(self):
        text = render_html(HOSTILE, sections(HOSTILE), **arguments(HOSTILE))
        page = Page(text)
        assert page.mistakes == []
        assert_self_contained(page)
        harmless = Page(render_html("natra", sections(), **arguments()))
        assert [tag for tag, _ in page.elements if tag != "wbr"] == [
            tag for tag, _ in harmless.elements if tag != "wbr"
        ]
        assert page.text.count(HOSTILE) >= 12

    @given(st.text(max_size=30))
    def test_any_text_is_shown_as_it_is(self, name):
        page = Page(
            render_html(
                name,
                [Section(name, (f"({name})",), Plain(("a", name), ((name, name),), name))],
                info=[(name, name)],
            )
        )
        assert page.mistakes == []
        assert_self_contained(page)
        if name.isprintable():
            assert " ".join(f"({name})".split()) in page.text

    def test_what_no_terminal_or_file_takes_is_escaped(self):
        name = "a\x1b[2J\u202e\nb\ud800"
        section = Section(name, (name,), Plain(("a\nb", name), ((name, name),), name))
        for text in (render_html(name, [section]), render_markdown(name, [section])):
            text.encode()
            assert all(c.isprintable() or c == "\n" for c in text)
        assert r"a\x1b[2J\u202e\nb\ud800" in Page(render_html(name, [section])).text

    def test_best_and_baseline_are_marked(self):
        text = render_html("Digits", sections())
        assert "<strong>70.5</strong>" in text and "<strong>10.5</strong>" not in text
        assert '<tr class="aside"><th scope="row">original</th>' in text

    def test_numbers_are_set_right_and_words_left(self):
        text = render_html("Digits", sections())
        assert '<th scope="col">sigma</th><th scope="col" class="words">note</th>' in text
        assert '<td>−0.5</td><td class="words">natra</td>' in text

    def test_an_empty_report(self):
        page = Page(render_html("Digits", []))
        assert page.mistakes == [] and not page.all("section") and not page.all("nav")
        empty = Page(
            render_html(
                "Digits",
                [Section("A", table=build([], ["natra"])), Section("B", table=Plain(("a",), ()))],
            )
        )
        assert empty.mistakes == []


class TestMarkdown:
    def test_by_hand(self):
        text = render_markdown(
            "Digits", sections()[:1], "Lead.", [Highlight("75 %", "accuracy")], [("seeds", "0, 1")]
        )
        lines = [
            line
            for line in text.splitlines()
            if line and not line.startswith(("|", "- accuracy:", "- error_reduction:", "Mean"))
        ]
        assert lines == [
            "# Digits",
            "Lead.",
            "- **75 %** accuracy",
            "## Results of natra",
            "> **Warning.** natra",
            "A paragraph on natra.",
            "![natra](figure-01-results-of-natra.png)",
            "Caption of natra.",
            "## The run",
            "- seeds: 0, 1",
        ]

    @pytest.mark.parametrize(
        "text, first",
        [
            ("# a", r"\# a"),
            ("- a", r"\- a"),
            ("12. a", r"12\. a"),
            ("---", r"\---"),
            ("-3 is low", r"\-3 is low"),
        ],
    )
    def test_a_paragraph_stays_a_paragraph(self, text, first):
        assert render_markdown("t", [Section("h", (text,))]).splitlines()[4] == first

    @given(st.text(max_size=30))
    def test_no_name_makes_html_or_a_new_block(self, name):
        given_name, plain_name = (
            render_markdown("t", sections(n), **arguments(n)) for n in (name, "natra")
        )
        assert "<" not in given_name
        assert given_name.count("\n") <= plain_name.count("\n")  # fewer where the name is blank


class TestWriting:
    @pytest.mark.parametrize("kind", [Path, epath.Path])
    def test_the_files_are_what_was_rendered(self, kind, tmp_path):
        given_arguments = ("Größe", sections(), *arguments().values())
        (page,) = write_html(kind(tmp_path) / "index.html", *given_arguments)
        assert page.read_text(encoding="utf-8") == render_html(*given_arguments)
        markdown, *figures = write_markdown(kind(tmp_path) / "report.md", *given_arguments)
        assert markdown.read_bytes().decode() == render_markdown(*given_arguments)
        assert [figure.read_bytes() for figure in figures] == [
            f.png for section in sections() for f in section.figures
        ]
        linked = re.findall(r"\]\(([^)]+)\)", markdown.read_bytes().decode())
        assert linked == [figure.name for figure in figures]
        assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
            ["index.html", "report.md", *linked]
        )

    def test_file_names_are_harmless(self, tmp_path):
        _, figure = write_markdown(
            tmp_path / "report.md", "t", [Section("../../etc/Größe: <x>", figures=(picture(),))]
        )
        assert figure.name == "figure-01-etc-gr-e-x.png" and figure.parent == tmp_path


def test_the_example_at_the_top_runs(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    example = "\n".join(
        line for line in report.__doc__.splitlines() if not line or line.startswith("    ")
    )
    variables = {}
    exec(compile(dedent(example), "example", "exec"), variables)
    assert "natra" in capsys.readouterr().out
    assert "75.5 % with natra" in variables["page"].read_text()
