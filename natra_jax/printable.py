"""Text that came from outside, made safe to print: names of files, classes, tensors and directions.

What a stranger wrote may hold escape sequences that steer a terminal, line breaks that forge a
line, marks that turn the direction of what follows, or lone surrogates that no file takes. All of
these become Python's escapes here; letters and signs of every script stay as they are.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

# They join emoji and letters (Persian, Hindi), and move nothing.
_JOINERS = "\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}"
_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")  # spreadsheets take the wide ones, too


def printable(text: object) -> str:
    """Write text in one line that every terminal and file can take, other characters escaped."""
    text = str(text)
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in _JOINERS else c.encode("unicode_escape").decode() for c in text
    )


def shown(value: object, width: int = 80) -> str:
    """Return a value as Python writes it, in one short line, whatever it holds, for a message.

    width: the most characters of it, at least 3.
    """
    if isinstance(value, str | bytes):
        value = value[:width]  # what is cut here is cut below, too: the quotes come on top
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of 5,000 digits, lists in lists in lists
        text = f"<{type(value).__name__}>"
    text = printable(text)
    return text if len(text) <= width else f"{text[: width - 3]}..."


def reason(error: BaseException, width: int = 200) -> str:
    """Return the message of an exception in one short line, or its type where it has none."""
    return printable(" ".join(str(error).split())[:width]) or type(error).__name__


def column(text: str) -> str:
    r"""Write text as a column between tabs, from which it can be told exactly.

    A backslash is doubled, so that what looks like an escape (\t, \n, \x1b) is one.
    """
    return printable(text.replace("\\", "\\\\"))


def csv_lines(rows: Iterable[Sequence[object]]) -> str:
    """Return rows as the lines of a CSV file.

    An apostrophe stands before text that a spreadsheet would run as a formula.
    """
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(map(_cell, row) for row in rows)
    return file.getvalue()


def _cell(value: object) -> str:
    text = printable(value)
    return f"'{text}" if text.lstrip().startswith(_FORMULA) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
