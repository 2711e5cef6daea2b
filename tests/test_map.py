"""docs/architecture.md and its picture are of today's source: floors, imports, files, functions."""

import ast
import re
from xml.etree import ElementTree

import pytest

from tools.draw_architecture import PICTURE, ROLES, edges, floors, reduced
from tools.imports import ROOT, rooms

PAGE = ROOT / "docs" / "architecture.md"
REDRAW = "python -m tools.draw_architecture"


def table(heading):
    """Return the rows below a heading of the page, as lists of cells, without the table's head."""
    part = PAGE.read_text().split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def names(path):
    """Return what a Python file defines: functions, classes, `Class.method`, constants."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{n.name}" for n in node.body if isinstance(n, ast.FunctionDef)}
        if isinstance(node, ast.Assign):
            found |= {t.id for t in node.targets if isinstance(t, ast.Name)}
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
    return found


def test_the_picture_is_of_todays_imports():
    (listed,) = ElementTree.parse(PICTURE).iter("{http://purl.org/dc/elements/1.1/}description")
    drawn = [tuple(line.split(" -> ")) for line in listed.text.splitlines()]
    assert drawn == edges(), f"imports have changed; {REDRAW} draws the picture anew"


def test_every_room_has_its_words_in_the_picture():
    assert rooms() | {"__init__"} == ROLES.keys()


def test_the_page_has_the_floors_of_the_picture():
    told = [set(re.findall(r"`([\w]+)`", cells[1])) for cells in table("The floors")]
    drawn = [{"natra_jax" if n == "__init__" else n for n in level} for level in floors(edges())]
    assert told == drawn[::-1], "the table of docs/architecture.md has other rooms on its floors"


@pytest.mark.parametrize("cells", table("Where is …"), ids=lambda cells: cells[0])
def test_every_file_and_function_that_the_page_names_exists(cells):
    _, file, defined = cells
    path = ROOT / file.strip("`")
    assert path.is_file()
    wanted = re.findall(r"`([\w.]+)`", defined)
    assert wanted
    assert set(wanted) <= names(path), f"{file} has no {set(wanted) - names(path)}"


def test_every_path_in_the_pages_words_exists():
    for path in re.findall(r"`([\w/]+/[\w/.]+)`", PAGE.read_text()):
        assert (ROOT / path).exists() or (ROOT / "natra_jax" / path).exists(), path


def test_the_floors_are_computed_from_the_imports():
    found = [("top", "room"), ("top", "attacks"), ("room", "attacks"), ("attacks", "types")]
    with pytest.raises(ValueError, match="circle"):
        floors([*edges(), ("attacks", "pipeline")])
    assert reduced(found) == [("attacks", "types"), ("room", "attacks"), ("top", "room")]
    place = {name: i for i, level in enumerate(floors(edges())) for name in level}
    ground = {name for name, i in place.items() if i == 0}
    assert all(place[a] > place[b] for a, b in edges() if a not in ground)
    assert all(b in ground for a, b in edges() if a in ground)


@pytest.mark.parametrize("cells", table("Where is …"), ids=lambda cells: cells[0])
def test_equations_are_found_by_grep_in_the_files_that_the_page_names(cells):
    what, file, _ = cells
    text = " ".join((ROOT / file.strip("`")).read_text().split())
    told = re.match(r"NaTra eq\. ([\d, and]*\d)", what)
    for number in re.findall(r"\d+", told[1]) if told else ():
        assert re.search(rf"eq\. ([\d, andto-]*[^\d])?{number}\b", text), f"{file}: eq. {number}"
