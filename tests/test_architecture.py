"""Imports point one way, and what is slow to import or belongs to the command line alone stays where it is used."""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "natra_jax"

# Every arrow points downwards. What stands on one line does not import each other, but for the arrows in BESIDE.
LAYERS = [
    {"main", "predict", "__init__"},
    {"pipeline", "command"},
    {"settle"},
    {"config", "stages", "benchmark"},
    {"training", "evaluation", "report"},
    {"methods"},
    {"latents", "data", "weights"},
    {"attacks", "generators", "classifiers"},
    {
        "types",
        "losses",
        "convolution",
        "trees",
        "orbax_tree",
        "workdir",
        "experiments",
        "feature_statistics",
    },
]
BESIDE = {
    ("trees", "types"),
    ("workdir", "types"),
    ("orbax_tree", "types"),
    ("orbax_tree", "workdir"),
    ("report", "evaluation"),
}
# Narrower than the layers would allow.
ONLY = {
    "attacks": {"types", "losses", "feature_statistics"},
    "classifiers": {"types", "losses", "convolution", "feature_statistics"},
    "generators": {"types", "convolution", "trees"},
    "weights": {"types", "orbax_tree", "workdir", "generators", "classifiers"},
    "data": {"types", "workdir"},
    "methods": {"types", "losses", "attacks"},
    "training": {"types", "losses", "data", "workdir", "orbax_tree", "classifiers"},
}
HEAVY = {
    "umap",
    "sklearn",
    "matplotlib",
    "tensorflow_datasets",
    "tensorflow",
    "gradio",
    "torch",
    "PIL",
    "tqdm",
    "lmdb",
    "array_record",
}


def unit_of(module):
    """'natra_jax.attacks.pgd' -> 'attacks'; '' for the package itself."""
    return (module.split(".") + [""])[1]


@cache
def files():
    return sorted(
        path
        for path in PACKAGE.rglob("*.py")
        if "experiments" not in path.relative_to(PACKAGE).parts
    )


def submodules(module, names):
    """What `from module import names` brings in: submodules where there are such, else module itself."""
    directory = ROOT.joinpath(*module.split("."))
    return [
        f"{module}.{n}" if (directory / n).is_dir() or (directory / f"{n}.py").is_file() else module
        for n in names
    ]


def imports(path):
    """(module, whether it is imported as the file is) of every import that is run; those for type checkers alone are not."""
    found = []

    def visit(node, at_once):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.Import):
            found.extend((alias.name, at_once) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            found.extend(
                (module, at_once)
                for module in submodules(node.module, [alias.name for alias in node.names])
            )
        inside = at_once and not isinstance(
            node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
        )
        for child in ast.iter_child_nodes(node):
            visit(child, inside)

    visit(ast.parse(path.read_text()), True)
    return found


def arrows():
    """{(unit, imported unit): a file with such an import}, whether at once or in a function."""
    found = {}
    for path in files():
        # the command line of a package stands above it
        unit = (
            "main"
            if path.name == "__main__.py"
            else path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        )
        for module, _ in imports(path):
            if module.split(".")[0] == "natra_jax" and unit_of(module) not in ("", unit):
                found[unit, unit_of(module)] = path.relative_to(ROOT)
    return found


def layer(unit):
    return next(i for i, units in enumerate(LAYERS) if unit in units)


def test_every_file_belongs_to_a_layer():
    units = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in files()} - {
        "__init__"
    }
    assert units <= set.union(*LAYERS), f"say in LAYERS where {units - set.union(*LAYERS)} belongs"


def test_imports_point_one_way():
    found = arrows()
    assert len(found) > 40 and ("main", "pipeline") in found
    wrong = [
        f"{path}: {a} imports {b}"
        for (a, b), path in found.items()
        if layer(a) >= layer(b) and (a, b) not in BESIDE
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("unit", ONLY)
def test_the_lower_halves_know_nothing_of_the_upper(unit):
    wrong = {b: str(path) for (a, b), path in arrows().items() if a == unit and b not in ONLY[unit]}
    assert not wrong


def test_exceptions_are_still_needed():
    assert set(arrows()) >= BESIDE


def test_flags_are_touched_by_the_command_line_alone():
    users = {
        path.relative_to(PACKAGE).as_posix()
        for path in files()
        for module, _ in imports(path)
        if module.split(".")[0] == "absl"
    }
    assert "main.py" in users
    apart = {
        name
        for name in users
        if name not in ("main.py", "predict.py") and not name.endswith("__main__.py")
    }
    assert apart <= {"data/workers.py"}, (
        "grain starts processes only where absl's flags are parsed, be there any or not"
    )
    for path in files():
        if path.name not in ("main.py", "predict.py", "__main__.py"):
            assert "config_flags" not in path.read_text() and "sys.argv" not in path.read_text()


def test_what_is_slow_to_import_is_imported_where_it_is_used():
    everything = {module.split(".")[0] for path in files() for module, _ in imports(path)}
    assert {"umap", "sklearn", "matplotlib"} <= everything
    for path in files():
        at_once = {module.split(".")[0] for module, at_once in imports(path) if at_once}
        assert not at_once & HEAVY, path


HELD_OUT = {"val_shift", "test_iid", "test_shift"}
MAY_READ = {"data", "evaluate", "thorough", "report", "judge"}


def test_only_evaluation_and_report_name_splits_that_are_held_out_and_only_the_judge_reads_its_labels():
    for path in (PACKAGE / "stages").glob("*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text())))
        constants = {
            node.value
            for node in nodes
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        calls = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
        if path.stem not in MAY_READ:
            assert not constants & HELD_OUT and "renderings" not in calls, path
        assert "judge_split" not in calls or path.stem == "judge", path


def test_no_random_seed_is_a_silent_default():
    for path in files():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                defaults = [
                    ast.unparse(d)
                    for d in (*node.args.defaults, *node.args.kw_defaults)
                    if d is not None
                ]
                assert not any(
                    "random.key" in d or "PRNGKey" in d or "default_rng" in d for d in defaults
                ), f"{path}: {node.name}"
