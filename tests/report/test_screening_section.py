"""The section on screening: every direction is shown, with its measurements and no others."""

from natra_jax.report import render_html, render_markdown, screening_section


def direction(number, **changes):
    measured = {
        "number": number,
        "name": f"d{number}",
        "range": "4-5",
        "sigma": 1.746,
        "kept": {"1": 0.9996, "2.5": 0.5},
        "moved": {"1": 0.1, "2.5": 0.256},
        "predicts": 0.034,
        "confounded": False,
        "useful": 1.0,
        "verdict": "kept",
        "chosen": True,
    }
    return measured | changes


def table(*directions, **changes):
    measured = {
        "judge": "cross_fitted",
        "examples": 500,
        "keep": 0.95,
        "confounded": 0.1,
        "box": "97.0% of 500 moves",
        "warnings": [],
    }
    return measured | {"directions": list(directions)} | changes


def test_every_direction_has_a_row_with_its_figures():
    suspect = {
        "predicts": 0.8,
        "confounded": True,
        "verdict": "confounded",
        "chosen": False,
        "useful": 0.0,
    }
    section = screening_section(
        table(direction(0), direction(1, **suspect), warnings=["labels can be predicted along d1"])
    )
    assert section.table.header[0] == "direction" and "kept at\n±2.5σ" in section.table.header
    assert section.table.rows == (
        ("d0", "0", "4-5", "1.75", "100.0", "50.0", "0.26", "0.03", "1σ", "kept", "yes"),
        ("d1", "1", "4-5", "1.75", "100.0", "50.0", "0.26", "0.80!", "0σ", "confounded", ""),
    )
    text = " ".join(section.paragraphs)
    assert (
        "97.0% of 500 moves" in text and "at least 95 %" in text and "above 0.1, marked !" in text
    )
    for page in (render_html("t", [section]), render_markdown("t", [section])):
        assert "labels can be predicted along d1" in page and "0.80!" in page


def test_without_a_judge_nothing_is_said_of_answers():
    unjudged = {
        "kept": {"1": None, "2.5": None},
        "useful": None,
        "verdict": "unjudged",
        "predicts": None,
    }
    section = screening_section(table(direction(0, **unjudged), judge="none", box=""))
    assert not any("kept" in column for column in section.table.header)
    assert section.table.rows == (("d0", "0", "4-5", "1.75", "0.26", "-", "-", "unjudged", "yes"),)
    assert "what the user states" in section.paragraphs[1] and len(section.paragraphs) == 2


def test_where_no_judge_was_asked_it_is_said_who_vouches_for_the_label():
    unjudged = direction(0, verdict="unjudged", useful=None)
    stated, within, of_objects = (
        " ".join(screening_section(table(unjudged, judge="none", **c)).paragraphs)
        for c in ({}, {"codes": "within_classes"}, {"codes": "within_objects"})
    )
    assert "among images of one object" in of_objects and "user states" not in of_objects
    assert (
        "is what the user states" in stated
        and "among the training images of one class" not in stated
    )
    assert (
        "among the training images of one class" in within
        and "is what the user states" not in within
    )
