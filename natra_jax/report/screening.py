"""The section on the screening of directions, from screening.json, which the stage screen writes.

section = screening_section(json.loads((workdir / "screen" / "screening.json").read_text()))
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from natra_jax.report.page import Section
from natra_jax.report.tables import Plain

_VOUCHES = {  # by directions.codes
    "within_classes": "these directions are what varies among the training images of one class",
    "within_objects": "these directions are what varies among images of one object",
}
_STATED = "that these directions keep the label is what the user states"


def screening_section(table: Mapping[str, Any]) -> Section:
    """Build the section: a row for every direction that was found, chosen or not."""
    judged = table["judge"] != "none"
    multiples = list(table["directions"][0]["moved"])
    header = (
        *("direction", "number", "layers", "sigma"),
        *(f"kept at\n±{m}σ" for m in multiples if judged),
        f"moved at\n±{multiples[-1]}σ",
        *("predicts", "useful", "verdict", "chosen"),
    )
    rows = [
        (
            row["name"],
            str(row["number"]),
            row["range"],
            f"{row['sigma']:.2f}",
            *(_percent(row["kept"][m]) for m in multiples if judged),
            _decimal(row["moved"][multiples[-1]]),
            _decimal(row["predicts"]) + ("!" if row["confounded"] else ""),
            "-" if row["useful"] is None else f"{row['useful']:g}σ",
            row["verdict"].replace("_", " "),
            "yes" if row["chosen"] else "",
        )
        for row in table["directions"]
    ]
    return Section(
        "Screening of the directions",
        _text(table, judged),
        Plain(header, tuple(rows)),
        warnings=table["warnings"],
    )


def _text(table: Mapping[str, Any], judged: bool) -> list[str]:
    moved = (
        f"{table['examples']} training images were moved along each direction by itself, to both "
        "sides, as training would move them. "
    )
    kept = (
        f"Kept: per cent of the answers of the judge ({table['judge']}) that stay. Useful: the "
        f"largest multiple of sigma up to which at least {100 * table['keep']:g} % stay; along "
        "directions with the verdict kept, training goes no further. "
    )
    text = (
        "Moved: root mean square change of the pixels, images in [-1, 1]. Predicts: how well the "
        "training labels can be told from an image's place along the direction, from 0 (chance) "
        "to 1 (without error)"
    )
    suspect = (
        f"; above {table['confounded']:g}, marked !, the direction carries the label or a shortcut "
        "to it, and only someone who knows the data can say which."
    )
    text += suspect if table["confounded"] < 1 else "."
    paragraphs = [moved + (kept if judged else "") + text]
    if not judged:
        # where it is not said, the table is of a run before there was a choice
        paragraphs.append(f"No judge was asked: {_VOUCHES.get(table.get('codes', ''), _STATED)}.")
    if table["box"]:
        paragraphs.append(f"All chosen directions at once: {table['box']}.")
    return paragraphs


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"


def _decimal(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
