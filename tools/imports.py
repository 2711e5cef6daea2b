"""Which room of natra_jax imports which: read from the source files, nothing is imported.

A room is a directory or a file at the top of the package. The tests of the architecture and the
drawing of it use the same walk.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "natra_jax"


@cache
def files() -> list[Path]:
    """Return every Python file of the package; the experiments lie beside it."""
    return sorted(PACKAGE.rglob("*.py"))


def rooms() -> set[str]:
    """Return the names of the directories and files at the top of the package."""
    return {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in files()} - {
        "__init__"
    }


def room_of(path: Path) -> str:
    """Return the room of a file; the command line of a package (`__main__.py`) counts as main."""
    inside = path.relative_to(PACKAGE).parts
    return "main" if path.name == "__main__.py" else inside[0].removesuffix(".py")


@cache
def imports(path: Path) -> list[tuple[str, bool]]:
    """Return (module, imported as soon as the file is) for every import that a file runs.

    Imports under TYPE_CHECKING are left out.
    """
    found: list[tuple[str, bool]] = []

    def visit(node: ast.AST, at_once: bool) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.Import):
            found.extend((alias.name, at_once) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module and node.level == 0, f"{path}: a relative import"
            found.extend((module, at_once) for module in _submodules(node.module, node.names))
        in_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            visit(child, at_once and not in_function)

    visit(ast.parse(path.read_text()), True)
    return found


def arrows() -> dict[tuple[str, str], Path]:
    """Return {(room, imported room): a file with such an import}, run at once or in a function."""
    found = {}
    for path in files():
        room = room_of(path)
        for module, _ in imports(path):
            package, _, inside = module.partition(".")
            imported = inside.split(".")[0]
            if package == "natra_jax" and imported not in ("", room):
                found[room, imported] = path.relative_to(ROOT)
    return found


def _submodules(module: str, names: list[ast.alias]) -> list[str]:
    """Return the modules that `from module import names` brings in.

    These are the submodules of those names, else the module itself.
    """
    directory = ROOT.joinpath(*module.split("."))
    return [
        f"{module}.{name}"
        if (directory / name).is_dir() or (directory / f"{name}.py").is_file()
        else module
        for name in (alias.name for alias in names)
    ]
