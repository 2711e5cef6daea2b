"""Docstrings that tell, files of one sitting, and arguments explained where there are many.

    python tests/test_prose.py natra_jax/report

prints what the tests below would object to in a directory or file.
"""

import ast
import re
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("natra_jax", "experiments")

LONGEST_FILE = 400  # lines
MOST_PARAMETERS = 3  # of a public function whose docstring need not have the section Args

# A function's docstring begins with a verb in the imperative (PEP 257). These begin riddles,
ARTICLES = (
    "A An The This That These Those It Its Their One Two All Any Both Each Every Either Neither No "
    "None Some Something Same Such Only Not Another Other"
)
QUESTIONS = "What Whatever Which Whichever Who Whose Whom Where Wherever When Whether How Why"
PREPOSITIONS = (
    "About Above After Against Along Among Around As At Before Behind Below Beside Between Beyond "
    "By For From If In Inside Into Like Of Off On Once Onto Or Out Outside Over Per Since Through "
    "To Toward Towards Under Until Unlike Up Upon While With Within Without"
)
# and these are the nouns and adjectives that docstrings have begun with in place of "Return".
NOUNS = (
    "Adam Auto-PGD Batch BatchNorm Class Code Column Difference Direction Distance Down Example "
    "False Feature File Float Function Head Height Hue Image Ink Kernel Large Largest Least Length "
    "Logit Loss Mean Median Method Most NaTra Normal Number PGD Pixel Plain Plasma Probability "
    "Projected Row Single Slope Small Smallest Standard Stride String Synthesis Task Tensor Text "
    "Transposed True Unit Unlabelled Value Width Zero"
)
OPENERS = frozenset(" ".join((ARTICLES, QUESTIONS, PREPOSITIONS, NOUNS)).split())


def read(*folders: str) -> dict[Path, ast.Module]:
    """Return {path: its syntax} of all Python files in folders; links are not followed."""
    return {
        path: _parsed(path)
        for folder in folders
        for path in sorted((ROOT / folder).rglob("*.py"))
        if not any(parent.is_symlink() for parent in path.parents)
    }


@cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def riddles(path: Path) -> list[str]:
    """Return the functions and methods whose docstring does not begin with a verb."""
    found = []
    for node in ast.walk(_parsed(path)):
        if isinstance(node, ast.FunctionDef) and not _is_property(node):
            words = (ast.get_docstring(node) or "").split()
            if words and not _is_imperative(words[0]):
                found.append(f"{node.name} (line {node.lineno}) begins: {' '.join(words[:6])}")
    return found


def _is_property(node: ast.FunctionDef) -> bool:
    decorators = {ast.unparse(decorator).split(".")[-1] for decorator in node.decorator_list}
    return bool(decorators & {"property", "cached_property", "setter"})


def _is_imperative(word: str) -> bool:
    """Tell, as well as can be without a dictionary, whether a word is a verb in the imperative."""
    word = word.rstrip(".,:;")
    third_person_or_plural = re.search(r"[^s]s$", word)
    return bool(
        re.fullmatch(r"[A-Z][a-z]+(-[a-z]+)?", word)
        and word not in OPENERS
        and not third_person_or_plural
    )


def unexplained(path: Path) -> list[str]:
    """Return the public functions with many parameters whose docstring has no section Args.

    A function of a module is public if its name has no underscore and a file of another folder uses
    it, or the folder's own __init__, from which users import it.
    """
    found = []
    for node in _parsed(path).body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            count = sum(
                len(a) for a in (node.args.posonlyargs, node.args.args, node.args.kwonlyargs)
            )
            explained = re.search(r"^Args:$", ast.get_docstring(node) or "", re.MULTILINE)
            if count > MOST_PARAMETERS and not explained and _is_public(node.name, path):
                found.append(
                    f"{node.name} (line {node.lineno}) has {count} parameters and no Args:"
                )
    return found


def _is_public(name: str, path: Path) -> bool:
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    users = [other for other, used in _uses().items() if other != path and (module, name) in used]
    return any(user.parent != path.parent or user.name == "__init__.py" for user in users)


@cache
def _uses() -> dict[Path, set[tuple[str, str]]]:
    """Return {file: (module, name) of every name that it imports, or reads of a module}."""
    return {path: _names_used(syntax) for path, syntax in read(*FOLDERS).items()}


def _names_used(syntax: ast.Module) -> set[tuple[str, str]]:
    modules: dict[str, str] = {}  # what the file calls them -> dotted name
    used = set()
    for node in ast.walk(syntax):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                used.add((node.module, alias.name))
                modules[alias.asname or alias.name] = f"{node.module}.{alias.name}"
        elif isinstance(node, ast.Import):
            for alias in node.names:
                modules[alias.asname or alias.name] = alias.name
    for node in ast.walk(syntax):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name | ast.Attribute):
            name = ast.unparse(node.value)
            used.add((modules.get(name, name), node.attr))
    return used


def too_long(path: Path) -> list[str]:
    """Return a complaint about a file that cannot be read in one sitting."""
    count = len(path.read_text(encoding="utf-8").splitlines())
    return [f"{count} lines; at most {LONGEST_FILE}"] if count > LONGEST_FILE else []


CHECKS = (riddles, unexplained, too_long)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_package_reads_plainly(check):
    found = [f"{p.relative_to(ROOT)}: {line}" for p in read(*FOLDERS) for line in check(p)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("word", ["Return", "Compute", "Raise", "Pass", "Re-read", "Tell", "Mix"])
def test_verbs_may_begin_a_docstring(word):
    assert _is_imperative(word)


@pytest.mark.parametrize(
    "word", ["What", "The", "Returns", "Whether", "images", "[B,", "epsilon:", "Pixels", "One", "x"]
)
def test_riddles_may_not(word):
    assert not _is_imperative(word)


def test_what_counts_as_public():
    used = _names_used(
        ast.parse("from natra_jax import report as r\nimport natra_jax.data\nr.build()\n")
    )
    assert ("natra_jax.report", "build") in used and ("natra_jax", "report") in used
    report = ROOT / "natra_jax" / "report"
    assert _is_public("build", report / "tables.py")  # by natra_jax.report
    assert not _is_public("difference_column", report / "tables.py")  # printing.py's alone
    assert _is_public("to_float", ROOT / "natra_jax" / "data" / "source.py")


if __name__ == "__main__":
    wanted = [Path(argument).resolve() for argument in sys.argv[1:]] or [ROOT / f for f in FOLDERS]
    for file in read(*FOLDERS):
        if any(file == target or target in file.parents for target in wanted):
            for check in CHECKS:
                for complaint in check(file):
                    print(f"{file.relative_to(ROOT)}: {complaint}")
