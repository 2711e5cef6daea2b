"""What came from outside is printed so that it steers no terminal, forges no line, runs nowhere."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from natra_jax import printable as text
from natra_jax.printable import column, csv_lines, printable, reason, shown

ANY = st.text(st.characters(exclude_categories=()), max_size=30)  # lone surrogates as well

HOSTILE = {
    "\x1b[2J\x1b]0;title\x07": r"\x1b[2J\x1b]0;title\x07",
    "a\nnatra_jax: done": r"a\nnatra_jax: done",
    "a\rb\x85c\u2028d\u2029e\x0bf\x0cg": r"a\rb\x85c\u2028d\u2029e\x0bf\x0cg",
    "cod\u202etxt.exe": r"cod\u202etxt.exe",
    "\u2066a\u2069\u200e\u200f\u061c": r"\u2066a\u2069\u200e\u200f\u061c",
    "nul\0": r"nul\x00",
    "\udc80\ud83d": r"\udc80\ud83d",
    "\x9b31m": r"\x9b31m",
    "\U000e0041\ufeff\u00ad": r"\U000e0041\ufeff\xad",
}


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_what_steers_is_escaped(name):
    assert printable(name) == HOSTILE[name]
    assert name not in shown(name) and shown(name).isprintable()


@pytest.mark.parametrize(
    "name", ["é", "中文", "عربى", "👩\u200d👩\u200d👧 ❤️", "می\u200cخواهم", "a\\b", ""]
)
def test_words_of_every_script_stay(name):
    assert printable(name) == name


@given(ANY)
def test_any_text_is_one_line_that_every_file_takes(name):
    for said in (printable(name), column(name), shown(name), reason(ValueError(name))):
        assert len(said.splitlines()) <= 1 and "\t" not in said
        said.encode()
        assert all(c.isprintable() or c in text._JOINERS for c in said)


@given(ANY, ANY)
def test_columns_can_be_told_apart(a, b):
    assert (column(a) == column(b)) == (a == b)


@given(st.lists(st.lists(ANY, min_size=2, max_size=2), max_size=3))
def test_no_cell_is_a_formula_and_no_row_is_lost(rows):
    found = list(csv.reader(io.StringIO(csv_lines(rows))))
    assert len(found) == len(rows)
    for cell in (cell for row in found for cell in row):
        assert cell[:1] not in ("\t", "\r", "\n")
        try:
            float(cell)
        except ValueError:
            assert not cell.lstrip().startswith(tuple("=+-@"))


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        (" =1", "' =1"),
        ("＝1", "'＝1"),
        ("\t=1", r"\t=1"),
        ("\r=1", r"\r=1"),
        ("-0.25", "-0.25"),
        (-3, "-3"),
        ("+1e5", "+1e5"),
        ("a=b", "a=b"),
        ("", ""),
    ],
)
def test_cells_by_hand(value, cell):
    assert next(csv.reader([csv_lines([["x", value]])])) == ["x", cell]


def test_values_are_short_whatever_they_hold():
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    for value in (10**5000, [10**5000], deep, "a" * 10**7, b"\xff" * 10**7, {"\x1b": "\n"}):
        assert len(shown(value, 40)) <= 40 and shown(value, 40).isprintable()
    assert shown("a" * 80, 80) == "'" + "a" * 76 + "..."
    assert shown("ab", 4) == "'ab'" and shown(None) == "None"


def test_reasons_have_words():
    assert reason(ValueError()) == "ValueError" and reason(ValueError(" \n")) == "ValueError"
    assert reason(OSError("a\n  b\x1b")) == r"a b\x1b"
    assert len(reason(ValueError("x" * 500))) == 200
